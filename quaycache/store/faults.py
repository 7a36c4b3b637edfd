"""What can be wrong with the files of a store, and which of SQLite's errors says what."""

from __future__ import annotations

import sqlite3
from typing import Final

from quaycache.names import printable


class StoreCorruptError(Exception):
    """The files are damaged, or none of ours: they are to be put aside."""


class StoreUnavailableError(Exception):
    """The files may be in order, but cannot be used here and now."""


class StoreInUseError(StoreUnavailableError):
    """Somebody else holds the lock."""


class LockUnavailableError(StoreUnavailableError):
    """There is no lock to be had: a read-only file system, or another user's directory."""


# What SQLite and Python raise without saying that the file is to blame.
_UNAVAILABLE: Final = (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def classify_error(
    error: sqlite3.Error | UnicodeError | OSError,
) -> StoreCorruptError | StoreUnavailableError:
    """What an error says of the files."""
    if isinstance(error, OSError):
        return StoreUnavailableError(error.strerror or type(error).__name__)
    if isinstance(error, UnicodeError):
        # SQLite's message quotes the file.
        return StoreCorruptError("its schema is not even text")
    text = printable(str(error))
    if text == "interrupted":
        # By our own deadline, and nothing else.
        return StoreCorruptError("to read it takes too long")
    if not isinstance(error, _UNAVAILABLE) or text.startswith("unsupported file format"):
        return StoreCorruptError(text)
    return StoreUnavailableError(text)
