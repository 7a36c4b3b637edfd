"""Creating a directory and its database. A database appears complete or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from quaycache.store.disk.layout import DATABASE_NAME, TAG_TEXT
from quaycache.store.disk.plans import Changes
from quaycache.store.disk.removal import remove

if TYPE_CHECKING:
    from quaycache.store.disk.layout import Layout

_ANOTHER_WON: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def make_directory(layout: Layout) -> None:
    """Create the user's directory if it is missing; mark a new or empty one as a cache.

    Raises:
        OSError: If it cannot be created, or is not a directory.
    """
    try:
        os.makedirs(layout.directory, 0o700)
    except FileExistsError:
        if os.listdir(layout.directory):
            return
    else:
        os.chmod(layout.directory, 0o700)
    try:
        descriptor = _new_file(layout.tag)
    except FileExistsError:
        return
    with open(descriptor, "w", encoding="ascii") as tag:
        tag.write(TAG_TEXT)


def create(layout: Layout) -> None:
    """Create the database, unless another process does so first. The caller holds the lock.

    Raises:
        StoreUnavailableError: If it cannot be written.
        OSError: If a file cannot be created.
    """
    built = build(layout, ())
    try:
        os.rename(built, layout.versioned)
    except OSError as error:
        remove(built)
        if error.errno not in _ANOTHER_WON:
            raise


def build(layout: Layout, rows: Iterable[tuple[str, bytes]]) -> str:
    """Build a database with these rows; return the path of a directory with nothing else in it.

    Raises:
        StoreUnavailableError: If it cannot be written.
        OSError: If a file cannot be created.
    """
    # diskcache takes time to import, and most runs only read.
    from quaycache.store.disk.writer import Writer

    path = layout.new_build()
    os.mkdir(path, 0o700)
    try:
        os.chmod(path, 0o700)
        # SQLite gives its other files the mode of this one.
        os.close(_new_file(os.path.join(path, DATABASE_NAME)))
        writer = Writer(path)
        try:
            writer.apply(lambda: Changes(put=rows))
        finally:
            writer.close()
    except BaseException:
        remove(path)
        raise
    return path


def _new_file(path: str) -> int:
    """Return the descriptor of a new file with mode 0600, whatever the umask is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
