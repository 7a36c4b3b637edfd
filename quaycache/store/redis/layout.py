"""The names of keys on a server, and what its scripts return. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

from quaycache.store.entry import Entry
from quaycache.store.keys import AnswerKey, Key, Scope, answers_prefix, namespace_prefix

EntryT = TypeVar("EntryT", bound=Entry)

PREFIX: Final = "quaycache:"
"""Every key begins with it, because other programs may use the server too."""

_CLAIMS: Final = f"{PREFIX}claims|"
_TAGS: Final = f"{PREFIX}tags|"
_LISTED: Final = f"{PREFIX}listed|"


class Loaded(NamedTuple):
    """The reply of a script that loads entries. Its methods raise if the reply is malformed.

    Attributes:
        asked_at: The time before the request, by `RedisStore.now`, so that a slow reply makes an
            entry older, never younger.
        time: The server's time, as seconds and microseconds in digits.
        flat: Fields and values alternately.
    """

    asked_at: float
    time: Any
    flat: Any

    def shift(self) -> int:
        """Return the seconds to add to a time of storing that a loaded entry has.

        It is by the server's clock then, and by `RedisStore.now` after the addition.
        """
        return round(self.asked_at - seconds_of(self.time))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Return fields with their values; a field without a value has an empty one."""
        if not isinstance(self.flat, list) or not all(type(item) is bytes for item in self.flat):
            raise TypeError("a script's reply is malformed")
        return zip(self.flat[::2], self.flat[1::2], strict=True)


def seconds_of(time: Any) -> float:
    """Return the server's time in seconds, from seconds and microseconds in digits."""
    seconds, microseconds = map(int, time)
    return seconds + microseconds / 1e6


def shifted(entry: EntryT, seconds: int) -> EntryT:
    """Return an entry with its time of storing by another clock.

    Clocks are compared in whole seconds, the precision of HTTP dates, so that most entries need no
    change.
    """
    if not seconds:
        return entry
    return entry._replace(stored_at=entry.stored_at + seconds)  # type: ignore[return-value]  # the same


def tag_of(key: Key) -> str:
    """Return the tag whose hash holds an entry; the empty tag for a listing."""
    return key.tag if isinstance(key, AnswerKey) else ""


def field_of(key: Key) -> str:
    """Return the field of an entry in its hash."""
    return key.repository if isinstance(key, AnswerKey) else ""


def hash_of(scope: Scope, tag: str) -> str:
    """Return the name of the hash of the answers for one tag."""
    return PREFIX + answers_prefix(scope, tag)


def claims_of(scope: Scope, tag: str) -> str:
    """Return the name of the hash of the claims on these answers."""
    return _CLAIMS + answers_prefix(scope, tag)


def tags_of(scope: Scope) -> str:
    """Return the name of the set of tags for which a namespace has hashes."""
    return _TAGS + namespace_prefix(scope)


def listed_of(scope: Scope, call: str) -> str:
    """Return the name of the set of listed repositories during one `discard_unlisted`."""
    return _LISTED + namespace_prefix(scope) + call
