"""Where entries are on a server, and what its scripts return. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

from quaycache.store.entry import Entry
from quaycache.store.keys import (
    AnswerKey,
    Key,
    Scope,
    answers_prefix,
    namespace_prefix,
)

EntryT = TypeVar("EntryT", bound=Entry)

PREFIX: Final = "quaycache:"
"""What every key begins with: the server may be others' too."""

_CLAIMS: Final = f"{PREFIX}claims|"
_TAGS: Final = f"{PREFIX}tags|"
_LISTED: Final = f"{PREFIX}listed|"


class Loaded(NamedTuple):
    """What a script has found; whatever is not as it should be raises an error.

    Attributes:
        asked_at: before the request, by `RedisStore.now`: a slow reply makes an entry older.
        time: of the server, seconds and microseconds, as digits.
        flat: fields and values in turn.
    """

    asked_at: float
    time: Any
    flat: Any

    def shift(self) -> int:
        """What turns a time of storing by the server's clock into one by `RedisStore.now`."""
        return round(self.asked_at - seconds_of(self.time))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Fields with their values; those without one have the empty one."""
        if not isinstance(self.flat, list) or not all(type(one) is bytes for one in self.flat):
            raise TypeError("a script's answer is none of ours")
        return zip(self.flat[::2], self.flat[1::2], strict=True)


def seconds_of(time: Any) -> float:
    """The server's time, from seconds and microseconds in digits."""
    seconds, microseconds = map(int, time)
    return seconds + microseconds / 1e6


def shifted(entry: EntryT, seconds: int) -> EntryT:
    """An entry with the time of storing by another clock.

    Clocks are compared in whole seconds, so that most entries stay as they are. An HTTP date says
    no more.
    """
    if not seconds:
        return entry
    return entry._replace(stored_at=entry.stored_at + seconds)  # type: ignore[return-value]  # the same


def tag_of(key: Key) -> str:
    """Whose hash it is in; that of the empty tag is the listing's."""
    return key.tag if isinstance(key, AnswerKey) else ""


def field_of(key: Key) -> str:
    """Its field there."""
    return key.repository if isinstance(key, AnswerKey) else ""


def hash_of(scope: Scope, tag: str) -> str:
    """The name of the hash of the answers for one tag."""
    return PREFIX + answers_prefix(scope, tag)


def claims_of(scope: Scope, tag: str) -> str:
    """The name of the hash of the claims on its fields."""
    return _CLAIMS + answers_prefix(scope, tag)


def tags_of(scope: Scope) -> str:
    """The name of the set of tags that a namespace has hashes of."""
    return _TAGS + namespace_prefix(scope)


def listed_of(scope: Scope, call: str) -> str:
    """The name of the set of listed repositories, for as long as one call removes the others."""
    return _LISTED + namespace_prefix(scope) + call
