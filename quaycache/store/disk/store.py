"""`DiskStore`: a directory that keeps answers between runs."""

from __future__ import annotations

import math
import operator
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from quaycache.errors import SettingsError, StoreError
from quaycache.names import printable
from quaycache.store.clock import monotonic
from quaycache.store.disk import forking, plans
from quaycache.store.disk.faults import StoreCorruptError, StoreUnavailableError, classify_error
from quaycache.store.disk.layout import Layout
from quaycache.store.disk.reader import START, Page
from quaycache.store.disk.removal import size_of
from quaycache.store.disk.session import Session, open_session
from quaycache.store.fail_open import FailOpen
from quaycache.store.keys import AnswerKey
from quaycache.store.protocol import RETENTION, Claimed, Description, Pruned, Row

if TYPE_CHECKING:
    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.store.disk.plans import Changes
    from quaycache.store.disk.reader import Reader
    from quaycache.store.entry import Entry
    from quaycache.store.keys import Key, Scope

T = TypeVar("T")

_STORE_ERRORS: Final = (StoreUnavailableError, OSError)

# A fork waits this long for a thread that is using the files. A write that waits for another
# process takes less.
_FORK_SECONDS: Final = 5.0

# A database that is damaged again and again must not fill the disk with quarantines.
_QUARANTINE_PAUSE: Final = 600.0

# The parent's sessions, if it could not close them before it forked: SQLite must not close them in
# the child.
_LEAKED_ON_PURPOSE: Final[list[Session]] = []


