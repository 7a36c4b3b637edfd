"""A damaged or foreign database is moved aside by one rename, and a few are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from quaycache.store.faults import StoreCorruptError, StoreUnavailableError
from quaycache.store.layout import examine
from quaycache.store.lock import StoreLock
from quaycache.store.reader import Reader
from quaycache.store.removal import remove

if TYPE_CHECKING:
    from quaycache.store.layout import Layout

KEPT: Final = 3


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Hold the lock exclusively.

    Raises:
        StoreUnavailableError: it cannot be had.
    """
    lock = StoreLock(layout.lock)
    lock.acquire(exclusive=True)
    try:
        yield
    finally:
        lock.release()


def quarantine(layout: Layout, identity: tuple[int, int] | None = None) -> str | None:
    """Put the database aside; where it is now, or None if another process has done so already.

    Args:
        identity: of the database that a query found to be damaged; None if it did not open.

    Raises:
        StoreUnavailableError: it must not, or cannot, be moved.
        OSError: so, too.
    """
    with alone(layout):
        return quarantine_alone(layout, identity)


def quarantine_alone(layout: Layout, identity: tuple[int, int] | None = None) -> str | None:
    """As `quarantine`, and the lock is held exclusively already."""
    if not _is_damaged(layout, identity):
        return None
    path = layout.new_quarantine(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    os.rename(layout.versioned, path)
    # Not by its name: a planted one may claim to be of the year 9999.
    others = [other for other in layout.quarantines() if other != path]
    for old in others[: 1 - KEPT]:
        with suppress(OSError):
            remove(old)
    return path


def _is_damaged(layout: Layout, identity: tuple[int, int] | None) -> bool:
    """Look again, now that nobody else can move it."""
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
