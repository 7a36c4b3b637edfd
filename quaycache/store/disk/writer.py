"""Writing the database with diskcache; no other module imports it.

diskcache obeys no file: it opens only a database that passed the preflight, reads no value, and
creates and removes no file beside the database.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

import diskcache  # type: ignore[import-untyped]  # it ships no type information

from quaycache.store.clock import monotonic
from quaycache.store.disk.connection import WRITE_BUSY_SECONDS, translating_errors
from quaycache.store.disk.faults import StoreUnavailableError
from quaycache.store.disk.layout import DATABASE_NAME
from quaycache.store.disk.preflight import SETTINGS

if TYPE_CHECKING:
    from quaycache.store.disk.plans import Changes

_PAUSE: Final = 0.005


class _InlineDisk(diskcache.Disk):  # type: ignore[misc]  # untyped base
    """Stores text keys and bytes values inside the database, and reads nothing."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("a key must be text")
        return key, True

    def store(self, value: object, read: bool, key: object = None) -> tuple[Any, ...]:
        del read, key
        if type(value) is not bytes:
            raise TypeError("a value must be bytes")
        return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)

    def get(self, key: object, raw: object) -> NoReturn:
        raise NotImplementedError("diskcache must not read")

    def fetch(self, mode: object, filename: object, value: object, read: object) -> NoReturn:
        raise NotImplementedError("diskcache must not read")

    def filename(self, key: object = None, value: object = None) -> NoReturn:
        raise NotImplementedError("values are stored in the database only")

    def remove(self, file_path: object) -> None:
        """Do nothing: quaycache's rows name no files, and others are hostile."""


class _Cache(diskcache.Cache):  # type: ignore[misc]  # untyped base
    """A cache with one connection for all threads, of which one at a time uses it.

    diskcache opens a connection for each thread, and only that thread could close it.
    """

    def __init__(self, directory: str) -> None:
        self.connection = sqlite3.connect(
            os.path.join(directory, DATABASE_NAME),
            timeout=WRITE_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            super().__init__(directory, timeout=WRITE_BUSY_SECONDS, disk=_InlineDisk, **SETTINGS)
        except BaseException:
            self.connection.close()
            raise

    def limit(self, size: int) -> None:
        """Set the size at which the database is full, in bytes."""
        (page_size,) = self.connection.execute("PRAGMA page_size").fetchone()
        self.connection.execute(f"PRAGMA max_page_count = {size // page_size}")

    @property
    def _con(self) -> sqlite3.Connection:
        return self.connection

    @property
    def _sql_retry(self) -> Callable[..., Any]:
        """Return a function that runs a statement; diskcache's own would retry for a minute."""
        return self._run

    def _run(self, statement: str, *arguments: object) -> Any:
        until = monotonic() + WRITE_BUSY_SECONDS
        while True:
            try:
                return self._sql(statement, *arguments)
            except sqlite3.OperationalError as error:  # noqa: PERF203 - SQLite takes far longer
                if str(error) != "database is locked" or monotonic() > until:
                    raise
                time.sleep(_PAUSE)


class Writer:
    """A database open to be written. Any thread may use it, one at a time.

    Args:
        directory: The directory of a database that passed the preflight, or of an empty file
            ``cache.db``.
        max_size: The size at which the database is full, in bytes; None if there is no limit.

    Raises:
        StoreCorruptError: If the database is damaged.
        StoreUnavailableError: If it cannot be written now.
    """

    def __init__(self, directory: str, *, max_size: int | None = None) -> None:
        if os.path.expandvars(os.path.expanduser(directory)) != directory:
            raise StoreUnavailableError("its path has a '$' that diskcache would expand")
        with translating_errors():
            self._cache = _Cache(directory)
            if max_size is not None:
                self._cache.limit(max_size)

    def apply(self, plan: Callable[[], Changes]) -> int:
        """Make the changes that `plan` returns in one transaction; return the number of rows put.

        `plan` is called while the database is locked for writing.

        Raises:
            StoreCorruptError: If the database is damaged.
            StoreUnavailableError: If it cannot be written now.
        """
        with translating_errors():
            try:
                return self._apply(plan)
            except diskcache.Timeout as error:
                raise StoreUnavailableError("database is locked") from error

    def close(self) -> None:
        """Close the connection and roll back an open transaction."""
        with translating_errors():
            self._cache.connection.close()

    def _apply(self, plan: Callable[[], Changes]) -> int:
        count = 0
        with self._cache.transact():
            changes = plan()
            for key, value in changes.put:
                self._cache.set(key, value)
                count += 1
            for key in changes.drop:
                self._cache.delete(key)
        return count
