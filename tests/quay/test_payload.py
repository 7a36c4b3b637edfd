"""Any bytes parse to a value or raise an error of one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaycache.errors import MalformedResponseError
from quaycache.model import UNKNOWN, Repository, Tag
from quaycache.quay.payload import (
    parse_error_text,
    parse_http_date,
    parse_listing,
    parse_retry_after,
    parse_tag,
    parse_tag_fields,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
TAG = {"name": "v1", "manifest_digest": DIGEST, "start_ts": 1795463648, "size": 29}


def listing(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"repositories": rows, **more}).encode()


def tags(*rows: Any) -> bytes:
    return json.dumps({"tags": rows, "page": 1, "has_additional": False}).encode()


def test_null_and_missing_last_modified_differ() -> None:
    page = parse_listing(
        listing({"name": "a", "last_modified": None}, {"name": "b"}, {"name": "c/d"}), "kolla"
    )
    assert page.repositories == (
        Repository("a", None),
        Repository("b", UNKNOWN),
        Repository("c/d", UNKNOWN),
    )


def test_is_starred_shows_an_authenticated_request() -> None:
    assert parse_listing(listing({"name": "a", "is_starred": False}), "k").authenticated is True
    assert parse_listing(listing({"name": "a"}), "k").authenticated is False
    assert parse_listing(listing(), "k").authenticated is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"repositories": ' + b"9" * 10_000 + b"}",
        listing("a"),
        listing({}),
        listing({"name": 5}),
        listing({"name": ""}),
        listing({"name": "../x"}),
        listing({"name": "a/../../b"}),
        listing({"name": "a\x1b[2J"}),
        listing({"name": "A"}),
        listing({"name": "a" * 256}),
        listing({"name": "a", "namespace": "other"}),
        listing({"name": "a", "last_modified": "yesterday"}),
        listing({"name": "a", "last_modified": True}),
        listing({"name": "a", "last_modified": -1}),
        listing({"name": "a", "last_modified": 1e300}),
        listing({"name": "a"}, next_page=5),
        listing({"name": "a"}, next_page=""),
        listing({"name": "a"}, next_page="x" * 20_000),
        json.dumps({"repositories": None}).encode(),
    ],
)
def test_malformed_listing(body: bytes) -> None:
    with pytest.raises(MalformedResponseError) as caught:
        parse_listing(body, "kolla")
    assert str(caught.value).isprintable()


def test_tag_and_unknown_fields() -> None:
    fields = parse_tag_fields(tags({**TAG, "is_sparse": False, "new": {}}), "v1")
    assert fields is not None
    assert parse_tag(fields) == Tag("v1", DIGEST, 1795463648, None)
    assert parse_tag({**TAG, "end_ts": 1795463700}).end_ts == 1795463700


def test_no_tag() -> None:
    assert parse_tag_fields(tags(), "v1") is None


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"tags": None}).encode(),
        tags("v1"),
        tags({**TAG, "name": "v2"}),
        tags({**TAG, "name": "V1"}),
        tags({**TAG, "name": None}),
        tags({**TAG, "manifest_digest": "sha256:abc"}),
        tags({**TAG, "manifest_digest": DIGEST + "\n"}),
        tags({key: value for key, value in TAG.items() if key != "manifest_digest"}),
        tags({**TAG, "start_ts": "1"}),
        tags({**TAG, "start_ts": None}),
        tags({**TAG, "start_ts": 2**64}),
        tags({**TAG, "end_ts": "never"}),
    ],
)
def test_malformed_tag(body: bytes) -> None:
    with pytest.raises(MalformedResponseError) as caught:
        parse_tag_fields(body, "v1")
    assert str(caught.value).isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_malformed(body: bytes) -> None:
    for parse in (lambda: parse_listing(body, "k"), lambda: parse_tag_fields(body, "v1")):
        try:
            parse()
        except MalformedResponseError as error:
            assert str(error).isprintable()
    assert parse_error_text(body).isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["name", "manifest_digest", "start_ts", "end_ts"]), json_values)
def test_any_field_value_parses_or_is_malformed(name: str, value: Any) -> None:
    try:
        parse_tag_fields(tags({**TAG, name: value}), "v1")
    except MalformedResponseError as error:
        assert str(error).isprintable()


def test_error_text_comes_from_json_and_never_from_html() -> None:
    assert parse_error_text(b'{"detail": "Not Found", "status": 404}') == "Not Found"
    assert parse_error_text(b"<html>429 Too Many Requests</html>") == ""
    assert parse_error_text(b'{"detail": "a\\u001b[2Jb\\nc"}') == "a?[2Jb c"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"Mon, 23 Nov 2026 19:54:08 GMT", 1795463648.0),
        (b"Mon, 23 Nov 2026 19:54:08 -0000", None),
        (b"yesterday", None),
        (b"\xff", None),
        (b"Mon, 99 Nov 2026 19:54:08 GMT", None),
    ],
)
def test_http_date(value: bytes | None, seconds: float | None) -> None:
    assert parse_http_date(value) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"2", 2.0),
        (b" 120 ", 120.0),
        (b"-5", None),
        (b"1.5", None),
        (b"9" * 30, None),
        (b"soon", None),
        (b"Mon, 23 Nov 2026 19:54:18 GMT", 10.0),
        (b"Mon, 23 Nov 2026 19:53:08 GMT", None),
    ],
)
def test_retry_after(value: bytes | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1795463648.0) == seconds
