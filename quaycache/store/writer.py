"""Writes the database, by diskcache: this is the one module that imports it.

diskcache is told nothing by the file: it opens only what passed the preflight, reads no value, and
makes and removes no file beside the database.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import diskcache  # type: ignore[import-untyped]  # it ships no type information

from quaycache.store.connection import WRITE_BUSY_SECONDS, reporting
from quaycache.store.faults import Unusable
from quaycache.store.preflight import SETTINGS

if TYPE_CHECKING:
    from quaycache.store.plans import Changes

T = TypeVar("T")

_PAUSE: Final = 0.005


class _InlineDisk(diskcache.Disk):  # type: ignore[misc]  # untyped base
    """Takes text as keys and bytes as values, into the database itself, and gives nothing back."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("a key is text")
        return key, True

    def store(self, value: object, read: bool, key: object = None) -> tuple[Any, ...]:
        del read, key
        if type(value) is not bytes:
            raise TypeError("a value is bytes")
        return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)

    def get(self, key: object, raw: object) -> NoReturn:
        raise NotImplementedError("nothing is read by diskcache")

    def fetch(self, mode: object, filename: object, value: object, read: object) -> NoReturn:
        raise NotImplementedError("nothing is read by diskcache")

    def filename(self, key: object = None, value: object = None) -> NoReturn:
        raise NotImplementedError("nothing is stored in files")

    def remove(self, file_path: object) -> None:
        """Nothing: what names a file here is no row of ours."""


class _Cache(diskcache.Cache):  # type: ignore[misc]  # untyped base
    @property
    def _sql_retry(self) -> Callable[..., Any]:
        """Runs a statement, and again if the database is locked; diskcache would for a minute."""
        return self._run

    def _run(self, statement: str, *arguments: object) -> Any:
        # By a clock that no test has stopped.
        until = time.clock_gettime(time.CLOCK_MONOTONIC) + WRITE_BUSY_SECONDS
        while True:
            try:
                return self._sql(statement, *arguments)
            except sqlite3.OperationalError as error:  # noqa: PERF203 - SQLite takes far longer
                if str(error) != "database is locked":
                    raise
                if time.clock_gettime(time.CLOCK_MONOTONIC) > until:
                    raise
                time.sleep(_PAUSE)

    def __init__(self, directory: str) -> None:
        try:
            super().__init__(directory, timeout=WRITE_BUSY_SECONDS, disk=_InlineDisk, **SETTINGS)
        except BaseException:
            self.close()
            raise


class Writer:
    """A database open to be written. Thread-safe.

    diskcache has a connection for each thread, and closes that of the calling one: it gets one
    thread of its own.

    Args:
        directory: that of a database that passed the preflight, or of an empty file ``cache.db``.

    Raises:
        Damaged: the database is.
        Unusable: it cannot be written here and now.
    """

    def __init__(self, directory: str) -> None:
        if os.path.expandvars(os.path.expanduser(directory)) != directory:
            raise Unusable("its path has a '$' that diskcache would expand")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quaycache-store")
        try:
            self._cache = self._in_thread(lambda: _Cache(directory))
        except BaseException:
            self._thread.shutdown()
            raise

    def apply(self, plan: Callable[[], Changes]) -> None:
        """Carry out in one transaction what `plan` says, called while the database is locked.

        Raises:
            Damaged: the database is.
            Unusable: it cannot be written here and now.
        """
        self._in_thread(lambda: self._apply(plan))

    def close(self, before: Callable[[], None]) -> None:
        """Finish what is under way, call `before`, and close."""

        def close() -> None:
            before()
            self._cache.close()

        try:
            self._in_thread(close)
        finally:
            self._thread.shutdown()

    def _apply(self, plan: Callable[[], Changes]) -> None:
        with self._cache.transact():
            changes = plan()
            for key, value in changes.put:
                self._cache.set(key, value)
            for key in changes.drop:
                self._cache.delete(key)

    def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            future = self._thread.submit(work)
        except RuntimeError as error:
            raise Unusable(str(error)) from error
        with reporting():
            try:
                return future.result()
            except diskcache.Timeout as error:
                raise Unusable("database is locked") from error
