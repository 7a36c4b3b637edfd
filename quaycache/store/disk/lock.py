"""The lock of a directory: shared while its files are open, exclusive for moving them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from typing import Final

from quaycache.after_fork import reset_in_children
from quaycache.store.disk.faults import LockUnavailableError, StoreInUseError, StoreUnavailableError
from quaycache.store.disk.layout import identity_at

_ATTEMPTS: Final = 100
_PAUSE: Final = 0.01

_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NOT_WRITABLE: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_HELD: Final = (errno.EWOULDBLOCK, errno.EAGAIN)


# The locks that were held when this process was forked.
_HELD_AT_FORK: Final[set[str]] = set()


class StoreLock:
    """An advisory lock that ends with its process. Not thread-safe.

    A process that is forked while the lock is held closes its copy, and cannot acquire the lock
    again: its parent was using the database, which SQLite does not support across a fork.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None
        reset_in_children(self)

    def __del__(self) -> None:
        self.release()

    def acquire(self, *, exclusive: bool, create: bool = True) -> None:
        """Acquire the lock; wait for at most a second.

        Args:
            exclusive: Whether to hold the lock alone or share it.
            create: Whether a missing lock file is created.

        Raises:
            StoreInUseError: If another process holds the lock.
            LockUnavailableError: If the lock file cannot be created or opened.
            StoreUnavailableError: If the lock file is invalid, or was held at a fork.
        """
        if self._path in _HELD_AT_FORK:
            raise StoreUnavailableError("it was in use when this process was forked")
        # Attempts are counted, because a program's tests may have stopped the clock.
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE)
            descriptor = self._open(create=create)
            if descriptor is None:
                continue
            if self._lock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
                self._descriptor = descriptor
                return
        raise StoreInUseError("in use by another process")

    def is_held(self) -> bool:
        """Return whether the lock is held and its file is still the one that others open."""
        return self._descriptor is not None and self._is_at_path(self._descriptor)

    def release(self) -> None:
        """Release the lock; do nothing if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def reset_after_fork(self) -> None:
        """Close the descriptor, which would hold the parent's lock for the child's life."""
        if self._descriptor is not None:
            _HELD_AT_FORK.add(self._path)
            # Closing this copy does not release the lock for the parent.
            self.release()

    def _open(self, *, create: bool) -> int | None:
        """Return a descriptor; None if the lock file was created or removed just now."""
        try:
            return self._checked(os.open(self._path, os.O_RDWR | _FLAGS))
        except FileNotFoundError:
            return self._create(create=create)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise StoreUnavailableError("its lock file is invalid") from error
        try:
            return self._checked(os.open(self._path, os.O_RDONLY | _FLAGS))
        except OSError as error:
            raise LockUnavailableError(f"its lock file: {error.strerror}") from error

    def _create(self, *, create: bool) -> int | None:
        if not create:
            raise LockUnavailableError("it has no lock file")
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        except FileExistsError:
            return None
        except OSError as error:
            raise LockUnavailableError(error.strerror) from error
        os.fchmod(descriptor, 0o600)
        return descriptor

    def _checked(self, descriptor: int) -> int:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise StoreUnavailableError("its lock file is invalid")

    def _lock(self, descriptor: int, operation: int) -> bool:
        """Lock the file and return True; if it is in use or was removed, close it."""
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _HELD:
                raise LockUnavailableError(error.strerror) from error
            return False
        # Another process may have removed the file just now, and others lock the next one.
        if not self._is_at_path(descriptor):
            os.close(descriptor)
            return False
        return True

    def _is_at_path(self, descriptor: int) -> bool:
        held = os.fstat(descriptor)
        return identity_at(self._path) == (held.st_dev, held.st_ino)
