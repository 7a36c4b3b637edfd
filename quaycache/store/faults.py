"""What can be wrong with the files of a store, and which of SQLite's errors says what."""

from __future__ import annotations

import sqlite3

from quaycache.names import printable


class Damaged(Exception):  # noqa: N818 - a finding, that the store acts upon
    """The files are damaged, or none of ours: they are to be put aside."""


class Unusable(Exception):  # noqa: N818 - a finding, too
    """The files may be in order, but cannot be used here and now."""


class InUse(Unusable):
    """Somebody else holds the lock."""


class Unlockable(Unusable):
    """There is no lock to be had: a read-only file system, or another user's directory."""


# What SQLite and Python raise without saying that the file is to blame.
_TROUBLE = (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def finding(error: sqlite3.Error | UnicodeError | OSError) -> Damaged | Unusable:
    """What an error says of the files."""
    if isinstance(error, OSError):
        return Unusable(error.strerror or type(error).__name__)
    if isinstance(error, UnicodeError):
        # SQLite's message quotes the file.
        return Damaged("its schema is not even text")
    text = printable(str(error))
    if text == "interrupted":
        # By our own deadline, and nothing else.
        return Damaged("to read it takes too long")
    if not isinstance(error, _TROUBLE) or text.startswith("unsupported file format"):
        return Damaged(text)
    return Unusable(text)
