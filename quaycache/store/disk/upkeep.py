"""Maintenance of a directory, under the exclusive lock."""

from __future__ import annotations

import os
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from quaycache.store.disk.connection import checkpoint
from quaycache.store.disk.creation import build
from quaycache.store.disk.faults import StoreCorruptError, StoreUnavailableError
from quaycache.store.disk.layout import DATABASE_NAME, Layout, examine
from quaycache.store.disk.lock import StoreLock
from quaycache.store.disk.quarantine import locked_exclusively, quarantine_locked
from quaycache.store.disk.reader import Reader
from quaycache.store.disk.removal import remove, size_of
from quaycache.store.protocol import Pruned, Row

if TYPE_CHECKING:
    from quaycache.store.disk.layout import Found


def expired(layout: Layout, quarantined_before: float) -> list[str]:
    """Return the quarantines from before a time, in seconds UTC."""
    return [path for path in layout.quarantines() if _quarantined_at(path) < quarantined_before]


def prune(layout: Layout, keep: Callable[[Row], bool], quarantined_before: float) -> Pruned:
    """Do the work of `Store.prune`.

    Raises:
        StoreUnavailableError: If the store is in use or belongs to another user.
        OSError: If a file cannot be written or removed.
    """
    if not layout.existing():
        return Pruned(0, 0, 0)
    with locked_exclusively(layout):
        size = size_of(layout.existing())
        rows = _rewrite_or_quarantine(layout, keep)
        old = expired(layout, quarantined_before)
        for path in (*old, *layout.builds()):
            remove(path)
        return Pruned(rows, len(old), max(0, size - size_of(layout.existing())))


def clean(layout: Layout) -> int:
    """Do the work of `Store.clean`.

    Raises:
        StoreUnavailableError: If the store is in use.
        OSError: If a file cannot be removed.
    """
    size = size_of(layout.existing())
    if not layout.existing():
        return 0
    lock = StoreLock(layout.lock)
    if _is_file_or_missing(layout.lock):
        lock.acquire(exclusive=True)
    try:
        # The lock file is removed last: until then no other process can create files.
        for path in layout.existing():
            remove(path)
    finally:
        lock.release()
    return size


def _rewrite_or_quarantine(layout: Layout, keep: Callable[[Row], bool]) -> int:
    """Return the number of dropped rows."""
    found = None
    try:
        found = examine(layout)
        return 0 if found is None else _rewrite(layout, found, keep)
    except StoreCorruptError:
        quarantine_locked(layout, None if found is None else found.identity)
        return 0


def _rewrite(layout: Layout, found: Found, keep: Callable[[Row], bool]) -> int:
    """Replace the database by one with the rows to keep; return the number of dropped rows."""
    if not found.own:
        raise StoreUnavailableError("it belongs to another user")
    kept = 0
    reader = Reader(layout, found)

    def rows() -> Iterator[tuple[str, bytes]]:
        nonlocal kept
        for page in reader.pages():
            for row, key, value in page:
                if keep(row):
                    kept += 1
                    yield key, value

    try:
        before = reader.count()
        built = build(layout, rows())
    finally:
        reader.close()
    try:
        # SQLite would replay a remaining log onto the new database.
        checkpoint(layout)
        if os.path.lexists(f"{layout.database}-wal"):
            raise StoreUnavailableError("it is in use")
        os.replace(os.path.join(built, DATABASE_NAME), layout.database)
        for name in os.listdir(layout.versioned):
            if name != DATABASE_NAME:
                remove(os.path.join(layout.versioned, name))
    finally:
        remove(built)
    return before - kept


def _quarantined_at(path: str) -> float:
    stamp = path.rsplit(".broken-", 1)[1].rsplit("-", 1)[0]
    try:
        moment = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        moment = 0
    # An impossible or future time stamp is forged; such a quarantine counts as old.
    return moment if moment <= time.time() else 0


def _is_file_or_missing(path: str) -> bool:
    """Return whether a process may hold the lock; a link, for example, is never a lock file."""
    return not os.path.lexists(path) or (os.path.isfile(path) and not os.path.islink(path))
