"""Keys and their text: there and back, and no text is the key of something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaycache.names import identity_of
from quaycache.store.keys import (
    AnswerKey,
    Key,
    ListingKey,
    Scope,
    answers_prefix,
    decode_key,
    encode_key,
    namespace_prefix,
)
from tests.store.samples import LISTING_KEY, SCOPE, key

SCOPES = st.builds(
    Scope,
    st.sampled_from(["https://quay.io/api/v1", "http://[::1]:8080/api/v1", "https://q_a/api/v1"]),
    st.one_of(st.just("anon"), st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True),
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,40}", fullmatch=True)
REPOSITORIES = st.from_regex(r"[a-z0-9_-]{1,20}(?:/[a-z0-9_-]{1,20}){0,2}", fullmatch=True)
KEYS: st.SearchStrategy[Key] = st.one_of(
    st.builds(ListingKey, SCOPES), st.builds(AnswerKey, SCOPES, TAGS, REPOSITORIES)
)


@given(KEYS)
def test_keys_round_trip(one: Key) -> None:
    text = encode_key(one)
    assert text.isascii()
    assert decode_key(text) == one


@given(KEYS, KEYS)
def test_a_prefix_matches_its_own_keys_only(one: Key, other: Key) -> None:
    text = encode_key(other)
    assert text.startswith(namespace_prefix(one.scope)) == (one.scope == other.scope)
    if isinstance(one, AnswerKey):
        inside = isinstance(other, AnswerKey) and (one.scope, one.tag) == (other.scope, other.tag)
        assert text.startswith(answers_prefix(one.scope, one.tag)) == inside


@given(st.text())
def test_random_text_is_invalid(text: str) -> None:
    decoded = decode_key(text)
    assert decoded is None or encode_key(decoded) == text


@given(KEYS, st.data())
def test_a_changed_text_is_another_key_or_invalid(one: Key, data: st.DataObject) -> None:
    text = encode_key(one)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    decoded = decode_key(changed)
    assert decoded is None or encode_key(decoded) == changed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|||||",
        encode_key(key()).replace("1|", "2|", 1),
        encode_key(key()) + "|",
        encode_key(key("..")),
        encode_key(key("a/../b")),
        encode_key(key("nova api")),
        encode_key(key(tag="")),
        encode_key(LISTING_KEY) + "nova-api",
        encode_key(key(scope=SCOPE._replace(identity="somebody"))),
        encode_key(key(scope=SCOPE._replace(api_base="file:///etc/passwd"))),
        encode_key(key(scope=SCOPE._replace(namespace="a/b"))),
        encode_key(key("a" * 2000)),
    ],
)
def test_invalid_keys(text: str) -> None:
    assert decode_key(text) is None


def test_an_identity_does_not_contain_the_token() -> None:
    assert identity_of(None) == "anon"
    assert identity_of("secret") != identity_of("secret2")
    assert "secret" not in identity_of("secret")
