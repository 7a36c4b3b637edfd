"""The quay:// grammar, in both directions, and errors that name the invalid part."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaycache.errors import QueryError, SettingsError
from quaycache.query import Query, parse_query, parse_since

MIDNIGHT = 1772323200  # 2026-03-01T00:00:00Z


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        ("quay://kolla/*:latest", Query("kolla", "*", "latest")),
        ("quay://kolla/centos-*:2025.1", Query("kolla", "centos-*", "2025.1")),
        ("quay://kolla", Query("kolla", "*", "latest")),
        ("quay://kolla/", Query("kolla", "*", "latest")),
        ("quay://kolla/*", Query("kolla", "*", "latest")),
        ("quay://kolla/nova-api", Query("kolla", "nova-api", "latest")),
        ("quay://kolla/nova-?pi", Query("kolla", "nova-?pi", "latest")),
        ("quay://kolla/nova-?pi:v1?since=2026-03-01", Query("kolla", "nova-?pi", "v1", MIDNIGHT)),
        ("quay://kolla/nova-[ab]*:v1", Query("kolla", "nova-[ab]*", "v1")),
        ("quay://org/deep/*:v1", Query("org", "deep/*", "v1")),
        ("quay://openstack.kolla/*:v1", Query("openstack.kolla", "*", "v1")),
        ("quay://kolla?since=2026-03-01", Query("kolla", since=MIDNIGHT)),
        ("quay://k/*:1?token=a+b/c%2Bd==", Query("k", "*", "1", token="a+b/c+d==")),
        ("quay://k/*:1?token=true&since=2026-03-01", Query("k", "*", "1", MIDNIGHT, "true")),
        ("quay://k/*:1?token=1", Query("k", "*", "1", token="1")),
    ],
)
def test_a_uri_parses(uri: str, query: Query) -> None:
    assert parse_query(uri) == query


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("kolla/*:latest", "not a quay:// URI"),
        ("docker://kolla/x", "not a quay:// URI"),
        ("quay://", "namespace is missing"),
        ("quay:///x:v1", "namespace is missing"),
        ("quay://ko lla/x", "invalid namespace 'ko lla'"),
        ("quay://kolla:v1", "repository pattern is missing"),
        ("quay://kolla/x@sha256:0123", "not a digest"),
        ("quay://kolla/*:", "tag after ':' is empty"),
        ("quay://kolla/:v1", "pattern before ':' is empty"),
        ("quay://kolla/*:-v1", "invalid tag '-v1'"),
        ("quay://kolla/*:v1/x:", "tag after ':' is empty"),
        ("quay://kolla/*:" + "v" * 129, "invalid tag"),
        ("quay://kolla/Nova*:v1", "'Nova*'"),
        ("quay://kolla/a/../b:v1", "invalid repository name 'a/../b'"),
        ("quay://kolla/a//b:v1", "invalid repository name 'a//b'"),
        ("quay://kolla/*:v1?since=yesterday", "invalid date 'yesterday'"),
        ("quay://kolla/*:v1?since=2026-02-30", "invalid date '2026-02-30'"),
        ("quay://kolla/*:v1?since=2026-03-01T00:00:00", "invalid date"),
        ("quay://kolla/*:v1?since=2026-03-01&since=2026-03-02", "duplicate option 'since'"),
        ("quay://kolla/*:v1?sincE=2026-03-01", "unknown option"),
        ("quay://kolla/*:v1?arch=amd64", "unknown option 'arch'"),
        ("quay://kolla/*:v1?token=", "token is empty"),
        ("quay://kolla/*:v1?token=a%0Ab", "white space, a control"),
        ("quay://kolla/*:v1?token=a%20b", "white space, a control"),
    ],
)
def test_an_error_names_the_invalid_part(uri: str, part: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(uri)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"since": "2026-03-01"}, "since"),
        ({"since": 2.5}, "since"),
        ({"since": True}, "since"),
        ({"since": 253_402_300_800}, "since"),
        ({"since": -62_135_596_801}, "since"),
        ({"namespace": None}, "namespace"),
        ({"namespace": 5}, "namespace"),
        ({"pattern": b"*"}, "pattern"),
        ({"tag": 1}, "tag"),
        ({"token": 5}, "token"),
        ({"token": "a b"}, "token"),
    ],
)
def test_an_invalid_field_is_a_query_error(fields: dict[str, Any], part: str) -> None:
    with pytest.raises(QueryError, match=part):
        Query(**{"namespace": "kolla", **fields})


@pytest.mark.parametrize("since", [-62_135_596_800, -1, 0, 253_402_300_799])
def test_any_time_that_datetime_can_show_is_valid(since: int) -> None:
    query = Query("kolla", since=since)
    assert parse_query(str(query)) == query


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.5Z"]
)
def test_a_time_that_datetime_cannot_show_is_invalid(when: str) -> None:
    with pytest.raises(QueryError, match="date"):
        parse_query(f"quay://kolla/*:v1?since={when}")


@pytest.mark.parametrize(
    "uri",
    [
        "quay://kolla/*:v1?token=s3cr3t&token=s3cr3t",
        "quay://kolla/*:v1?token=s3cr3t&&",
        "quay://kolla/*:v1?token=abc&s3cr3t=",
        "quay://kolla/*:?token=s3cr3t",
        "quay://kolla/*:v1?since=never&token=s3cr3t",
        "quay://robot:s3cr3t@kolla/*:v1",
        "quay://kolla/*:v1&token=s3cr3t",
        "quay://kolla/*:v1?token=s3cr3t%20",
    ],
)
def test_errors_never_hold_a_token(uri: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(uri)
    assert "s3cr3t" not in str(caught.value)


def test_str_and_repr_never_hold_the_token() -> None:
    query = parse_query("quay://kolla/*:v1?token=s3cr3t")
    assert "s3cr3t" not in f"{query} {query!r}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01", MIDNIGHT),
        ("2026-03-01T00:00:00Z", MIDNIGHT),
        ("2026-03-01t00:00:00z", MIDNIGHT),
        ("2026-03-01 02:00:00+02:00", MIDNIGHT),
        ("2026-02-28T19:00:00-05:00", MIDNIGHT),
        ("2026-03-01T00:00:00.000000001Z", MIDNIGHT + 1),
    ],
)
def test_since_is_a_date_at_midnight_utc_or_an_rfc_3339_time(text: str, seconds: int) -> None:
    assert parse_since(text) == seconds


@pytest.mark.parametrize("text", ["", "2026", "2026-3-1", "0000-00-00", "2026-03-01T25:00:00Z"])
def test_any_other_since_is_invalid(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_since(text)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "deep/name", True),
        ("deep/*", "deep/er/name", True),
        ("nova-?pi", "nova-api", True),
        ("nova-?pi", "nova-aapi", False),
        ("nova-[!a]pi", "nova-api", False),
        ("nova", "nova-api", False),
    ],
)
def test_a_glob_also_matches_slashes(pattern: str, name: str, matches: bool) -> None:
    assert Query("kolla", pattern).matching([name]) == [name] * matches


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)


@given(
    namespace=names,
    pattern=st.one_of(names, names.map(lambda n: n + "*"), names.map(lambda n: f"{n}/?{n}")),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    since=st.none() | st.integers(0, 4102444800),
)
def test_text_of_a_query_parses_to_it_again(
    namespace: str, pattern: str, tag: str, since: int | None
) -> None:
    query = Query(namespace, pattern, tag, since)
    assert parse_query(str(query)) == query


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_one_line_of_error(text: str) -> None:
    try:
        parse_query("quay://" + text)
    except QueryError as error:
        assert str(error).isprintable()
