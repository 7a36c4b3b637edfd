"""Quarantines: a damaged or foreign database is renamed, and the last few are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from quaycache.store.disk.faults import StoreCorruptError, StoreUnavailableError
from quaycache.store.disk.layout import examine
from quaycache.store.disk.lock import StoreLock
from quaycache.store.disk.reader import Reader
from quaycache.store.disk.removal import remove

if TYPE_CHECKING:
    from quaycache.store.disk.layout import Layout

KEPT: Final = 3


@contextmanager
def locked_exclusively(layout: Layout) -> Iterator[None]:
    """Hold the lock exclusively.

    Raises:
        StoreUnavailableError: If it cannot be acquired.
    """
    lock = StoreLock(layout.lock)
    lock.acquire(exclusive=True)
    try:
        yield
    finally:
        lock.release()


def quarantine(layout: Layout, identity: tuple[int, int] | None = None) -> str | None:
    """Rename the database; return its new path, or None if it is no longer there or not damaged.

    Args:
        layout: The paths of the files.
        identity: The database that a query found to be damaged; None if it could not be opened.

    Raises:
        StoreUnavailableError: If it is in use, or belongs to another user.
        OSError: If it cannot be renamed.
    """
    with locked_exclusively(layout):
        return quarantine_locked(layout, identity)


def quarantine_locked(layout: Layout, identity: tuple[int, int] | None = None) -> str | None:
    """Do the same as `quarantine`; the caller holds the lock exclusively."""
    if not _is_damaged(layout, identity):
        return None
    path = layout.new_quarantine(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    os.rename(layout.versioned, path)
    # Names are not trusted: a forged one may be of the year 9999.
    others = [other for other in layout.quarantines() if other != path]
    for old in others[: 1 - KEPT]:
        with suppress(OSError):
            remove(old)
    return path


def _is_damaged(layout: Layout, identity: tuple[int, int] | None) -> bool:
    """Check again under the lock."""
    try:
        if os.lstat(layout.versioned).st_uid != os.geteuid():
            raise StoreUnavailableError("it is damaged, and belongs to another user")
        found = examine(layout)
        if found is None:
            return False
        if identity is not None:
            return found.identity == identity
        Reader(layout, found).close()
    except FileNotFoundError:
        return False
    except StoreCorruptError:
        return True
    return False
