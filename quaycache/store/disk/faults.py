"""The errors of a store's files, and how SQLite's errors map to them."""

from __future__ import annotations

import sqlite3
from typing import Final

from quaycache.names import printable


class StoreCorruptError(Exception):
    """The files are damaged, or not quaycache's: they must be quarantined."""


class StoreUnavailableError(Exception):
    """The files cannot be used now; they may be in order."""


class StoreInUseError(StoreUnavailableError):
    """Another process holds the lock."""


class LockUnavailableError(StoreUnavailableError):
    """The lock file is missing and cannot be created, or may not be opened."""


# None of these means that the file is damaged.
_UNAVAILABLE: Final = (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def classify_error(
    error: sqlite3.Error | UnicodeError | OSError,
) -> StoreCorruptError | StoreUnavailableError:
    """Return what an error means for the files."""
    if isinstance(error, OSError):
        return StoreUnavailableError(error.strerror or type(error).__name__)
    if isinstance(error, UnicodeError):
        # The message quotes the file, so it is not repeated.
        return StoreCorruptError("its schema is not text")
    text = printable(str(error))
    if text == "interrupted":
        # Only the deadline of `connection` interrupts a query.
        return StoreCorruptError("reading it takes too long")
    if not isinstance(error, _UNAVAILABLE) or text.startswith("unsupported file format"):
        return StoreCorruptError(text)
    return StoreUnavailableError(text)
