"""What tidies a store: nobody else has it open meanwhile."""

from __future__ import annotations

import os
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from quaycache.store.connection import checkpoint
from quaycache.store.creation import build
from quaycache.store.faults import StoreCorruptError, StoreUnavailableError
from quaycache.store.layout import DATABASE_NAME, Layout, examine
from quaycache.store.lock import StoreLock
from quaycache.store.protocol import Pruned, Row
from quaycache.store.quarantine import alone, quarantine_alone
from quaycache.store.reader import Reader
from quaycache.store.removal import remove, size_of

if TYPE_CHECKING:
    from quaycache.store.layout import Found


def expired(layout: Layout, quarantined_before: float) -> list[str]:
    """What was put aside before then, seconds UTC."""
    return [path for path in layout.quarantines() if _put_aside_at(path) < quarantined_before]


def prune(layout: Layout, keep: Callable[[Row], bool], quarantined_before: float) -> Pruned:
    """As `Store.prune`.

    Raises:
        StoreUnavailableError: it is in use, or may not be written.
        OSError: it cannot be written.
    """
    if not layout.ours():
        return Pruned(0, 0, 0)
    with alone(layout):
        size = size_of(layout.ours())
        rows = _rewrite_or_quarantine(layout, keep)
        old = expired(layout, quarantined_before)
        for path in (*old, *layout.builds()):
            remove(path)
        return Pruned(rows, len(old), max(0, size - size_of(layout.ours())))


def clean(layout: Layout) -> int:
    """As `Store.clean`.

    Raises:
        StoreUnavailableError: it is in use, or may not be written.
        OSError: it cannot be removed.
    """
    size = size_of(layout.ours())
    if not layout.ours():
        return 0
    lock = StoreLock(layout.lock)
    if _is_file_or_missing(layout.lock):
        lock.acquire(exclusive=True)
    try:
        # The lock file goes last: until then nobody can make anything new.
        for path in layout.ours():
            remove(path)
    finally:
        lock.release()
    return size


def _rewrite_or_quarantine(layout: Layout, keep: Callable[[Row], bool]) -> int:
    """The number of rows dropped."""
    found = None
    try:
        found = examine(layout)
        return 0 if found is None else _rewrite(layout, found, keep)
    except StoreCorruptError:
        quarantine_alone(layout, None if found is None else found.identity)
        return 0


def _rewrite(layout: Layout, found: Found, keep: Callable[[Row], bool]) -> int:
    """Replace the database by one with the rows to keep; the number of rows dropped."""
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
        # A log that were left would be replayed onto the new database.
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


def _put_aside_at(path: str) -> float:
    stamp = path.rsplit(".broken-", 1)[1].rsplit("-", 1)[0]
    try:
        moment = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        moment = 0
    # Nobody was there at the 99th of a month, nor in the year 9999: it is none of ours.
    return moment if moment <= time.time() else 0


def _is_file_or_missing(path: str) -> bool:
    """Whether somebody may hold the lock: a link, say, was never a lock of ours."""
    return not os.path.lexists(path) or (os.path.isfile(path) and not os.path.islink(path))
