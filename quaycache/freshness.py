"""What a listing proves about a tag without a request. Pure: no I/O and no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache.model import UNKNOWN, Provenance, TagAnswer

if TYPE_CHECKING:
    from quaycache.model import LastModified


def proven_absent(last_modified: LastModified, checked_at: float | None) -> TagAnswer | None:
    """The answer "absent" if a listed repository has no alive tag at all, else None.

    Quay's ``last_modified`` is null exactly then; a missing one proves nothing.
    """
    if last_modified is None:
        return TagAnswer(None, checked_at, Provenance.PROVEN)
    return None


def older_than(last_modified: LastModified, since: float | None) -> bool:
    """Whether no tag of a listed repository can have come to its digest at `since` or later.

    Quay's ``last_modified`` is the newest start of any alive tag; a missing one proves nothing.
    """
    return (
        since is not None
        and last_modified is not None
        and last_modified is not UNKNOWN
        and last_modified < since
    )
