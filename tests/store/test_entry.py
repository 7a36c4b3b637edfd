"""Entries and their bytes: there and back, and nothing else decodes to anything."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaycache.model import MAX_SECONDS, UNKNOWN, StoredAnswer, StoredListing, Tag
from quaycache.store.entry import (
    MAX_ANSWER,
    MAX_LISTING,
    decode_answer,
    decode_listing,
    encode_entry,
)
from quaycache.store.keys import encode_key
from tests.store.samples import DIGEST, LISTING_KEY, NOW, absent, key, listing, present

KEY = encode_key(key())
LISTED = encode_key(LISTING_KEY)

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
    return b"%08x" % zlib.crc32(content, zlib.crc32(name.encode())) + content


@given(ANSWERS)
def test_answers_there_and_back(answer: StoredAnswer) -> None:
    assert decode_answer(KEY, "v1", encode_entry(KEY, answer)) == answer


@given(LISTINGS)
def test_listings_there_and_back(stored: StoredListing) -> None:
    decoded = decode_listing(LISTED, encode_entry(LISTED, stored))
    assert decoded == stored
    assert decoded is not None
    assert list(decoded.repositories) == list(stored.repositories)


@given(st.binary())
def test_no_bytes_are_taken_for_an_entry(value: bytes) -> None:
    assert decode_answer(KEY, "v1", value) is None
    assert decode_listing(LISTED, value) is None


@given(st.binary())
def test_a_right_checksum_alone_is_no_entry(value: bytes) -> None:
    assert decode_answer(KEY, "v1", sealed(value)) is None
    assert decode_listing(LISTED, sealed(value, LISTED)) is None


@given(ANSWERS, st.data())
def test_one_changed_byte_of_an_answer_is_no_entry(
    answer: StoredAnswer, data: st.DataObject
) -> None:
    value = bytearray(encode_entry(KEY, answer))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_answer(KEY, "v1", bytes(value)) is None


@given(LISTINGS, st.data())
def test_one_changed_byte_of_a_listing_is_no_entry(
    stored: StoredListing, data: st.DataObject
) -> None:
    value = bytearray(encode_entry(LISTED, stored))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_listing(LISTED, bytes(value)) is None


def test_an_entry_is_no_entry_under_another_key() -> None:
    other = encode_key(key("nova-compute"))
    assert decode_answer(other, "v1", encode_entry(KEY, absent())) is None


def test_an_answer_is_no_listing_and_a_listing_no_answer() -> None:
    assert decode_listing(KEY, encode_entry(KEY, present())) is None
    assert decode_answer(LISTED, "v1", encode_entry(LISTED, listing())) is None


TAG: list[Any] = [DIGEST, 5, None]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"checked_at": NOW, "stored_at": NOW},
        {"checked_at": NOW, "tag": None},
        {"checked_at": None, "stored_at": NOW, "tag": None},
        {"checked_at": -1, "stored_at": NOW, "tag": None},
        {"checked_at": True, "stored_at": NOW, "tag": None},
        {"checked_at": "5", "stored_at": NOW, "tag": None},
        {"checked_at": MAX_SECONDS + 1, "stored_at": NOW, "tag": None},
        {"checked_at": NOW, "stored_at": 1e300, "tag": None},
        {"checked_at": NOW, "stored_at": float("nan"), "tag": None},
        {"checked_at": NOW, "stored_at": float("inf"), "tag": None},
        {"checked_at": NOW, "stored_at": NOW, "tag": []},
        {"checked_at": NOW, "stored_at": NOW, "tag": TAG[:2]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [*TAG, 1]},
        {"checked_at": NOW, "stored_at": NOW, "tag": ["sha256:" + "A" * 64, 5, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": ["md5:" + "a" * 32, 5, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0] + "\n", 5, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], 5.5, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], True, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], -5, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], MAX_SECONDS + 1, None]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], 5, MAX_SECONDS + 1]},
        {"checked_at": NOW, "stored_at": NOW, "tag": [TAG[0], 5, "never"]},
        {"checked_at": NOW, "stored_at": NOW, "tag": {"name": "v1"}},
        {"checked_at": NOW, "stored_at": NOW, "tag": None, "more": 1},
    ],
)
def test_what_is_no_answer(content: object) -> None:
    text = json.dumps(content, separators=(",", ":"))
    assert decode_answer(KEY, "v1", sealed(text)) is None


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
    ],
)
def test_what_is_no_listing(rows: object) -> None:
    text = json.dumps({"checked_at": NOW, "stored_at": NOW, "repositories": rows})
    assert decode_listing(LISTED, sealed(text, LISTED)) is None


def test_deep_nesting_is_no_listing() -> None:
    assert decode_listing(LISTED, sealed("[" * 200_000, LISTED)) is None


def test_what_is_too_large_is_neither_written_nor_read() -> None:
    large = listing(**{f"{number:0200}": 1 for number in range(MAX_LISTING // 200)})
    with pytest.raises(ValueError, match="too large"):
        encode_entry(LISTED, large)
    text = encode_entry(KEY, present())[8:].decode()
    assert decode_answer(KEY, "v1", sealed(text.replace(DIGEST, DIGEST + "a" * MAX_ANSWER))) is None
