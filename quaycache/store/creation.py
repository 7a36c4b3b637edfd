"""Making a store: its directory, and a database that is there complete or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from quaycache.store.layout import DATABASE_NAME, TAG_TEXT
from quaycache.store.plans import Changes
from quaycache.store.removal import remove

if TYPE_CHECKING:
    from quaycache.store.layout import Layout

_ANOTHER_WON: Final = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def make_directory(layout: Layout) -> None:
    """Make the user's directory if it is missing, and mark a new or empty one as a cache.

    Raises:
        OSError: it cannot be made, or is none.
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
    """Make the database, unless another process does so first. The lock is held, shared.

    Raises:
        StoreUnavailableError: it cannot be made.
        OSError: so, too.
    """
    built = build(layout, ())
    try:
        os.rename(built, layout.versioned)
    except OSError as error:
        remove(built)
        if error.errno not in _ANOTHER_WON:
            raise


def build(layout: Layout, rows: Iterable[tuple[str, bytes]]) -> str:
    """Build a database with these rows; the path of the directory that holds it and nothing else.

    Raises:
        StoreUnavailableError: it cannot be made.
        OSError: so, too.
    """
    # diskcache takes some time to import, and a run that only reads does without it.
    from quaycache.store.writer import Writer

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
    """A new file's descriptor; its mode does not depend on the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
