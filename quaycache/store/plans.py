"""What a transaction does, given what is stored. Pure, but for what it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from quaycache.store.entry import encode_entry
from quaycache.store.keys import encode_key

if TYPE_CHECKING:
    from quaycache.store.entry import Entry
    from quaycache.store.keys import Key, Scope
    from quaycache.store.reader import Reader


class Changes(NamedTuple):
    """What one transaction does.

    Attributes:
        put: keys and their new values.
        drop: keys.
    """

    put: Iterable[tuple[str, bytes]] = ()
    drop: Iterable[str] = ()


class Encoded(NamedTuple):
    """An entry on its way to the database."""

    entry: Entry
    key: str
    value: bytes


def encode(entries: Mapping[Key, Entry]) -> dict[Key, Encoded]:
    """The entries as they are stored, without those that are too large."""
    encoded: dict[Key, Encoded] = {}
    for key, entry in entries.items():
        text = encode_key(key)
        try:
            encoded[key] = Encoded(entry, text, encode_entry(text, entry))
        except ValueError:
            continue
    return encoded


def merge(reader: Reader, entries: Mapping[Key, Encoded], latest: float) -> Changes:
    """As `Store.merge`: the newer wins, and of two of one time the one that comes."""
    stored = reader.times(entries)
    return Changes(
        put=[
            (text, value)
            for key, (entry, text, value) in entries.items()
            if key not in stored or not entry.checked_at < stored[key] <= latest
        ]
    )


def remove(reader: Reader, keys: Mapping[Key, float]) -> Changes:
    """As `Store.remove`: what is no entry is removed as well."""
    stored = reader.times(keys)
    return Changes(
        drop=[
            encode_key(key)
            for key, until in keys.items()
            if key not in stored or stored[key] <= until
        ]
    )


def keep_listed(reader: Reader, scope: Scope, listed: Collection[str], until: float) -> Changes:
    """As `Store.keep_listed`."""
    return remove(reader, dict.fromkeys(reader.unlisted_keys(scope, listed), until))
