"""Removing and measuring files; links are never followed.

A hostile directory may be nested deeper than a path or a call stack can be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a file, a link or a whole directory; do nothing if it does not exist.

    Raises:
        OSError: If it cannot be removed.
    """
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            _empty(path)
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return


def size_of(paths: Iterable[str]) -> int:
    """Return the size of the files at and under these paths, in bytes; skip unreadable ones."""
    size = 0
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                waiting += [os.path.join(path, name) for name in os.listdir(path)]
            else:
                size += status.st_size
        except OSError:
            continue
    return size


def _empty(path: str) -> None:
    """Empty a directory. Sub-directories are moved up before they are emptied."""
    top = os.open(path, _DIRECTORY)
    try:
        while found := _entries(top):
            for entry in found:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=top)
                    continue
                _move_up(entry.name, top)
                os.rmdir(entry.name, dir_fd=top)
    finally:
        os.close(top)


def _move_up(name: str, top: int) -> None:
    """Move the contents of a directory into the one above, under unused names."""
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for entry in _entries(inner):
            free = os.urandom(16).hex()
            os.rename(entry.name, free, src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)


def _entries(directory: int) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return list(entries)
