"""`RedisStore`: a Redis or Valkey that a fleet shares."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeVar

from quaycache.errors import StoreError
from quaycache.lazy_logger import LazyLogger
from quaycache.model import StoredAnswer, StoredListing
from quaycache.store.entry import Entry
from quaycache.store.keys import AnswerKey, Key, ListingKey, Scope, encode_key
from quaycache.store.protocol import Claimed, Description, Pruned, Row
from quaycache.store.redis_commands import RedisCommands
from quaycache.store.redis_server import RedisServer

LOG = LazyLogger("quaycache.store")

T = TypeVar("T")

_WAIT: Final = 1.0
_RETENTION: Final = 30 * 86400.0


class RedisStore:
    """A `Store` on a Redis or Valkey, for any number of threads, processes and machines.

    It fails open: a server that is unreachable, slow, full, read-only or not ours costs a warning,
    and is left alone from then on.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, or
            ``unix:///path[?db=N]``. A CA's certificates, and those of the client, are files named
            by ``?ssl_ca_certs=``, ``ssl_certfile=`` and ``ssl_keyfile=``.
        wait: seconds that the server may be silent; one command may take five times as long.
        retention: seconds after which this store hides an entry. The server keeps a tag's answers
            for the longest retention of the stores that have added to them.

    Raises:
        MissingExtraError: redis-py is not installed.
        SettingsError: the URL is wrong. The message holds none of it.
    """

    def __init__(self, url: str, *, wait: float = _WAIT, retention: float = _RETENTION) -> None:
        self._server = RedisServer(url, wait)
        self._commands = RedisCommands(self._server, retention)
        self._lock = threading.Lock()
        self._reads = self._writes = True
        self._warned = self._closed = False

    def __repr__(self) -> str:
        return f"<RedisStore {self.location}>"

    @property
    def location(self) -> str:
        """As `Store.location`: the URL without user, password and options."""
        return self._server.location

    def now(self) -> float:
        """As `Store.now`: it does not jump when the local clock is set."""
        return self._commands.now()

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """As `Store.load_answers`."""
        return self._read(lambda: self._commands.answers(scope, tag), {})

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        found = self._read(lambda: self._commands.entry(key), None)
        return found if isinstance(found, StoredAnswer) else None

    def claim(
        self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
    ) -> Claimed:
        """As `Store.claim`."""
        # A store that cannot keep the answers leaves the requests to others.
        run, look_only = (self._write, False) if self._writes else (self._read, True)
        return run(
            lambda: self._commands.claim(scope, tag, repositories, seconds, look_only=look_only),
            Claimed({}, ()),
        )

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """As `Store.release`."""
        if repositories:
            self._write(lambda: self._commands.release(scope, tag, repositories), None)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        found = self._read(lambda: self._commands.entry(ListingKey(scope)), None)
        return found if isinstance(found, StoredListing) else None

    def merge(self, entries: Mapping[Key, Entry], *, latest: float) -> None:
        """As `Store.merge`."""
        too_large = self._write(lambda: self._commands.merge(entries, latest), 0) if entries else 0
        if too_large:
            self._warn("an entry is too large; it will not be stored")

    def remove(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove`."""
        if keys:
            self._write(lambda: self._commands.remove(keys), None)

    def keep_listed(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.keep_listed`."""
        self._write(lambda: self._commands.keep_listed(scope, listed, until), None)

    def rows(self) -> Iterator[Row]:
        """As `Store.rows`."""
        if not self._closed:
            yield from sorted(self._look(self._commands.rows), key=lambda row: encode_key(row.key))

    def prune(
        self, keep: Callable[[Row], bool], *, quarantined_before: float, dry_run: bool = False
    ) -> Pruned:
        """As `Store.prune`; a server has no quarantines."""
        del quarantined_before
        self._raise_if_closed()
        dropped = [row for row in self.rows() if not keep(row)]
        if not dry_run:
            # What has come meanwhile is newer, and stays.
            keys = {
                row.key: math.inf if row.entry is None else row.entry.checked_at for row in dropped
            }
            self._look(lambda: self._commands.remove(keys))
        return Pruned(len(dropped), 0, sum(row.size for row in dropped))

    def clean(self) -> int:
        """As `Store.clean`: all keys that begin as ours do, and no other."""
        self._raise_if_closed()
        freed = sum(row.size for row in self.rows())
        self._look(self._commands.unlink_all)
        return freed

    def describe(self) -> Description:
        """As `Store.describe`: the bytes of keys and values."""
        return Description(sum(row.size for row in self.rows()), 0)

    def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        self._reads = self._writes = False
        self._server.close()

    def _read(self, command: Callable[[], T], otherwise: T) -> T:
        if not self._reads:
            return otherwise
        try:
            return command()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not fail the job
            self._reads = self._writes = False
            self._warn(f"{self._server.reason(error)}; running without the cache")
            return otherwise

    def _write(self, command: Callable[[], T], otherwise: T) -> T:
        if not self._writes:
            return otherwise
        try:
            return command()
        except Exception as error:  # noqa: BLE001 - as above
            self._writes = False
            self._reads = self._reads and self._server.refuses_only_writes(error)
            rest = "nothing more will be stored" if self._reads else "running without the cache"
            self._warn(f"{self._server.reason(error)}; {rest}")
            return otherwise

    def _look(self, command: Callable[[], T]) -> T:
        """As `_read` for who looks after the store: trouble is an error."""
        try:
            return command()
        except Exception as error:  # noqa: BLE001 - as above
            raise StoreError(f"{self._name}: {self._server.reason(error)}") from None

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise StoreError(f"{self._name}: it is closed")

    def _warn(self, text: str) -> None:
        """Log a line, once in a store's life: what comes next follows from it, or repeats it."""
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            LOG.warning("%s: %s", self._name, text)

    @property
    def _name(self) -> str:
        return f"cache {self.location}"
