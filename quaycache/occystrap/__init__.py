"""The bridge to occystrap: its `resolve_quay_uri` with a cache, and a launcher that puts it there.

Nothing else in quaycache knows occystrap, and importing this does not import it.
"""

from quaycache.occystrap.bridge import resolve_quay_uri as resolve_quay_uri
