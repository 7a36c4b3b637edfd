"""`RedisStore`: a Redis or Valkey that a fleet shares."""

from __future__ import annotations

import operator
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from quaycache.errors import StoreError
from quaycache.lazy_logger import LazyLogger
from quaycache.model import StoredAnswer, StoredListing
from quaycache.names import is_repository
from quaycache.store import redis_scripts
from quaycache.store.entry import (
    MAX_ANSWER,
    MAX_LISTING,
    Entry,
    decode_answer,
    decode_listing,
    encode_entry,
)
from quaycache.store.keys import (
    AnswerKey,
    Key,
    ListingKey,
    Scope,
    answers_prefix,
    decode_key,
    encode_key,
    namespace_prefix,
)
from quaycache.store.protocol import Claimed, Description, Pruned, Row
from quaycache.store.redis_server import RedisServer

LOG = LazyLogger("quaycache.store")

T = TypeVar("T")
EntryT = TypeVar("EntryT", StoredAnswer, StoredListing)

PREFIX: Final = "quaycache:"
"""What every key begins with: the server may be others' too."""

_CLAIMS: Final = f"{PREFIX}claims|"
_TAGS: Final = f"{PREFIX}tags|"

# Of one hash: what has more is no namespace's.
_MAX_FIELDS: Final = 250_000
_MAX_BYTES: Final = 64 * 1024 * 1024

# Time for an answer to come, and to be stored.
_CLAIM_MILLISECONDS: Final = 2000

_CHUNK: Final = 500
_WAIT: Final = 1.0
_RETENTION: Final = 30 * 86400.0
# Lua's numbers are doubles, and its `tonumber` takes no infinity.
_FOR_EVER: Final = 1e300


