"""Encoding and decoding of entries. Pure; a poisoned cache gets no further than this module.

An entry is a header and its content. The header holds a checksum over the key and all that follows,
then ``checked_at`` and ``stored_at``. The content of an answer is a record of fixed fields, because
a run reads thousands of them at its start; that of a listing is one JSON object. Anything else is
not a valid entry, and the tag is looked up again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from struct import Struct
from typing import Final
from zlib import crc32

from quaycache._lazy import lazy_pattern
from quaycache.model import (
    MAX_SECONDS,
    UNKNOWN,
    LastModified,
    StoredAnswer,
    StoredListing,
    Tag,
)
from quaycache.names import is_repository
from quaycache.store.keys import AnswerKey, Key, encode_key

Entry = StoredAnswer | StoredListing

MAX_LISTING: Final = 8 * 1024 * 1024
"""The largest encoded listing, in bytes: 150,000 repositories with names of ordinary length."""

_CHECKSUM: Final = Struct(">I")
_HEADER: Final = Struct(">Idd")
# Start, end (-1 if there is none), digest.
_SHA256: Final = Struct(">Iddqq32s")
_SHA512: Final = Struct(">Iddqq64s")
_NO_END: Final = -1

HEADER_SIZE: Final = _HEADER.size
"""The size of an entry's header, in bytes."""

_LAYOUTS: Final = {layout.size: layout for layout in (_HEADER, _SHA256, _SHA512)}

MAX_ANSWER: Final = max(_LAYOUTS)
"""The largest encoded answer, in bytes."""

# A named tuple's constructor calls this from a Python function, which takes longer.
_new: Final = tuple.__new__

# Most names look like this; calling `is_repository` for each takes time.
_PLAIN_NAMES: Final = lazy_pattern(r"[a-z0-9_-]{1,200}(?:\n[a-z0-9_-]{1,200})*", re.ASCII)


def encode_entry(key: str, entry: Entry) -> bytes:
    """Return the bytes of an entry under its key.

    Raises:
        ValueError: If the entry is too large to be read back.
    """
    if isinstance(entry, StoredListing):
        rows = {
            name: "unknown" if last_modified is UNKNOWN else last_modified
            for name, last_modified in entry.repositories.items()
        }
        content = json.dumps(rows, separators=(",", ":")).encode("ascii")
    elif entry.tag is None:
        content = b""
    else:
        _, digest, start_ts, end_ts = entry.tag
        end_ts = _NO_END if end_ts is None else end_ts
        content = Struct(">qq").pack(start_ts, end_ts) + bytes.fromhex(digest.partition(":")[2])
    value = _HEADER.pack(0, entry.checked_at, entry.stored_at) + content
    if len(value) > MAX_LISTING:
        raise ValueError(f"an entry of {len(value)} bytes is too large to be stored")
    body = value[_CHECKSUM.size :]
    return _CHECKSUM.pack(crc32(body, crc32(key.encode()))) + body


def decode_entry(key: Key, value: bytes) -> Entry | None:
    """Return the answer or listing in an entry's bytes; None if they are invalid."""
    text = encode_key(key)
    if isinstance(key, AnswerKey):
        return decode_answer(text, key.tag, value)
    return decode_listing(text, value)


def decode_answer(key: str, tag: str, value: bytes) -> StoredAnswer | None:
    """Return the answer for `tag` in an entry's bytes; None if they are invalid."""
    layout = _LAYOUTS.get(len(value))
    if layout is None:
        return None
    checksum, checked_at, stored_at, *content = layout.unpack(value)
    if checksum != crc32(value[_CHECKSUM.size :], crc32(key.encode())) or not (
        0 <= checked_at <= MAX_SECONDS and 0 <= stored_at <= MAX_SECONDS
    ):
        return None
    found = None
    if content:
        start_ts, end_ts, digest = content
        if not (0 <= start_ts <= MAX_SECONDS and _NO_END <= end_ts <= MAX_SECONDS):
            return None
        text = f"{'sha256' if layout is _SHA256 else 'sha512'}:{digest.hex()}"
        found = _new(Tag, (tag, text, start_ts, None if end_ts == _NO_END else end_ts))
    return _new(StoredAnswer, (found, checked_at, stored_at))


def decode_listing(key: str, value: bytes) -> StoredListing | None:
    """Return the listing in an entry's bytes; None if they are invalid."""
    times = _times(key, value)
    if times is None:
        return None
    try:
        rows = json.loads(value[_HEADER.size :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, dict) or not rows:
        return None
    if not _are_plain(rows) and not all(map(is_repository, rows)):
        return None
    repositories: dict[str, LastModified] = {}
    for name, stored in rows.items():
        if stored is None or (type(stored) is int and 0 <= stored <= MAX_SECONDS):
            repositories[name] = stored
        elif stored == "unknown":
            repositories[name] = UNKNOWN
        else:
            return None
    return StoredListing(repositories, *times)


def decode_checked_at(key: str, value: bytes) -> float | None:
    """Return the ``checked_at`` of an entry's bytes; None if header or checksum are invalid."""
    times = _times(key, value)
    return None if times is None else times[0]


def peek_stored_at(header: bytes) -> float:
    """Return the ``stored_at`` of an entry's header without any check."""
    stored_at: float = _HEADER.unpack(header)[2]
    return stored_at


def _are_plain(names: Collection[str]) -> bool:
    text = "\n".join(names)
    return text.count("\n") == len(names) - 1 and _PLAIN_NAMES.fullmatch(text) is not None


def _times(key: str, value: bytes) -> tuple[float, float] | None:
    """Return ``checked_at`` and ``stored_at``; None if they or the checksum are invalid."""
    if not _HEADER.size <= len(value) <= MAX_LISTING:
        return None
    checksum, checked_at, stored_at = _HEADER.unpack_from(value)
    if checksum != crc32(memoryview(value)[_CHECKSUM.size :], crc32(key.encode())):
        return None
    if not (0 <= checked_at <= MAX_SECONDS and 0 <= stored_at <= MAX_SECONDS):
        return None
    return checked_at, stored_at
