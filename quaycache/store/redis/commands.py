"""The commands of a `quaycache.store.redis.store.RedisStore`: requests and the meaning of replies.

Each command raises if anything goes wrong; the store decides what follows.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from quaycache.model import StoredAnswer
from quaycache.names import is_repository
from quaycache.store.entry import (
    MAX_ANSWER,
    MAX_LISTING,
    Entry,
    decode_answer,
    decode_entry,
    encode_entry,
)
from quaycache.store.keys import AnswerKey, Key, Scope, answers_prefix, decode_key, encode_key
from quaycache.store.protocol import Claimed, Row
from quaycache.store.redis import scripts
from quaycache.store.redis.layout import (
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
from quaycache.store.redis.server import RedisServer

T = TypeVar("T")

# A larger hash does not hold the answers for a real namespace.
_MAX_FIELDS: Final = 250_000
_MAX_BYTES: Final = 64 * 1024 * 1024

_CHUNK: Final = 500

# To remove unlisted answers, the server looks at so many fields before it serves other clients (a
# few milliseconds), and after one walk at so many tags, drawn at random.
_FIELDS_AT_ONCE: Final = 20_000
_MAX_TAGS: Final = 100_000

# Larger than any time. Lua's `tonumber` rejects infinity.
_FOR_EVER: Final = 1e300


class RedisCommands:
    """Loads, stores, claims and removes entries. Thread-safe.

    Args:
        server: The server that holds them.
        retention: The seconds after which this client ignores an entry.
    """

    def __init__(self, server: RedisServer, retention: float) -> None:
        self._server = server
        self._retention = retention
        self._name_in_claims = os.urandom(8).hex()
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the local time at which this object was made, plus the time passed since.

        It does not jump when the local clock is set. It may be wrong: every command that loads or
        stores entries compares it with the server's clock.
        """
        return self._epoch + time.monotonic()

    def answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """Return the answers for one tag, by repository."""
        return self._decoded(scope, tag, self._load(hash_of(scope, tag), MAX_ANSWER))

    def entry(self, key: Key) -> Entry | None:
        """Return one entry, or None."""
        limit = MAX_ANSWER if isinstance(key, AnswerKey) else MAX_LISTING
        name, arguments = hash_of(key.scope, tag_of(key)), [field_of(key), limit]
        asked_at = self.now()
        loaded = Loaded(asked_at, *self._server.run(scripts.LOAD_ONE, [name], arguments))
        ((_, value),) = loaded.items()
        entry = decode_entry(key, value)
        entry = None if entry is None else shifted(entry, loaded.shift())
        return None if entry is None or self._is_old(entry) else entry

    def claim(
        self,
        scope: Scope,
        tag: str,
        repositories: Collection[str],
        seconds: float,
        *,
        claims: bool,
    ) -> Claimed:
        """Return the answers for repositories, and those repositories that are claimed elsewhere.

        Args:
            scope: The scope of the repositories.
            tag: The tag to look up.
            repositories: The names to load, and to claim if nobody else has claimed them.
            seconds: The duration of the claims.
            claims: Whether to claim at all.
        """
        keys = [hash_of(scope, tag), claims_of(scope, tag)]
        claimant = self._claimant() if claims else ""
        arguments = [MAX_ANSWER, round(seconds * 1000), claimant, *repositories]
        asked_at = self.now()
        *reply, claimed = self._server.run(scripts.CLAIM, keys, arguments)
        answers = self._decoded(scope, tag, Loaded(asked_at, *reply))
        return Claimed(answers, {name for name in repositories if name.encode() in claimed})

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """End this process's claims."""
        arguments = [self._claimant(), *repositories]
        self._server.run(scripts.RELEASE, [claims_of(scope, tag)], arguments)

    def put_newer(self, entries: Mapping[Key, Entry], max_checked_at: float) -> int:
        """Store entries as `Store.put_newer` does; return how many are too large."""
        # An older comparison of the clocks would not do: since then the server's clock may have
        # been set, or this machine suspended.
        server_time = seconds_of(self._server.call(lambda client: client.time()))
        shift = round(server_time - self.now())
        hashes: dict[tuple[Scope, str], list[Any]] = {}
        too_large = 0
        for key, entry in entries.items():
            try:
                value = encode_entry(encode_key(key), shifted(entry, shift))
            except ValueError:
                too_large += 1
                continue
            fields = hashes.setdefault((key.scope, tag_of(key)), [])
            fields += [field_of(key), repr(entry.checked_at), value]
        keys: list[str] = []
        arguments: list[Any] = [min(max_checked_at, _FOR_EVER), round(self._retention * 1000)]
        for (scope, tag), fields in hashes.items():
            keys += [hash_of(scope, tag), claims_of(scope, tag), tags_of(scope)]
            arguments += [tag, len(fields) // 3, *fields]
        if keys:
            self._server.run(scripts.MERGE, keys, arguments)
        return too_large

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        """Remove entries as `Store.remove_if_not_newer` does."""
        for chunk in _in_chunks(keys.items()):
            names: list[str] = []
            arguments: list[Any] = []
            for key, until in chunk:
                names += [hash_of(key.scope, tag_of(key)), claims_of(key.scope, tag_of(key))]
                arguments += [field_of(key), min(until, _FOR_EVER)]
            self._server.run(scripts.REMOVE, names, arguments)

    def discard_unlisted(self, scope: Scope, listed: Collection[str], until: float) -> None:
        """Remove unlisted answers in steps, so that the server can serve other clients in between.

        The first step sends the listing, and the server keeps it for the others. Without stored
        tags nothing is sent.
        """
        found: Any = self._server.call(lambda client: client.srandmember(tags_of(scope), _MAX_TAGS))
        tags = [tag for tag in found if tag]
        kept, sent = listed_of(scope, os.urandom(8).hex()), listed
        while tags:
            chunk = tags[:_CHUNK]
            hashes = [hash_of(scope, tag.decode("ascii", "replace")) for tag in chunk]
            bounds = [min(until, _FOR_EVER), _MAX_FIELDS, _FIELDS_AT_ONCE, len(tags)]
            done = self._server.run(
                scripts.DISCARD_UNLISTED,
                [tags_of(scope), kept, *hashes],
                [*bounds, *chunk, *sent],
                long=True,
            )
            if done < 1:
                return
            tags, sent = tags[done:], ()

    def rows(self) -> list[Row]:
        """Return everything that is stored, in any order."""
        rows = []
        # A scan may return a key twice.
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

    def unlink_all(self) -> None:
        """Remove every key with quaycache's prefix."""
        for keys in _in_chunks(self._names()):
            self._server.call(operator.methodcaller("unlink", *keys))

    def _claimant(self) -> str:
        """Return the name under which this process claims; a forked process has its own."""
        return f"{self._name_in_claims}{os.getpid():x}"

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
        return Loaded(asked_at, *self._server.run(scripts.LOAD, [name], bounds, long=True))

    def _is_old(self, entry: Entry) -> bool:
        """Return whether an entry is past this client's retention; another's may be longer."""
        return self.now() - entry.stored_at > self._retention

    def _names(self, kind: str | None = None) -> Iterator[bytes]:
        """Return the server's keys with quaycache's prefix, in steps: it may hold many others."""
        cursor = 0
        while True:
            step = operator.methodcaller(
                "scan", cursor, match=f"{PREFIX}*", count=_CHUNK, _type=kind
            )
            cursor, names = self._server.call(step)
            yield from names
            if cursor == 0:
                return


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
