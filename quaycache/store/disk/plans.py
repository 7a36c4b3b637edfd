"""Plan what a transaction changes. Pure, except that plans read the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from quaycache.store.entry import encode_entry
from quaycache.store.keys import encode_key

if TYPE_CHECKING:
    from quaycache.store.disk.reader import Reader
    from quaycache.store.entry import Entry
    from quaycache.store.keys import Key, Scope


class Changes(NamedTuple):
    """The changes of one transaction.

    Attributes:
        put: Keys and their new values.
        drop: The keys to remove.
    """

    put: Iterable[tuple[str, bytes]] = ()
    drop: Iterable[str] = ()


class Encoded(NamedTuple):
    """An entry with its key and value as they are stored."""

    entry: Entry
    key: str
    value: bytes


def encode(entries: Mapping[Key, Entry]) -> dict[Key, Encoded]:
    """Return the entries as they are stored, without those that are too large."""
    encoded: dict[Key, Encoded] = {}
    for key, entry in entries.items():
        text = encode_key(key)
        try:
            encoded[key] = Encoded(entry, text, encode_entry(text, entry))
        except ValueError:
            continue
    return encoded


def put_newer(reader: Reader, entries: Mapping[Key, Encoded], max_checked_at: float) -> Changes:
    """Plan `Store.put_newer`: keep the newer entry; if both are of one time, keep the new one."""
    stored = reader.times(entries)
    return Changes(
        put=[
            (text, value)
            for key, (entry, text, value) in entries.items()
            if key not in stored or not entry.checked_at < stored[key] <= max_checked_at
        ]
    )


def remove_if_not_newer(reader: Reader, keys: Mapping[Key, float]) -> Changes:
    """Plan `Store.remove_if_not_newer`; anything that is not a valid entry is removed as well."""
    stored = reader.times(keys)
    return Changes(
        drop=[
            encode_key(key)
            for key, until in keys.items()
            if key not in stored or stored[key] <= until
        ]
    )


def discard_unlisted(
    reader: Reader, scope: Scope, listed: Collection[str], until: float
) -> Changes:
    """Plan `Store.discard_unlisted`."""
    return remove_if_not_newer(reader, dict.fromkeys(reader.unlisted_keys(scope, listed), until))
