"""The files of a store while they are open: the shared lock, a reader, and once needed a writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache.store.connection import probe_write_lock
from quaycache.store.expiry import Expiry
from quaycache.store.faults import LockUnavailableError, StoreCorruptError, StoreUnavailableError
from quaycache.store.layout import MAX_SIZE, MAX_WRITTEN_SIZE, Found, Layout, examine, identity_at
from quaycache.store.lock import StoreLock
from quaycache.store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from quaycache.store.plans import Changes
    from quaycache.store.writer import Writer


class Session:
    """Open files.

    Attributes:
        reader: open until the session is closed.
    """

    def __init__(
        self, layout: Layout, lock: StoreLock, reader: Reader, expiry: Expiry, *, locked: bool
    ) -> None:
        self.reader = reader
        self._expiry = expiry
        self._layout = layout
        self._lock = lock
        self._locked = locked
        self._writer: Writer | None = None

    def write(self, plan: Callable[[Reader], Changes]) -> None:
        """Carry out what `plan` says of what is stored, in one transaction.

        Raises:
            StoreCorruptError: the database is.
            StoreUnavailableError: it cannot be written here and now.
            OSError: so, too.
        """
        if self._writer is None:
            self._writer = self._open_writer()
        try:
            if self._expiry.is_due:
                # First of all, since it makes room.
                self._writer.apply(lambda: self._expiry.plan(self.reader))
            self._expiry.count(self._writer.apply(lambda: plan(self.reader)))
        except BaseException:
            # An interrupt may have left a transaction open, and the database locked.
            self._close_writer()
            raise

    @property
    def is_writable(self) -> bool:
        """Whether the files were found to be this user's, and not read-only."""
        return self.reader.found.own and self._locked and self.reader.live

    def is_current(self) -> bool:
        """Whether the open files are still those in the directory."""
        if self._locked and not self._lock.is_held():
            return False
        return identity_at(self._layout.database) == self.reader.found.identity

    def close(self) -> None:
        """Close everything, then release the lock."""
        try:
            # The connection that is closed last tidies up, which a reader's cannot.
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
        # It takes some time to import, and a run that only reads does without it.
        from quaycache.store.writer import Writer

        self.reader.check()
        probe_write_lock(self._layout)
        return Writer(self._layout.versioned, max_size=MAX_WRITTEN_SIZE)


def open_session(
    layout: Layout, retention: float, *, to_create: bool, any_size: bool
) -> Session | None:
    """Open the files; None if there are none, and none are to be created.

    Args:
        layout: the paths of the files.
        retention: seconds after which what is stored may be dropped.
        to_create: whether to create the files if they are missing.
        any_size: whether to open files that are too large for a run, because to check them takes
            too long.

    Raises:
        StoreCorruptError: they are.
        StoreUnavailableError: they cannot be opened here and now.
        OSError: so, too.
    """
    # Before a lock file is made: who reads what is not there leaves no trace.
    found = examine(layout)
    if found is None:
        if not to_create:
            return None
        from quaycache.store.creation import make_directory  # most runs find a store

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
    """Whether the lock could be had; to read what cannot be written, none is needed."""
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
    from quaycache.store.creation import create

    create(layout)
    found = examine(layout)
    if found is None:
        raise StoreCorruptError("it vanished")
    return found