class DiskStore:
    """A `Store` in a directory, for any number of threads and processes.

    It keeps everything in a sub-directory of its own and leaves all other files alone. It creates
    nothing before something is stored.

    Args:
        directory: The path of the directory. If it is missing, it is created with mode 0700.
        retention: Seconds after which an entry may be dropped. Old entries are dropped when
            something else is stored.

    Raises:
        SettingsError: If *directory* is not a valid path.
    """

    def __init__(self, directory: str | os.PathLike[str], *, retention: float = RETENTION) -> None:
        if not os.fspath(directory):
            raise SettingsError("the cache directory's name is empty")
        path = os.fspath(directory)
        with suppress(OSError):  # the current directory may have been deleted
            path = os.path.abspath(path)
        if "\0" in path:
            raise SettingsError("a cache directory's name must not contain a null character")
        try:
            os.fsencode(path)
        except UnicodeEncodeError as error:
            raise SettingsError("the cache directory's name cannot be encoded") from error
        self._layout = Layout(path)
        self._retention = retention
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._next_quarantine_at = -math.inf
        self._fail_open = FailOpen(
            f"cache '{printable(path)}'",
            reason=_reason,
            refuses_only_writes=lambda error: isinstance(error, _STORE_ERRORS),
        )
        forking.close_at_fork(self)

    def __repr__(self) -> str:
        return f"<DiskStore {self._layout.directory}>"

    @property
    def location(self) -> str:
        """As `Store.location`: the directory."""
        return self._layout.directory

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """As `Store.load_answers`."""
        return self._read(lambda reader: reader.answers(scope, tag), {})

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        return self._read(lambda reader: reader.answer(key), None)

    def claim(
        self,
        scope: Scope,
        tag: str,
        repositories: Collection[str],
        *,
        seconds: float,  # noqa: ARG002 - a directory keeps no claims
    ) -> Claimed:
        """As `Store.claim`."""
        keys = [AnswerKey(scope, tag, repository) for repository in repositories]
        return Claimed(self._read(lambda reader: reader.some_answers(keys), {}), ())

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """As `Store.release`: there are no claims."""

    def now(self) -> float:
        """As `Store.now`: the local clock, which all processes of a machine share."""
        return time.time()

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        return self._read(lambda reader: reader.listing(scope), None)

    def put_newer(self, entries: Mapping[Key, Entry], *, max_checked_at: float) -> None:
        """As `Store.put_newer`."""
        encoded = plans.encode(entries)
        if len(encoded) < len(entries):
            self._fail_open.warn("an entry is too large; it will not be stored")
        if encoded:
            self._write(
                lambda reader: plans.put_newer(reader, encoded, max_checked_at), to_create=True
            )

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove_if_not_newer`."""
        self._write(lambda reader: plans.remove_if_not_newer(reader, keys))

    def discard_unlisted(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.discard_unlisted`."""
        self._write(lambda reader: plans.discard_unlisted(reader, scope, listed, until))

    def rows(self) -> Iterator[Row]:
        """As `Store.rows`."""
        after: bytes | None = START
        while after is not None:
            rows, after = self._read_strict(operator.methodcaller("page", after), Page([], None))
            yield from (stored.row for stored in rows)

    def prune(
        self, keep: Callable[[Row], bool], *, quarantined_before: float, dry_run: bool = False
    ) -> Pruned:
        """As `Store.prune`."""
        from quaycache.store.disk import upkeep  # rarely needed

        if not dry_run:
            return self._exclusive(lambda: upkeep.prune(self._layout, keep, quarantined_before))
        sizes = [row.size for row in self.rows() if not keep(row)]
        old = upkeep.expired(self._layout, quarantined_before)
        return Pruned(len(sizes), len(old), sum(sizes) + size_of(old))

    def clean(self) -> int:
        """As `Store.clean`."""
        from quaycache.store.disk import upkeep

        return self._exclusive(lambda: upkeep.clean(self._layout))

    def describe(self) -> Description:
        """As `Store.describe`."""
        return Description(
            size=size_of(self._layout.existing()),
            quarantines=len(self._layout.quarantines()),
        )

    def close(self) -> None:
        """As `Store.close`."""
        with self._lock:
            self._fail_open.close()
            self._close_files()

    def _close_before_fork(self) -> bool:
        if not self._lock.acquire(timeout=_FORK_SECONDS):
            return False
        self._close_files()
        return True

    def _resume_after_fork(self) -> None:
        self._lock.release()

    def _reset_after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._session is not None:
            _LEAKED_ON_PURPOSE.append(self._session)
            self._session = None

    def _read(self, query: Callable[[Reader], T], otherwise: T) -> T:
        def read() -> T:
            try:
                session = self._opened(to_create=False)
                return otherwise if session is None else query(session.reader)
            except _STORE_ERRORS:
                self._close_files()
                raise

        with self._lock:
            return self._fail_open.read(lambda: self._attempt(read), otherwise)

    def _write(self, plan: Callable[[Reader], Changes], *, to_create: bool = False) -> None:
        def write() -> None:
            session = self._opened(to_create=to_create)
            # A removal that removes nothing must not open the database for writing.
            if session is None or not (to_create or any(plan(session.reader))):
                return
            if not session.is_writable:
                # It was not when the files were opened, but it may be now.
                self._close_files()
                session = self._opened(to_create=to_create)
            if session is not None:
                session.write(plan)

        with self._lock:
            self._fail_open.write(lambda: self._attempt(write), None)

    def _read_strict(self, query: Callable[[Reader], T], otherwise: T) -> T:
        """Read for maintenance code: raise errors, and leave damaged files where they are.

        Raises:
            StoreError: If the files cannot be read now.
        """
        with self._lock:
            if self._fail_open.is_closed:
                return otherwise
            try:
                session = self._opened(to_create=False, any_size=True)
                return otherwise if session is None else query(session.reader)
            except StoreCorruptError as error:
                self._close_files()
                self._fail_open.warn(f"{error}; it will be put aside by the next run")
                return otherwise
            except _STORE_ERRORS as error:
                raise self._error(error) from error

    def _exclusive(self, work: Callable[[], T]) -> T:
        """Return the result of maintenance that needs the files closed.

        Raises:
            StoreError: If the work fails or the store is closed.
        """
        with self._lock:
            if self._fail_open.is_closed:
                raise StoreError(f"{self._fail_open.name}: it is closed")
            self._close_files()
            try:
                return work()
            except (StoreCorruptError, *_STORE_ERRORS) as error:
                raise self._error(error) from error

    def _attempt(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; if the files are damaged, quarantine them and try again."""
        try:
            try:
                return work()
            except StoreCorruptError as error:
                self._quarantine(error)
                return work()
        except _STORE_ERRORS:
            # If only writing failed, reading goes on with the open files.
            raise
        except Exception:
            self._close_files()
            raise

    def _opened(self, *, to_create: bool, any_size: bool = False) -> Session | None:
        if self._session is not None and not self._session.is_current():
            self._close_files()
            self._fail_open.inform("it was removed or replaced; starting over")
        if self._session is None:
            self._session = open_session(
                self._layout, self._retention, to_create=to_create, any_size=any_size
            )
        return self._session

    def _close_files(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(StoreCorruptError, *_STORE_ERRORS):
                session.close()

    def _quarantine(self, damage: StoreCorruptError) -> None:
        """Move the damaged files aside, unless another process has done so.

        Raises:
            StoreCorruptError: If they cannot be moved, or some were moved a short time ago.
        """
        identity = None if self._session is None else self._session.reader.found.identity
        self._close_files()
        if monotonic() < self._next_quarantine_at:
            raise damage
        from quaycache.store.disk.quarantine import quarantine

        try:
            path = quarantine(self._layout, identity)
        except _STORE_ERRORS as error:
            text = f"{damage}, and it cannot be put aside: {_reason(error)}"
            raise StoreCorruptError(text) from error
        if path is not None:
            self._next_quarantine_at = monotonic() + _QUARANTINE_PAUSE
            name = os.path.basename(path)
            self._fail_open.warn(f"{damage}; put aside as {name}, and starting empty")

    def _error(self, error: Exception) -> StoreError:
        return StoreError(f"{self._fail_open.name}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(classify_error(error))
    if isinstance(error, StoreCorruptError | StoreUnavailableError):
        return str(error)
    return f"it cannot be used ({type(error).__name__})"
