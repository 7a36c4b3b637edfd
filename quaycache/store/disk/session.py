"""The open files of a directory: the shared lock, a reader, and a writer once it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache.store.disk.connection import probe_write_lock
from quaycache.store.disk.expiry import Expiry
from quaycache.store.disk.faults import (
    LockUnavailableError,
    StoreCorruptError,
    StoreUnavailableError,
)
from quaycache.store.disk.layout import (
    MAX_SIZE,
    MAX_WRITTEN_SIZE,
    Found,
    Layout,
    examine,
    identity_at,
)
from quaycache.store.disk.lock import StoreLock
from quaycache.store.disk.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from quaycache.store.disk.plans import Changes
    from quaycache.store.disk.writer import Writer


class Session:
    """Open files.

    Attributes:
        reader: The reader, which is open until the session is closed.
    """

    def __init__(
        self, layout: Layout, lock: StoreLock, reader: Reader, expiry: Expiry, *, locked: bool
    ) -> None:
        self.reader = reader
        self._expiry = expiry
        self._layout = layout
        self._database = layout.database
        self._lock = lock
        self._locked = locked
        self._writer: Writer | None = None

    def write(self, plan: Callable[[Reader], Changes]) -> None:
        """Make the changes that `plan` returns, in one transaction.

        Raises:
            StoreCorruptError: If the database is damaged.
            StoreUnavailableError: If it cannot be written now.
            OSError: If a file cannot be read or written.
        """
        if self._writer is None:
            self._writer = self._open_writer()
        try:
            if self._expiry.is_due:
                # Expired entries are dropped first, because that frees space.
                self._writer.apply(lambda: self._expiry.plan(self.reader))
            self._expiry.count(self._writer.apply(lambda: plan(self.reader)))
        except BaseException:
            # An interrupt may have left a transaction open, which locks the database.
            self._close_writer()
            raise

    @property
    def is_writable(self) -> bool:
        """Whether the files belonged to this user and were not read-only when they were opened."""
        return self.reader.found.own and self._locked and self.reader.live

    def is_current(self) -> bool:
        """Return whether the open files are still those in the directory."""
        if self._locked and not self._lock.is_held():
            return False
        return identity_at(self._database) == self.reader.found.identity

    def close(self) -> None:
        """Close everything, then release the lock."""
        try:
            # The connection that is closed last empties the log, and a reader cannot write.
            self.reader.close()
            self._close_writer()
        finally:
            self._lock.release()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _open_writer(self) -> Writer:
        if not self.reader.found.own:
            raise StoreUnavailableError("it belongs to another user")
        if not self._locked or not self.reader.live:
            raise StoreUnavailableError("it is read-only")
        found = examine(self._layout)
        if found is None or found.identity != self.reader.found.identity:
            raise StoreUnavailableError("it was replaced while it was open")
        # diskcache takes time to import, and most runs only read.
        from quaycache.store.disk.writer import Writer

        self.reader.check()
        probe_write_lock(self._layout)
        return Writer(self._layout.versioned, max_size=MAX_WRITTEN_SIZE)


def open_session(
    layout: Layout, retention: float, *, to_create: bool, any_size: bool
) -> Session | None:
    """Open the files; return None if they do not exist and are not to be created.

    Args:
        layout: The paths of the files.
        retention: Seconds after which an entry may be dropped.
        to_create: Whether to create missing files.
        any_size: Whether to open files that take too long to check during a run.

    Raises:
        StoreCorruptError: If the files are damaged.
        StoreUnavailableError: If they cannot be opened now.
        OSError: If they cannot be accessed.
    """
    # Reading must not create files, not even a lock file.
    found = examine(layout)
    if found is None:
        if not to_create:
            return None
        from quaycache.store.disk.creation import make_directory  # most runs find a store

        make_directory(layout)
    lock = StoreLock(layout.lock)
    try:
        locked = _lock_shared(lock, found)
        found = _found_or_created(layout, to_create=to_create)
        if found is None:
            lock.release()
            return None
        if found.size > MAX_SIZE and not any_size:
            raise StoreUnavailableError(
                f"it has more than {MAX_SIZE // 2**30} GiB,"
                " and 'quaycache cache prune' makes it smaller"
            )
        return Session(layout, lock, Reader(layout, found), Expiry(retention), locked=locked)
    except BaseException:
        lock.release()
        raise


def _lock_shared(lock: StoreLock, found: Found | None) -> bool:
    """Return whether the lock was acquired; files that cannot be written are read without it."""
    try:
        lock.acquire(exclusive=False, create=found is None or found.own)
    except LockUnavailableError:
        if found is None:
            raise
        return False
    return True


def _found_or_created(layout: Layout, *, to_create: bool) -> Found | None:
    found = examine(layout)
    if found is not None or not to_create:
        return found
    from quaycache.store.disk.creation import create

    create(layout)
    found = examine(layout)
    if found is None:
        raise StoreCorruptError("it disappeared")
    return found
