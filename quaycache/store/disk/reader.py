"""Reading the database with plain SQLite; diskcache must not, because it unpickles values.

Only rows of the one shape that quaycache writes are read, and each must pass its checksum.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from quaycache._lazy import lazy_pattern
from quaycache.names import is_repository
from quaycache.store.disk.connection import Deadline, connect_to_read, translating_errors
from quaycache.store.disk.faults import StoreCorruptError
from quaycache.store.disk.preflight import preflight
from quaycache.store.entry import (
    HEADER_SIZE,
    MAX_ANSWER,
    MAX_LISTING,
    decode_answer,
    decode_checked_at,
    decode_entry,
    decode_listing,
    peek_stored_at,
)
from quaycache.store.keys import (
    SCHEMA_VERSION,
    AnswerKey,
    Key,
    ListingKey,
    Scope,
    answers_prefix,
    decode_key,
    encode_key,
    namespace_prefix,
)
from quaycache.store.protocol import Row

if TYPE_CHECKING:
    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.store.disk.layout import Found, Layout

T = TypeVar("T")

# The plus keeps SQLite from using the index of times, which would make it read all rows.
_OF_OUR_SHAPE: Final = (
    "raw = 1 AND mode = 1 AND filename IS NULL AND +expire_time IS NULL"
    " AND typeof(key) = 'text' AND typeof(value) = 'blob' AND length(value) <= ?"
)
_SELECT: Final = f"FROM Cache WHERE {_OF_OUR_SHAPE} AND "
_RANGE: Final = f"SELECT key, value {_SELECT} key >= ? AND key < ?"
_ONE: Final = f"SELECT value {_SELECT} key = ?"
_PAGE: Final = f"SELECT key, value {_SELECT} key > CAST(? AS TEXT) AND key < ? ORDER BY key LIMIT ?"
_SLICE: Final = (
    f"SELECT rowid, key, length(value), substr(value, 1, ?) {_SELECT}"
    " length(value) >= ? AND rowid > ? ORDER BY rowid LIMIT ?"
)
_KEYS: Final = "SELECT key FROM Cache WHERE key >= ? AND key < ? AND raw = 1"

# Rows are numbered from 1 on.
_FIRST_SLICE: Final = 0

START: Final = f"{SCHEMA_VERSION}|".encode("ascii")
"""The text before the first key."""

_END: Final = f"{SCHEMA_VERSION}}}"
# Most names look like this; calling `is_repository` for thousands of names takes time.
_PLAIN: Final = lazy_pattern(r"[a-z0-9_-]{1,200}")

_PAGE_SIZE: Final = 256
_REMEMBERED: Final = 8


class _Loaded(NamedTuple):
    """The result of a load, so that the next one decodes only what has changed.

    Attributes:
        version: SQLite's ``data_version``.
        values: The values of all valid rows, by repository.
        answers: The decoded values.
    """

    version: int | None
    values: dict[str, bytes]
    answers: dict[str, StoredAnswer]


class Stored(NamedTuple):
    """A row with its key and value as they are stored."""

    row: Row
    key: str
    value: bytes


class Page(NamedTuple):
    """Some rows, and the key after which the next page begins; None after the last page."""

    rows: list[Stored]
    after: bytes | None


class Reader:
    """A database open to be read. Thread-safe.

    Every method raises `StoreCorruptError` if the database is damaged, and
    `StoreUnavailableError` if it cannot be read at the moment.

    Attributes:
        found: The files as they were when the reader was opened.
        live: Whether the reader sees later changes.
    """

    def __init__(self, layout: Layout, found: Found) -> None:
        self.found = found
        self._deadline = Deadline(found.size)
        self._connection, self.live = connect_to_read(layout, found, self._deadline)
        self._lock = threading.Lock()
        self._loaded: dict[tuple[Scope, str], _Loaded] = {}
        self._listings: dict[Scope, tuple[bytes, StoredListing | None]] = {}

    def check(self) -> None:
        """Check schema, settings and pages again."""
        with self._query():
            preflight(self._connection)

    def answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """Return every answer for one tag, by repository."""
        with self._query():
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            loaded = self._loaded.pop((scope, tag), _Loaded(None, {}, {}))
            if loaded.version != version:
                loaded = self._load(answers_prefix(scope, tag), tag, version, loaded)
            self._loaded[scope, tag] = loaded
            _drop_the_oldest(self._loaded)
            return loaded.answers.copy()

    def answer(self, key: AnswerKey) -> StoredAnswer | None:
        """Return one answer; None if it is not stored."""
        text = encode_key(key)
        value = self._value(text, MAX_ANSWER)
        return None if value is None else decode_answer(text, key.tag, value)

    def some_answers(self, keys: Iterable[AnswerKey]) -> dict[str, StoredAnswer]:
        """Return those answers that are stored, by repository."""
        found = ((key.repository, self.answer(key)) for key in keys)
        return {repository: answer for repository, answer in found if answer is not None}

    def listing(self, scope: Scope) -> StoredListing | None:
        """Return the listing of a namespace; None if it is not stored."""
        text = encode_key(ListingKey(scope))
        value = self._value(text, MAX_LISTING)
        if value is None:
            return None
        before, listing = self._listings.pop(scope, (None, None))
        if before != value:
            listing = decode_listing(text, value)
        self._listings[scope] = value, listing
        _drop_the_oldest(self._listings)
        return listing

    def times(self, keys: Iterable[Key]) -> dict[Key, float]:
        """Return the ``checked_at`` of the valid entries under these keys."""
        times: dict[Key, float] = {}
        for key in keys:
            text = encode_key(key)
            value = self._value(text, MAX_LISTING)
            checked_at = None if value is None else decode_checked_at(text, value)
            if checked_at is not None:
                times[key] = checked_at
        return times

    def unlisted_keys(self, scope: Scope, listed: Collection[str]) -> list[AnswerKey]:
        """Return the keys of repositories that are not in `listed`, for every tag."""
        known = {name.encode() for name in listed}
        with self._query():
            names = [
                name
                for (name,) in self._connection.execute(_KEYS, _range(namespace_prefix(scope)))
                if name.rpartition(b"|")[2] not in known
            ]
        keys = (decode_key(name.decode("ascii", "replace")) for name in names)
        return [key for key in keys if isinstance(key, AnswerKey)]

    def page(self, after: bytes) -> Page:
        """Return the next rows after a key, in the order of the keys."""
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        with self._query():
            for row in self._connection.execute(_PAGE, (MAX_LISTING, after, _END, _PAGE_SIZE)):
                rows.append(row)
                size += len(row[1])
                if size > MAX_LISTING:
                    break
        if rows and rows[-1][0] <= after:
            raise StoreCorruptError("its rows are out of order")
        found = [stored for name, value in rows if (stored := _stored(name, value)) is not None]
        return Page(found, rows[-1][0] if rows else None)

    def pages(self) -> Iterator[list[Stored]]:
        """Yield all rows in the order of their keys, page by page."""
        after: bytes | None = START
        while after is not None:
            rows, after = self.page(after)
            yield rows

    def random_place(self, size: int) -> int:
        """Return a random start for a slice; the first row if one slice covers all rows."""
        with self._query():
            (last,) = self._connection.execute("SELECT max(rowid) FROM Cache").fetchone()
        if last is None or last <= size:
            return _FIRST_SLICE
        # Some starts lie before the first row, so that a slice covers it as often as any other.
        return int.from_bytes(os.urandom(8), "big") % int(last + size) - size

    def stored_before(self, moment: float, after: int, size: int) -> tuple[list[str], int]:
        """Return the keys of old entries in a slice, and the start of the next slice.

        Args:
            moment: The time before which an entry is old, in seconds UTC.
            after: The start of the slice.
            size: The number of rows in the slice.
        """
        keys: list[str] = []
        rows = length = 0
        with self._query():
            bounds = (HEADER_SIZE, MAX_LISTING, HEADER_SIZE, after, size)
            for after, name, of_value, header in self._connection.execute(_SLICE, bounds):
                rows += 1
                length += of_value
                if peek_stored_at(header) < moment:
                    keys.append(name.decode("ascii", "replace"))
                if length > MAX_LISTING:
                    return keys, after
        return keys, after if rows == size else _FIRST_SLICE

    def count(self) -> int:
        """Return the number of all rows, valid or not."""
        with self._query():
            return int(self._connection.execute("SELECT count(*) FROM Cache").fetchone()[0])

    def close(self) -> None:
        """Close the connection; do nothing if it is closed."""
        with self._lock:
            self._connection.close()

    def _load(self, prefix: str, tag: str, version: int, before: _Loaded) -> _Loaded:
        skip = len(prefix)
        is_plain = _PLAIN.fullmatch
        loaded = _Loaded(version, {}, {})
        for name, value in self._connection.execute(_RANGE, (MAX_ANSWER, *_range(prefix))):
            text = name.decode("ascii", "replace")
            repository = text[skip:]
            if before.values.get(repository) == value:
                answer: StoredAnswer | None = before.answers[repository]
            elif is_plain(repository) or is_repository(repository):
                answer = decode_answer(text, tag, value)
            else:
                continue
            if answer is not None:
                loaded.values[repository] = value
                loaded.answers[repository] = answer
        return loaded

    def _value(self, key: str, limit: int) -> bytes | None:
        with self._query():
            row = self._connection.execute(_ONE, (limit, key)).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _query(self) -> Iterator[None]:
        with self._lock, translating_errors():
            self._deadline.start()
            yield


def _range(prefix: str) -> tuple[str, str]:
    """Return the bounds of all texts with a prefix: the first, and the first one after them."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _drop_the_oldest(remembered: dict[T, Any]) -> None:
    if len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _stored(name: bytes, value: bytes) -> Stored | None:
    """Return a row; None if its key is invalid."""
    text = name.decode("ascii", "replace")
    key = decode_key(text)
    if key is None:
        return None
    return Stored(Row(key, decode_entry(key, value), len(name) + len(value)), text, value)
