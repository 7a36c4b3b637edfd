"""Connections to a database that may be hostile. diskcache has its own connection."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from quaycache.store.disk.faults import StoreCorruptError, StoreUnavailableError, classify_error
from quaycache.store.disk.preflight import preflight

if TYPE_CHECKING:
    from quaycache.store.disk.layout import Found, Layout

BUSY_SECONDS: Final = 1.0
"""Seconds that a reader waits for a lock on the database."""

WRITE_BUSY_SECONDS: Final = 3.0
"""Seconds that a writer waits; a dozen processes that start together need less."""

_HARDENING: Final = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
)

# Every query must end, whatever the database contains. The limit is processor time, because a slow
# disk or a busy machine does not mean that the file is damaged. To read a whole gigabyte takes one
# or two seconds of the ten that it may take. SQLite checks the limit every so many steps.
_QUERY_SECONDS: Final = 3.0
_BYTES_PER_SECOND: Final = 2**30 / 10
_STEPS: Final = 20_000


class Deadline:
    """Interrupts a query that takes too long, as the progress handler of its connection.

    Args:
        size: The size of the database, in bytes.
    """

    def __init__(self, size: int = 0) -> None:
        self._seconds = _QUERY_SECONDS + size / _BYTES_PER_SECOND
        self.start()

    def start(self) -> None:
        """Start the time of a query in this thread."""
        self._end = time.thread_time() + self._seconds

    def __call__(self) -> bool:
        """Return whether the time is over."""
        return time.thread_time() > self._end


def connect_to_read(
    layout: Layout, found: Found, deadline: Deadline
) -> tuple[sqlite3.Connection, bool]:
    """Return a connection to a checked database, and whether it sees later changes.

    Raises:
        StoreCorruptError: If the database does not pass the preflight.
        StoreUnavailableError: If it cannot be read now.
    """
    if not found.own and found.wal_size is None:
        # SQLite would create files in another user's directory.
        return _connect(layout, "immutable=1", deadline), False
    try:
        return _connect(layout, "mode=ro", deadline), True
    except StoreUnavailableError:
        # On a read-only file system SQLite cannot create the -shm.
        if found.wal_size:
            raise
        return _connect(layout, "immutable=1", deadline), False


def probe_write_lock(layout: Layout) -> None:
    """Acquire and release the write lock.

    Raises:
        StoreCorruptError: If the database is damaged.
        StoreUnavailableError: If it cannot be written, or stays locked.
    """
    with (
        translating_errors(),
        closing(_open(layout, "mode=rw", Deadline(), WRITE_BUSY_SECONDS)) as connection,
    ):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "readonly" in str(error) and _is_writable(layout):
                raise StoreCorruptError("its header says that it is read-only") from error
            raise
        connection.execute("ROLLBACK")


def checkpoint(layout: Layout) -> None:
    """Move the log into the database; SQLite then removes the log if nobody else has it open.

    Raises:
        StoreCorruptError: If the database is damaged.
        StoreUnavailableError: If the log is in use or cannot be moved.
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
    """Return whether this user may write the files."""
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
    # Text in a hostile database need not be UTF-8.
    connection.text_factory = bytes
    connection.set_progress_handler(deadline, _STEPS)
    try:
        for statement in _HARDENING:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection
