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
        time: of the server, seconds and microseconds, as digits.
        flat: fields and values in turn.
    """

    time: Any
    flat: Any

    def seconds(self) -> float:
        """The server's time."""
        seconds, microseconds = map(int, self.time)
        return seconds + microseconds / 1e6

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Fields with their values; those without one have the empty one."""
        if not isinstance(self.flat, list) or not all(type(one) is bytes for one in self.flat):
            raise TypeError("a script's answer is none of ours")
        return zip(self.flat[::2], self.flat[1::2], strict=True)


def shifted(entry: EntryT, seconds: int) -> EntryT:
    """An entry with the time of storing by another clock."""
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
