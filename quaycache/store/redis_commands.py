"""The commands of a `quaycache.store.redis.RedisStore`: what is sent, and what a reply means.

Each raises whatever goes wrong. That a store fails open is decided elsewhere.
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
from quaycache.store import redis_scripts
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

T = TypeVar("T")

# Of one hash: what has more is no namespace's.
_MAX_FIELDS: Final = 250_000
_MAX_BYTES: Final = 64 * 1024 * 1024

_CHUNK: Final = 500

# Removing unlisted answers: the server looks at so many fields before it serves other clients,
# and at so many tags in a walk, drawn at random.
_FIELDS_AT_ONCE: Final = 20_000
_MAX_TAGS: Final = 100_000

# Lua's numbers are doubles, and its `tonumber` takes no infinity.
_FOR_EVER: Final = 1e300


class RedisCommands:
    """Loads, stores, claims and removes entries. Thread-safe.

    Args:
        server: where they are.
        retention: seconds after which this client ignores an entry.
    """

    def __init__(self, server: RedisServer, retention: float) -> None:
        self._server = server
        self._retention = retention
        self._name_in_claims = os.urandom(8).hex()
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        """The local time at which this object was made, plus what has passed since.

        It does not jump when the local clock is set. What it shows does not matter: entries are
        moved between this clock and the server's whenever they are loaded or stored.
        """
        return self._epoch + time.monotonic()

    def answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """The answers for one tag, by repository."""
        return self._decoded(scope, tag, self._load(hash_of(scope, tag), MAX_ANSWER))

    def entry(self, key: Key) -> Entry | None:
        """One entry."""
        limit = MAX_ANSWER if isinstance(key, AnswerKey) else MAX_LISTING
        name, arguments = hash_of(key.scope, tag_of(key)), [field_of(key), limit]
        asked_at = self.now()
        loaded = Loaded(asked_at, *self._server.run(redis_scripts.LOAD_ONE, [name], arguments))
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
        look_only: bool,
    ) -> Claimed:
        """What is stored about repositories, and which of them others have claimed.

        Args:
            scope: of the repositories.
            tag: that is about to be asked for.
            repositories: to claim.
            seconds: for which the claims hold.
            look_only: whether to claim nothing.
        """
        keys = [hash_of(scope, tag), claims_of(scope, tag)]
        who = "" if look_only else self._claimant()
        arguments = [MAX_ANSWER, round(seconds * 1000), who, *repositories]
        asked_at = self.now()
        *reply, others = self._server.run(redis_scripts.CLAIM, keys, arguments)
        answers = self._decoded(scope, tag, Loaded(asked_at, *reply))
        return Claimed(answers, {name for name in repositories if name.encode() in others})

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """End this process's claims."""
        arguments = [self._claimant(), *repositories]
        self._server.run(redis_scripts.RELEASE, [claims_of(scope, tag)], arguments)

    def merge(self, entries: Mapping[Key, Entry], latest: float) -> int:
        """Store entries as `Store.merge` does, and return how many are too large for that."""
        # Asked each time: since the last reply, the server's clock may have been set, or this
        # machine may have slept.
        time_ = seconds_of(self._server.call(lambda client: client.time()))
        shift = round(time_ - self.now())
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
        arguments: list[Any] = [min(latest, _FOR_EVER), round(self._retention * 1000)]
        for (scope, tag), fields in hashes.items():
            keys += [hash_of(scope, tag), claims_of(scope, tag), tags_of(scope)]
            arguments += [tag, len(fields) // 3, *fields]
        if keys:
            self._server.run(redis_scripts.MERGE, keys, arguments)
        return too_large

    def remove(self, keys: Mapping[Key, float]) -> None:
        """Remove entries, as `Store.remove` says."""
        for chunk in _in_chunks(keys.items()):
            names: list[str] = []
            arguments: list[Any] = []
            for key, until in chunk:
                names += [hash_of(key.scope, tag_of(key)), claims_of(key.scope, tag_of(key))]
                arguments += [field_of(key), min(until, _FOR_EVER)]
            self._server.run(redis_scripts.REMOVE, names, arguments)

    def keep_listed(self, scope: Scope, listed: Collection[str], until: float) -> None:
        """Remove unlisted answers, in steps between which the server answers other clients.

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

    def rows(self) -> list[Row]:
        """Everything stored, in any order."""
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

    def unlink_all(self) -> None:
        """Remove every key with the prefix."""
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
        return Loaded(asked_at, *self._server.run(redis_scripts.LOAD, [name], bounds, long=True))

    def _is_old(self, entry: Entry) -> bool:
        """Whether an entry is past this client's retention. Another's may be longer: it stays."""
        return self.now() - entry.stored_at > self._retention

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


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
