"""Which files a store on disk consists of, and whether what lies there can be them."""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from quaycache.lazy_pattern import lazy_pattern
from quaycache.store.faults import StoreCorruptError
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
"""Bytes of a database that a run uses: it reads all of them, to know that they are in order.

They hold millions of answers. A larger one is to be pruned first, which takes its time.
"""

MAX_WRITTEN_SIZE: Final = MAX_SIZE // 4 * 3
"""Bytes to which a database grows. The rest is for its log."""


class Layout(NamedTuple):
    """The paths of a store.

    Attributes:
        directory: the user's, absolute; what is in it and not ours is left alone.
    """

    directory: str

    @property
    def versioned(self) -> str:
        """The directory of the database: ours alone."""
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
        """What tells backup programs that this is a cache."""
        return os.path.join(self.directory, "CACHEDIR.TAG")

    def new_build(self) -> str:
        """A path at which to build a database."""
        return f"{self.versioned}.new-{os.urandom(8).hex()}"

    def new_quarantine(self, stamp: str) -> str:
        """A path to put a database aside at, the newest of those with this time stamp."""
        number = max((taken for when, taken, _ in self._quarantined() if when == stamp), default=0)
        return f"{self.versioned}.broken-{stamp}-{number + 1}"

    def builds(self) -> list[str]:
        """Where databases are being built, or were when somebody was killed."""
        return [
            os.path.join(self.directory, name) for name in self._names() if _BUILD.fullmatch(name)
        ]

    def quarantines(self) -> list[str]:
        """What was put aside, oldest first."""
        return [os.path.join(self.directory, name) for _, _, name in self._quarantined()]

    def tag_is_ours(self) -> bool:
        """Whether ``CACHEDIR.TAG`` is the one that we write."""
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

    def ours(self) -> list[str]:
        """Everything of ours that exists, the lock file last."""
        paths = [self.versioned, *self.quarantines(), *self.builds()]
        if self.tag_is_ours():
            paths.append(self.tag)
        return [path for path in (*paths, self.lock) if os.path.lexists(path)]

    def _quarantined(self) -> list[tuple[str, int, str]]:
        """Time stamp, number and name of what was put aside, in their order."""
        matches = map(_QUARANTINE.fullmatch, self._names())
        return sorted((match[1], int(match[2]), match[0]) for match in matches if match)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except OSError:
            return []


class Found(NamedTuple):
    """A database that may be one of ours.

    Attributes:
        identity: device and inode of the file.
        own: whether everything belongs to this user.
        size: bytes of the database and its ``-wal``.
        wal_size: bytes of the ``-wal``; None if there is none.
    """

    identity: tuple[int, int]
    own: bool
    size: int
    wal_size: int | None


def examine(layout: Layout) -> Found | None:
    """Look at what lies there without opening anything; None if nothing does.

    Not even the database: closing it would take SQLite's locks on it from this process.

    Raises:
        StoreCorruptError: it is not what we put there.
        OSError: it cannot be looked at.
    """
    try:
        directory = os.lstat(layout.versioned)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(directory.st_mode):
        raise StoreCorruptError("it is no directory")
    database = _regular(layout.database)
    if database is None:
        raise StoreCorruptError(f"it has no {DATABASE_NAME}")
    wal, shm = _regular(f"{layout.database}-wal"), _regular(f"{layout.database}-shm")
    # We never write one. A planted one is replayed, and can have SQLite delete a file it names.
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
    """Return device and inode of the file at a path; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _regular(path: str) -> os.stat_result | None:
    """The status of a file that is a file, and at this path alone; None if it is missing."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise StoreCorruptError(f"{os.path.basename(path)} in it is a link, or no file")
    return status
