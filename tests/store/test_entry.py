"""Entries and their bytes: round trips, and invalid bytes."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaycache.model import MAX_SECONDS, UNKNOWN, StoredAnswer, StoredListing, Tag
from quaycache.names import is_digest
from quaycache.store.entry import (
    MAX_LISTING,
    Entry,
    decode_answer,
    decode_checked_at,
    decode_listing,
    encode_entry,
)
from quaycache.store.keys import encode_key
from tests.store.samples import LISTING_KEY, NOW, absent, key, listing, present

KEY = encode_key(key())
LISTED = encode_key(LISTING_KEY)
TIMES_OF_NOW = struct.pack(">dd", NOW, NOW)

TIMES = st.one_of(
    st.integers(0, MAX_SECONDS),
    st.floats(0, MAX_SECONDS),
    st.floats(0, 1e-3),
)
WHOLE = st.integers(0, MAX_SECONDS)
DIGESTS = st.one_of(
    st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    st.from_regex(r"sha512:[0-9a-f]{128}", fullmatch=True),
)
TAGS = st.builds(Tag, st.just("v1"), DIGESTS, WHOLE, st.none() | WHOLE)
ANSWERS = st.builds(StoredAnswer, st.none() | TAGS, TIMES, TIMES)
NAMES = st.from_regex(r"[a-z0-9_-]{1,20}(?:/[a-z0-9_-]{1,20}){0,2}", fullmatch=True)
LISTINGS = st.builds(
    StoredListing,
    st.dictionaries(NAMES, st.none() | WHOLE | st.just(UNKNOWN), min_size=1),
    TIMES,
    TIMES,
)


def sealed(body: str | bytes, name: str = KEY) -> bytes:
    """Any content with the checksum that belongs to it."""
    content = body if isinstance(body, bytes) else body.encode()
    return struct.pack(">I", zlib.crc32(content, zlib.crc32(name.encode()))) + content


@given(ANSWERS)
def test_answers_round_trip(answer: StoredAnswer) -> None:
    assert decode_answer(KEY, "v1", encode_entry(KEY, answer)) == answer


@given(LISTINGS)
def test_listings_round_trip(stored: StoredListing) -> None:
    decoded = decode_listing(LISTED, encode_entry(LISTED, stored))
    assert decoded == stored
    assert decoded is not None
    assert list(decoded.repositories) == list(stored.repositories)


@given(st.binary())
def test_random_bytes_are_invalid(value: bytes) -> None:
    assert decode_answer(KEY, "v1", value) is None
    assert decode_listing(LISTED, value) is None


@given(st.binary(max_size=15))
def test_a_right_checksum_alone_is_not_enough(value: bytes) -> None:
    assert decode_answer(KEY, "v1", sealed(value)) is None
    assert decode_checked_at(KEY, sealed(value)) is None


@given(st.binary(min_size=16))
def test_a_right_checksum_and_times_are_not_enough_for_a_listing(value: bytes) -> None:
    assert decode_listing(LISTED, sealed(value, LISTED)) is None


@given(ANSWERS, st.data())
def test_an_answer_with_a_changed_byte_is_invalid(
    answer: StoredAnswer, data: st.DataObject
) -> None:
    value = bytearray(encode_entry(KEY, answer))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_answer(KEY, "v1", bytes(value)) is None


@given(LISTINGS, st.data())
def test_a_listing_with_a_changed_byte_is_invalid(
    stored: StoredListing, data: st.DataObject
) -> None:
    value = bytearray(encode_entry(LISTED, stored))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_listing(LISTED, bytes(value)) is None


def test_an_entry_is_invalid_under_another_key() -> None:
    other = encode_key(key("nova-compute"))
    assert decode_answer(other, "v1", encode_entry(KEY, absent())) is None


def test_answers_and_listings_are_not_confused() -> None:
    assert decode_listing(KEY, encode_entry(KEY, present())) is None
    assert decode_answer(LISTED, "v1", encode_entry(LISTED, listing())) is None


@given(ANSWERS | LISTINGS)
def test_the_time_of_any_entry(entry: Entry) -> None:
    assert decode_checked_at(KEY, encode_entry(KEY, entry)) == entry.checked_at


def record(
    checked_at: float = NOW, stored_at: float = NOW, start: int = 5, end: int = -1, digest: int = 32
) -> bytes:
    return struct.pack(">ddqq", checked_at, stored_at, start, end) + b"x" * digest


@pytest.mark.parametrize("digest", [32, 64])
def test_valid_answers(digest: int) -> None:
    answer = decode_answer(KEY, "v1", sealed(record(digest=digest)))
    assert answer is not None
    assert answer.tag is not None
    assert is_digest(answer.tag.manifest_digest)
    assert decode_answer(KEY, "v1", sealed(record()[:16])) == StoredAnswer(None, NOW, NOW)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        record()[:15],
        record()[:17],
        record()[:32],
        record(digest=31),
        record(digest=33),
        record(digest=65),
        record(checked_at=-1),
        record(checked_at=MAX_SECONDS + 1),
        record(stored_at=1e300),
        record(stored_at=float("nan")),
        record(stored_at=float("inf")),
        record(start=-1),
        record(start=MAX_SECONDS + 1),
        record(end=-2),
        record(end=MAX_SECONDS + 1),
        record(checked_at=float("nan"))[:16],
        b'{"checked_at":5,"stored_at":5,"tag":null}',
    ],
)
def test_invalid_answers(content: bytes) -> None:
    assert decode_answer(KEY, "v1", sealed(content)) is None


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        {},
        {"..": None},
        {"a/../b": None},
        {"Nova": None},
        {"nova": "known"},
        {"nova": 1.5},
        {"nova": -1},
        {"nova": True},
        {"nova": MAX_SECONDS + 1},
        {"nova": [1]},
        {"": None},
        {"nova\nglance": 1},
        {"nova": 1, "": 1},
    ],
)
def test_invalid_listings(rows: object) -> None:
    assert decode_listing(LISTED, sealed(TIMES_OF_NOW + json.dumps(rows).encode(), LISTED)) is None


def test_a_listing_with_a_name_that_is_not_plain() -> None:
    rows = {"nova": 5, "deep/na.me": None}
    stored = decode_listing(LISTED, sealed(TIMES_OF_NOW + json.dumps(rows).encode(), LISTED))
    assert stored == StoredListing(rows, NOW, NOW)


def test_deep_nesting_is_invalid() -> None:
    assert decode_listing(LISTED, sealed(TIMES_OF_NOW + b"[" * 200_000, LISTED)) is None


def test_an_entry_that_is_too_large_is_neither_written_nor_read() -> None:
    large = listing(**{f"{number:0200}": 1 for number in range(MAX_LISTING // 200)})
    with pytest.raises(ValueError, match="too large"):
        encode_entry(LISTED, large)
    content = json.dumps(dict(large.repositories)).encode()
    assert decode_listing(LISTED, sealed(TIMES_OF_NOW + content, LISTED)) is None
