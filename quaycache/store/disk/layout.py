"""The files of a directory, and a check of their kind, owner and size."""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from quaycache._lazy import lazy_pattern
from quaycache.store.disk.faults import StoreCorruptError
from quaycache.store.keys import SCHEMA_VERSION

TAG_TEXT: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory is a cache that quaycache made: see https://bford.info/cachedir/\n"
)

DATABASE_NAME: Final = "cache.db"

_VERSIONED: Final = f"quaycache-{SCHEMA_VERSION}"
_QUARANTINE = lazy_pattern(rf"{_VERSIONED}\.broken-([0-9]{{8}}T[0-9]{{6}}Z)-([0-9]{{1,6}})")
_BUILD = lazy_pattern(rf"{_VERSIONED}\.new-[0-9a-f]{{16}}")


MAX_SIZE: Final = 2**30
"""The largest database that a run uses, in bytes. A run checks all of its pages first.

Millions of answers fit. A larger database must be pruned, which may take longer.
"""

MAX_WRITTEN_SIZE: Final = MAX_SIZE // 4 * 3
"""The size at which a database is full, in bytes; the rest is left for its log."""


class Layout(NamedTuple):
    """The paths of a store's files.

    Attributes:
        directory: The absolute path of the user's directory, which may hold other files as well.
    """

    directory: str

    @property
    def versioned(self) -> str:
        """The directory of the database, which belongs to quaycache alone."""
        return os.path.join(self.directory, _VERSIONED)

    @property
    def database(self) -> str:
        """The database; SQLite keeps ``-wal`` and ``-shm`` beside it."""
        return os.path.join(self.versioned, DATABASE_NAME)

    @property
    def lock(self) -> str:
        """The lock file; beside the versioned directory, which comes and goes."""
        return f"{self.versioned}.lock"

    @property
    def tag(self) -> str:
        """The file that tells backup programs that this is a cache."""
        return os.path.join(self.directory, "CACHEDIR.TAG")

    def new_build(self) -> str:
        """Return a new path to build a database at."""
        return f"{self.versioned}.new-{os.urandom(8).hex()}"

    def new_quarantine(self, stamp: str) -> str:
        """Return a new path for a quarantine; it is the last one with this time stamp."""
        number = max((taken for when, taken, _ in self._quarantined() if when == stamp), default=0)
        return f"{self.versioned}.broken-{stamp}-{number + 1}"

    def builds(self) -> list[str]:
        """Return the databases that are being built, or were when their process was killed."""
        return [
            os.path.join(self.directory, name) for name in self._names() if _BUILD.fullmatch(name)
        ]

    def quarantines(self) -> list[str]:
        """Return the quarantines, the oldest first."""
        return [os.path.join(self.directory, name) for _, _, name in self._quarantined()]

    def has_own_tag(self) -> bool:
        """Return whether ``CACHEDIR.TAG`` is the one that quaycache writes."""
        try:
            descriptor = os.open(self.tag, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            return os.read(descriptor, len(TAG_TEXT) + 1) == TAG_TEXT.encode("ascii")
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def existing(self) -> list[str]:
        """Return all of quaycache's files and directories that exist, the lock file last."""
        paths = [self.versioned, *self.quarantines(), *self.builds()]
        if self.has_own_tag():
            paths.append(self.tag)
        return [path for path in (*paths, self.lock) if os.path.lexists(path)]

    def _quarantined(self) -> list[tuple[str, int, str]]:
        """Return time stamp, number and name of each quarantine, sorted."""
        matches = map(_QUARANTINE.fullmatch, self._names())
        return sorted((match[1], int(match[2]), match[0]) for match in matches if match)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except OSError:
            return []


class Found(NamedTuple):
    """A database that may be quaycache's.

    Attributes:
        identity: Device and inode of the file.
        own: Whether all files belong to this user.
        size: The size of the database and its ``-wal``, in bytes.
        wal_size: The size of the ``-wal``, in bytes; None if it is missing.
    """

    identity: tuple[int, int]
    own: bool
    size: int
    wal_size: int | None


def examine(layout: Layout) -> Found | None:
    """Return what is in the directory without opening a file; None if there is no database.

    Closing a descriptor of the database would release the locks that SQLite holds in this process.

    Raises:
        StoreCorruptError: If the files are not of the kind that quaycache creates.
        OSError: If the directory cannot be accessed.
    """
    try:
        directory = os.lstat(layout.versioned)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(directory.st_mode):
        raise StoreCorruptError("it is not a directory")
    database = _regular(layout.database)
    if database is None:
        raise StoreCorruptError(f"it has no {DATABASE_NAME}")
    wal, shm = _regular(f"{layout.database}-wal"), _regular(f"{layout.database}-shm")
    # quaycache never creates one. SQLite would replay it, and delete a file that it names.
    if os.path.lexists(f"{layout.database}-journal"):
        raise StoreCorruptError("it has a foreign journal")
    files = [entry for entry in (directory, database, wal, shm) if entry is not None]
    return Found(
        identity=(database.st_dev, database.st_ino),
        own=all(entry.st_uid == os.geteuid() for entry in files),
        size=database.st_size + (0 if wal is None else wal.st_size),
        wal_size=None if wal is None else wal.st_size,
    )


def identity_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of the file at a path; None if it is missing."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _regular(path: str) -> os.stat_result | None:
    """Return the status of a regular file with one link; None if it is missing."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StoreCorruptError(f"{os.path.basename(path)} in it is a link, or not a file")
    return status