class RedisStore:
    """A `Store` on a Redis or Valkey, for any number of threads, processes and machines.

    It fails open: a server that is unreachable, slow, full, read-only or not ours costs a warning,
    and is left alone from then on.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, or
            ``unix:///path[?db=N]``. A CA's certificates, and those of the client, are files named
            by ``?ssl_ca_certs=``, ``ssl_certfile=`` and ``ssl_keyfile=``.
        wait: seconds that the server may be silent; one command may take five times as long.
        retention: seconds after which an entry is as good as never stored. By then the server drops
            what nobody has added to.

    Raises:
        MissingExtraError: redis-py is not installed.
        SettingsError: the URL is wrong. The message holds none of it.
    """

    def __init__(self, url: str, *, wait: float = _WAIT, retention: float = _RETENTION) -> None:
        self._server = RedisServer(url, wait)
        self._retention = retention
        self._name_in_claims = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._reads = self._writes = True
        self._warned = self._closed = False

    def __repr__(self) -> str:
        return f"<RedisStore {self._server.location}>"

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """As `Store.load_answers`."""
        prefix = answers_prefix(scope, tag)
        nothing: list[tuple[bytes, bytes]] = []
        answers: dict[str, StoredAnswer] = {}
        for field, value in self._read(lambda: self._fields(PREFIX + prefix, MAX_ANSWER), nothing):
            name = field.decode("ascii", "replace")
            answer = decode_answer(prefix + name, tag, value) if is_repository(name) else None
            if answer is not None:
                answers[name] = answer
        old = {name: one.checked_at for name, one in answers.items() if self._is_old(one)}
        self.remove({AnswerKey(scope, tag, name): until for name, until in old.items()})
        return {name: one for name, one in answers.items() if name not in old}

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        value = self._read(lambda: self._value(key, MAX_ANSWER), None)
        answer = None if value is None else decode_answer(encode_key(key), key.tag, value)
        return self._unless_old(key, answer)

    def claim(self, scope: Scope, tag: str, repositories: Collection[str]) -> Claimed:
        """As `Store.claim`."""
        prefix = answers_prefix(scope, tag)
        keys = [_hash(scope, tag), _claims(scope, tag)]

        def run(who: str) -> list[Any]:
            arguments = [MAX_ANSWER, _CLAIM_MILLISECONDS, who, *repositories]
            return list(self._server.run(redis_scripts.CLAIM, keys, arguments))

        # Who could not store the answers lets others do it.
        nothing: list[Any] = []
        found = self._write(lambda: run(self._name_in_claims), nothing)
        found = found or self._read(lambda: run(""), nothing)
        answers: dict[str, StoredAnswer] = {}
        for name, value in zip(repositories, found[::2], strict=False):
            answer = None if value is None else decode_answer(prefix + name, tag, value)
            if answer is not None and not self._is_old(answer):
                answers[name] = answer
        others = {name for name, taken in zip(repositories, found[1::2], strict=False) if taken}
        return Claimed(answers, others)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        key = ListingKey(scope)
        value = self._read(lambda: self._value(key, MAX_LISTING), None)
        listing = None if value is None else decode_listing(encode_key(key), value)
        return self._unless_old(key, listing)

    def merge(self, entries: Mapping[Key, Entry], *, latest: float) -> None:
        """As `Store.merge`."""
        hashes: dict[tuple[Scope, str], list[Any]] = {}
        for key, entry in entries.items():
            try:
                value = encode_entry(encode_key(key), entry)
            except ValueError:
                self._warn("an entry is too large; it will not be stored")
                continue
            fields = hashes.setdefault((key.scope, _tag(key)), [])
            fields += [_field(key), repr(entry.checked_at), value]
        keys: list[str] = []
        arguments: list[Any] = [min(latest, _FOR_EVER), round(self._retention * 1000)]
        for (scope, tag), fields in hashes.items():
            keys += [_hash(scope, tag), _claims(scope, tag), _tags(scope)]
            arguments += [tag, len(fields) // 3, *fields]
        if keys:
            self._write(lambda: self._server.run(redis_scripts.MERGE, keys, arguments), None)

    def remove(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove`."""
        if keys:
            self._write(lambda: self._remove(keys), None)

    def keep_listed(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.keep_listed`."""
        arguments = [PREFIX + namespace_prefix(scope), min(until, _FOR_EVER), *listed]
        self._write(
            lambda: self._server.run(redis_scripts.KEEP_LISTED, [_tags(scope)], arguments), None
        )

    def rows(self) -> Iterator[Row]:
        """As `Store.rows`."""
        if not self._closed:
            yield from sorted(self._look(self._all_rows), key=lambda row: encode_key(row.key))

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
                row.key: _FOR_EVER if row.entry is None else row.entry.checked_at for row in dropped
            }
            self._look(lambda: self._remove(keys))
        return Pruned(len(dropped), 0, sum(row.size for row in dropped))

    def clean(self) -> int:
        """As `Store.clean`: all keys that begin as ours do, and no other."""
        self._raise_if_closed()
        freed = sum(row.size for row in self.rows())

        def unlink() -> None:
            for keys in _in_chunks(self._names()):
                self._server.call(operator.methodcaller("unlink", *keys))

        self._look(unlink)
        return freed

    def describe(self) -> Description:
        """As `Store.describe`: the bytes of keys and values."""
        return Description(self._server.location, sum(row.size for row in self.rows()), 0)

    def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        self._reads = self._writes = False
        self._server.close()

    def _fields(self, name: str, limit: int) -> list[tuple[bytes, bytes]]:
        bounds = [_MAX_FIELDS, limit, _MAX_BYTES]
        found = self._server.run(redis_scripts.LOAD, [name], bounds)
        return list(zip(found[::2], found[1::2], strict=True))

    def _value(self, key: Key, limit: int) -> bytes | None:
        name, arguments = _hash(key.scope, _tag(key)), [_field(key), limit]
        value: bytes | None = self._server.run(redis_scripts.LOAD_ONE, [name], arguments)
        return value

    def _remove(self, keys: Mapping[Key, float]) -> None:
        for chunk in _in_chunks(keys.items()):
            hashes = [_hash(key.scope, _tag(key)) for key, _ in chunk]
            arguments: list[Any] = []
            for key, until in chunk:
                arguments += [_field(key), min(until, _FOR_EVER)]
            self._server.run(redis_scripts.REMOVE, hashes, arguments)

    def _is_old(self, entry: Entry) -> bool:
        return time.time() - entry.stored_at > self._retention

    def _unless_old(self, key: Key, entry: EntryT | None) -> EntryT | None:
        if entry is None or not self._is_old(entry):
            return entry
        self.remove({key: entry.checked_at})
        return None

    def _all_rows(self) -> list[Row]:
        rows = []
        # A scan may name a key twice.
        for name in set(self._names("HASH")):
            text = name.decode("ascii", "replace")
            for field, value in self._fields(text, MAX_LISTING):
                key = decode_key(text.removeprefix(PREFIX) + field.decode("ascii", "replace"))
                if key is not None:
                    rows.append(_row(key, value))
        return rows

    def _names(self, kind: str | None = None) -> Iterator[bytes]:
        """The server's keys that begin as ours do, step by step: it may hold many others."""
        cursor = 0
        while True:
            step = operator.methodcaller(
                "scan", cursor, match=f"{PREFIX}*", count=_CHUNK, _type=kind
            )
            cursor, names = self._server.call(step)
            yield from names
            if cursor == 0:
                return

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
            self._warn(f"{self._server.reason(error)}; nothing more will be stored")
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
        return f"cache {self._server.location}"


def _row(key: Key, value: bytes) -> Row:
    text = encode_key(key)
    entry: Entry | None
    if isinstance(key, AnswerKey):
        entry = decode_answer(text, key.tag, value)
    else:
        entry = decode_listing(text, value)
    return Row(key, entry, len(text) + len(value))


def _tag(key: Key) -> str:
    return key.tag if isinstance(key, AnswerKey) else ""


def _field(key: Key) -> str:
    return key.repository if isinstance(key, AnswerKey) else ""


def _hash(scope: Scope, tag: str) -> str:
    return PREFIX + answers_prefix(scope, tag)


def _claims(scope: Scope, tag: str) -> str:
    return _CLAIMS + answers_prefix(scope, tag)


def _tags(scope: Scope) -> str:
    return _TAGS + namespace_prefix(scope)


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
