"""Removing and measuring what is ours; links are never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable


def remove(path: str) -> None:
    """Remove a file, a link or a whole directory; harmless when there is none.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            import shutil  # rarely needed, and not cheap

            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return


def size_of(paths: Iterable[str]) -> int:
    """Bytes of the files at and under these paths; what cannot be looked at counts nothing."""
    return sum(_size(path) for path in paths)


def _size(path: str) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size
    return sum(
        _size(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names
    )
