"""The bridge to occystrap: its `resolve_quay_uri` with a cache, and a launcher that installs it.

No other package of quaycache refers to occystrap. Importing this one does not import occystrap.
"""

from quaycache.occystrap.bridge import resolve_quay_uri as resolve_quay_uri
