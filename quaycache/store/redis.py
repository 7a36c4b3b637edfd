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
    decode_entry,
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
)
from quaycache.store.protocol import Claimed, Description, Pruned, Row
from quaycache.store.redis_layout import (
    PREFIX,
    Loaded,
    claims_of,
    field_of,
    hash_of,
    listed_of,
    seconds_of,
    shifted,
    tag_of,
    tags_of,
)
from quaycache.store.redis_server import RedisServer

LOG = LazyLogger("quaycache.store")

T = TypeVar("T")

# Of one hash: what has more is no namespace's.
_MAX_FIELDS: Final = 250_000
_MAX_BYTES: Final = 64 * 1024 * 1024

_CHUNK: Final = 500

# Removing unlisted answers: the server looks at so many fields before it serves other clients,
# and at so many tags in a walk, drawn at random.
_FIELDS_AT_ONCE: Final = 20_000
_MAX_TAGS: Final = 100_000

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
        retention: seconds after which this store hides an entry. The server keeps a tag's answers
            for the longest retention of the stores that have added to them.

    Raises:
        MissingExtraError: redis-py is not installed.
        SettingsError: the URL is wrong. The message holds none of it.
    """

    def __init__(self, url: str, *, wait: float = _WAIT, retention: float = _RETENTION) -> None:
        self._server = RedisServer(url, wait)
        self._retention = retention
        self._name_in_claims = os.urandom(8).hex()
        self._epoch = time.time() - time.monotonic()
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
        """As `Store.now`: the local time at which this store was made, plus what has passed since.

        It does not jump when the local clock is set. What it shows does not matter: entries are
        moved between this clock and the server's whenever they are loaded or stored.
        """
        return self._epoch + time.monotonic()

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """As `Store.load_answers`."""
        return self._read(lambda: self._answers(scope, tag), {})

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        found = self._found(key, MAX_ANSWER)
        return found if isinstance(found, StoredAnswer) else None

    def claim(
        self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
    ) -> Claimed:
        """As `Store.claim`."""
        keys = [hash_of(scope, tag), claims_of(scope, tag)]

        def run(who: str) -> Claimed:
            arguments = [MAX_ANSWER, round(seconds * 1000), who, *repositories]
            asked_at = self.now()
            *reply, others = self._server.run(redis_scripts.CLAIM, keys, arguments)
            answers = self._decoded(scope, tag, Loaded(asked_at, *reply))
            return Claimed(answers, {name for name in repositories if name.encode() in others})

        nothing = Claimed({}, ())
        # A store that cannot keep the answers leaves the requests to others.
        if self._writes:
            return self._write(lambda: run(self._claimant()), nothing)
        return self._read(lambda: run(""), nothing)

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """As `Store.release`."""
        keys, arguments = [claims_of(scope, tag)], [self._claimant(), *repositories]
        if repositories:
            self._write(lambda: self._server.run(redis_scripts.RELEASE, keys, arguments), None)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        found = self._found(ListingKey(scope), MAX_LISTING)
        return found if isinstance(found, StoredListing) else None

    def merge(self, entries: Mapping[Key, Entry], *, latest: float) -> None:
        """As `Store.merge`."""
        if entries:
            self._write(lambda: self._merge(entries, latest), None)

    def remove(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove`."""
        if keys:
            self._write(lambda: self._remove(keys), None)

    def keep_listed(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.keep_listed`."""
        self._write(lambda: self._keep_listed(scope, listed, until), None)

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
        return Description(sum(row.size for row in self.rows()), 0)

    def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        self._reads = self._writes = False
        self._server.close()

    def _claimant(self) -> str:
        """Return the name under which this process claims; a forked process has its own."""
        return f"{self._name_in_claims}{os.getpid():x}"

    def _answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        return self._decoded(scope, tag, self._load(hash_of(scope, tag), MAX_ANSWER))

    def _decoded(self, scope: Scope, tag: str, loaded: Loaded) -> dict[str, StoredAnswer]:
        prefix = answers_prefix(scope, tag)
        shift = loaded.shift()
        answers: dict[str, StoredAnswer] = {}
        for field, value in loaded.items():
            name = field.decode("ascii", "replace")
            if value and is_repository(name):
                answer = decode_answer(prefix + name, tag, value)
                answer = None if answer is None else shifted(answer, shift)
                if answer is not None and not self._is_old(answer):
                    answers[name] = answer
        return answers

    def _load(self, name: str, limit: int) -> Loaded:
        bounds = [_MAX_FIELDS, limit, _MAX_BYTES]
        asked_at = self.now()
        return Loaded(asked_at, *self._server.run(redis_scripts.LOAD, [name], bounds, long=True))

    def _entry(self, key: Key, limit: int) -> Entry | None:
        name, arguments = hash_of(key.scope, tag_of(key)), [field_of(key), limit]
        asked_at = self.now()
        loaded = Loaded(asked_at, *self._server.run(redis_scripts.LOAD_ONE, [name], arguments))
        ((_, value),) = loaded.items()
        entry = decode_entry(key, value)
        return None if entry is None else shifted(entry, loaded.shift())

    def _merge(self, entries: Mapping[Key, Entry], latest: float) -> None:
        # Asked each time: since the last reply, the server's clock may have been set, or this
        # machine may have slept.
        time_ = seconds_of(self._server.call(lambda client: client.time()))
        shift = round(time_ - self.now())
        hashes: dict[tuple[Scope, str], list[Any]] = {}
        for key, entry in entries.items():
            try:
                value = encode_entry(encode_key(key), shifted(entry, shift))
            except ValueError:
                self._warn("an entry is too large; it will not be stored")
                continue
            fields = hashes.setdefault((key.scope, tag_of(key)), [])
            fields += [field_of(key), repr(entry.checked_at), value]
        keys: list[str] = []
        arguments: list[Any] = [min(latest, _FOR_EVER), round(self._retention * 1000)]
        for (scope, tag), fields in hashes.items():
            keys += [hash_of(scope, tag), claims_of(scope, tag), tags_of(scope)]
            arguments += [tag, len(fields) // 3, *fields]
        if keys:
            self._server.run(redis_scripts.MERGE, keys, arguments)

    def _remove(self, keys: Mapping[Key, float]) -> None:
        for chunk in _in_chunks(keys.items()):
            names: list[str] = []
            arguments: list[Any] = []
            for key, until in chunk:
                names += [hash_of(key.scope, tag_of(key)), claims_of(key.scope, tag_of(key))]
                arguments += [field_of(key), min(until, _FOR_EVER)]
            self._server.run(redis_scripts.REMOVE, names, arguments)

    def _keep_listed(self, scope: Scope, listed: Collection[str], until: float) -> None:
        """Remove in steps, between which the server answers other clients.

        The listing is sent once, and only if there are tags: the server keeps it between the steps.
        """
        found: Any = self._server.call(lambda client: client.srandmember(tags_of(scope), _MAX_TAGS))
        tags = [tag for tag in found if tag]
        kept, sent = listed_of(scope, os.urandom(8).hex()), listed
        while tags:
            chunk = tags[:_CHUNK]
            hashes = [hash_of(scope, tag.decode("ascii", "replace")) for tag in chunk]
            bounds = [min(until, _FOR_EVER), _MAX_FIELDS, _FIELDS_AT_ONCE, len(tags)]
            done = self._server.run(
                redis_scripts.KEEP_LISTED,
                [tags_of(scope), kept, *hashes],
                [*bounds, *chunk, *sent],
                long=True,
            )
            if done < 1:
                return
            tags, sent = tags[done:], ()

    def _is_old(self, entry: Entry) -> bool:
        """Whether an entry is past this client's retention. Another's may be longer: it stays."""
        return self.now() - entry.stored_at > self._retention

    def _found(self, key: Key, limit: int) -> Entry | None:
        entry = self._read(lambda: self._entry(key, limit), None)
        return None if entry is None or self._is_old(entry) else entry

    def _all_rows(self) -> list[Row]:
        rows = []
        # A scan may name a key twice.
        for name in set(self._names("HASH")):
            text = name.decode("ascii", "replace")
            loaded = self._load(text, MAX_LISTING)
            shift = loaded.shift()
            for field, value in loaded.items():
                repository = field.decode("ascii", "replace")
                key = decode_key(text.removeprefix(PREFIX) + repository)
                if key is not None and field_of(key) == repository:
                    entry = decode_entry(key, value)
                    size = len(text) + len(field) + len(value)
                    rows.append(Row(key, None if entry is None else shifted(entry, shift), size))
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


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
