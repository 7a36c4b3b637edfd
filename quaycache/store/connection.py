"""Connections to the database that are ours and not diskcache's: they trust nothing in it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from quaycache.store.faults import StoreCorruptError, StoreUnavailableError, classify_error
from quaycache.store.preflight import preflight

if TYPE_CHECKING:
    from quaycache.store.layout import Found, Layout

BUSY_SECONDS: Final = 1.0
"""How long a reader waits for whoever has the database locked."""

WRITE_BUSY_SECONDS: Final = 3.0
"""How long a writer does: of a dozen processes that start together, each has its turn."""

_CAREFULLY: Final = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
)

# A query is to end, whatever is in the database: after so long, looked at every so many steps. It
# is the processor's time: a slow disk or a busy machine is not to blame on the file. A query that
# reads everything takes a second for a gigabyte; it is given ten.
_QUERY_SECONDS: Final = 3.0
_BYTES_PER_SECOND: Final = 2**30 / 10
_STEPS: Final = 20_000


class Deadline:
    """Ends a query that takes too long; to be the progress handler of its connection.

    Args:
        size: bytes of the database.
    """

    def __init__(self, size: int = 0) -> None:
        self._seconds = _QUERY_SECONDS + size / _BYTES_PER_SECOND
        self.start()

    def start(self) -> None:
        """A query begins, in this thread."""
        self._end = time.thread_time() + self._seconds

    def __call__(self) -> bool:
        """Whether it is to end."""
        return time.thread_time() > self._end


def connect_to_read(
    layout: Layout, found: Found, deadline: Deadline
) -> tuple[sqlite3.Connection, bool]:
    """A connection to a database that passed the preflight, and whether it sees later changes.

    Raises:
        StoreCorruptError: it did not pass.
        StoreUnavailableError: it cannot be read here and now.
    """
    if not found.own and found.wal_size is None:
        # SQLite would make files in another user's directory.
        return _connect(layout, "immutable=1", deadline), False
    try:
        return _connect(layout, "mode=ro", deadline), True
    except StoreUnavailableError:
        # On a read-only file system SQLite cannot make the -shm that it wants beside a database.
        if found.wal_size:
            raise
        return _connect(layout, "immutable=1", deadline), False


def probe_write_lock(layout: Layout) -> None:
    """Take and release the write lock.

    Raises:
        StoreCorruptError: the database is.
        StoreUnavailableError: it cannot be written, or somebody has it locked.
    """
    with (
        translating_errors(),
        closing(_open(layout, "mode=rw", Deadline(), WRITE_BUSY_SECONDS)) as connection,
    ):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "readonly" in str(error) and _is_writable(layout):
                raise StoreCorruptError("it says of itself that it is read-only") from error
            raise
        connection.execute("ROLLBACK")


def checkpoint(layout: Layout) -> None:
    """Bring everything into the database file itself; if nobody else has it open, it is alone then.

    Raises:
        StoreCorruptError: the database is.
        StoreUnavailableError: it cannot be done.
    """
    with translating_errors(), closing(_open(layout, "mode=rw", Deadline())) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailableError("its log cannot be emptied")


@contextmanager
def translating_errors() -> Iterator[None]:
    """Raise errors of SQLite and of the system as those of a store."""
    try:
        yield
    except (sqlite3.Error, UnicodeError, OSError) as error:
        raise classify_error(error) from error


def _is_writable(layout: Layout) -> bool:
    """Whether the system lets this user write the files."""
    return all(os.access(path, os.W_OK) for path in (layout.versioned, layout.database))


def _connect(layout: Layout, how: str, deadline: Deadline) -> sqlite3.Connection:
    with translating_errors():
        connection = _open(layout, how, deadline)
        try:
            connection.execute("PRAGMA query_only = ON")
            preflight(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _open(
    layout: Layout, how: str, deadline: Deadline, busy_seconds: float = BUSY_SECONDS
) -> sqlite3.Connection:
    path = layout.database.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file://{path}?{how}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    # Not every text is UTF-8.
    connection.text_factory = bytes
    connection.set_progress_handler(deadline, _STEPS)
    try:
        for statement in _CAREFULLY:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection
