"""`RedisStore`: a cache on a Redis or Valkey that many machines share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeVar

from quaycache.errors import StoreError
from quaycache.model import StoredAnswer, StoredListing
from quaycache.store.entry import Entry
from quaycache.store.fail_open import FailOpen
from quaycache.store.keys import AnswerKey, Key, ListingKey, Scope, encode_key
from quaycache.store.protocol import RETENTION, Claimed, Description, Pruned, Row
from quaycache.store.redis.commands import RedisCommands
from quaycache.store.redis.server import RedisServer

T = TypeVar("T")

_WAIT: Final = 1.0


class RedisStore:
    """A `Store` on a Redis or Valkey, for any number of threads, processes and machines.

    It fails open: if the server is unreachable, slow, full, read-only or not a Redis, the store
    logs a warning and behaves like an empty one. It tries again after 30 seconds, then after
    growing pauses of up to ten minutes.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, or
            ``unix:///path[?db=N]``. A CA's certificates, and those of the client, are files named
            by ``?ssl_ca_certs=``, ``ssl_certfile=`` and ``ssl_keyfile=``.
        wait: The seconds for which the server may be silent; a command may take five times as long.
        retention: The seconds after which this store hides an entry. The server keeps a tag's
            answers for the longest retention of the stores that have added to them.

    Raises:
        MissingExtraError: If redis-py is not installed.
        SettingsError: If the URL is invalid. The message holds no part of it.
    """

    def __init__(self, url: str, *, wait: float = _WAIT, retention: float = RETENTION) -> None:
        self._server = RedisServer(url, wait)
        self._commands = RedisCommands(self._server, retention)
        self._fail_open = FailOpen(
            f"cache {self.location}",
            reason=self._server.reason,
            refuses_only_writes=self._server.refuses_only_writes,
        )

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
        return self._fail_open.read(lambda: self._commands.answers(scope, tag), {})

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        found = self._fail_open.read(lambda: self._commands.entry(key), None)
        return found if isinstance(found, StoredAnswer) else None

    def claim(
        self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
    ) -> Claimed:
        """As `Store.claim`."""
        fail_open = self._fail_open
        # If this store cannot keep the answers, other runs must not wait for them.
        claims = fail_open.may_write
        run = fail_open.write if claims else fail_open.read
        return run(
            lambda: self._commands.claim(scope, tag, repositories, seconds, claims=claims),
            Claimed({}, ()),
        )

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """As `Store.release`."""
        if repositories:
            self._fail_open.write(lambda: self._commands.release(scope, tag, repositories), None)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        found = self._fail_open.read(lambda: self._commands.entry(ListingKey(scope)), None)
        return found if isinstance(found, StoredListing) else None

    def put_newer(self, entries: Mapping[Key, Entry], *, max_checked_at: float) -> None:
        """As `Store.put_newer`."""
        if entries:
            too_large = self._fail_open.write(
                lambda: self._commands.put_newer(entries, max_checked_at), 0
            )
            if too_large:
                self._fail_open.warn("an entry is too large; it will not be stored")

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove_if_not_newer`."""
        if keys:
            self._fail_open.write(lambda: self._commands.remove_if_not_newer(keys), None)

    def discard_unlisted(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.discard_unlisted`."""
        self._fail_open.write(lambda: self._commands.discard_unlisted(scope, listed, until), None)

    def rows(self) -> Iterator[Row]:
        """As `Store.rows`."""
        if not self._fail_open.is_closed:
            yield from sorted(
                self._run_strict(self._commands.rows), key=lambda row: encode_key(row.key)
            )

    def prune(
        self, keep: Callable[[Row], bool], *, quarantined_before: float, dry_run: bool = False
    ) -> Pruned:
        """As `Store.prune`; a server has no quarantines."""
        del quarantined_before
        self._raise_if_closed()
        dropped = [row for row in self.rows() if not keep(row)]
        if not dry_run:
            # An entry stored since then is newer, and stays.
            keys = {
                row.key: math.inf if row.entry is None else row.entry.checked_at for row in dropped
            }
            self._run_strict(lambda: self._commands.remove_if_not_newer(keys))
        return Pruned(len(dropped), 0, sum(row.size for row in dropped))

    def clean(self) -> int:
        """As `Store.clean`: every key with quaycache's prefix, and no other."""
        self._raise_if_closed()
        freed = sum(row.size for row in self.rows())
        self._run_strict(self._commands.unlink_all)
        return freed

    def describe(self) -> Description:
        """As `Store.describe`: the bytes of keys and values."""
        return Description(sum(row.size for row in self.rows()), 0)

    def close(self) -> None:
        """As `Store.close`."""
        self._fail_open.close()
        self._server.close()

    def _run_strict(self, command: Callable[[], T]) -> T:
        """Run a command of the store's maintenance, where a failure is an error."""
        try:
            return command()
        except Exception as error:  # noqa: BLE001 - `reason` knows every one
            raise StoreError(f"{self._fail_open.name}: {self._server.reason(error)}") from None

    def _raise_if_closed(self) -> None:
        if self._fail_open.is_closed:
            raise StoreError(f"{self._fail_open.name}: it is closed")
