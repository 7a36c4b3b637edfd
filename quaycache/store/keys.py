"""The keys of entries. Pure.

A key is text: schema version, API base, identity, namespace, tag and repository, in this order, so
that one prefix covers everything that one resolve reads. The key of a listing has neither tag nor
repository. No part contains the separator, because the grammars of the parts exclude it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from quaycache._lazy import lazy_pattern
from quaycache.api_base import parse_api_base
from quaycache.errors import SettingsError
from quaycache.names import is_namespace, is_repository, is_tag

SCHEMA_VERSION: Final = "1"

_SEPARATOR: Final = "|"
_IDENTITY = lazy_pattern(r"anon|[0-9a-f]{64}", re.ASCII)
_MAX_KEY_LENGTH: Final = 1200


class Scope(NamedTuple):
    """The identity and the namespace that entries belong to.

    Attributes:
        api_base: The normalised API base, as text.
        identity: The result of `identity_of`.
    """

    api_base: str
    identity: str
    namespace: str


class ListingKey(NamedTuple):
    """The key of a namespace's listing."""

    scope: Scope


class AnswerKey(NamedTuple):
    """The key of the answer for one tag of one repository."""

    scope: Scope
    tag: str
    repository: str


Key = ListingKey | AnswerKey


def namespace_prefix(scope: Scope) -> str:
    """Return the prefix of all keys of a scope, and of no others."""
    return _SEPARATOR.join((SCHEMA_VERSION, *scope, ""))


def answers_prefix(scope: Scope, tag: str) -> str:
    """Return the prefix of the keys of all answers for one tag; the repository follows it."""
    return f"{namespace_prefix(scope)}{tag}{_SEPARATOR}"


def encode_key(key: Key) -> str:
    """Return the text of a key, which is ASCII."""
    if isinstance(key, ListingKey):
        return answers_prefix(key.scope, "")
    return answers_prefix(key.scope, key.tag) + key.repository


def decode_key(text: str) -> Key | None:
    """Return the key of a text; None if it is invalid, or of another schema version."""
    parts = text.split(_SEPARATOR) if len(text) <= _MAX_KEY_LENGTH else []
    if len(parts) != 6 or parts[0] != SCHEMA_VERSION:
        return None
    scope, tag, repository = Scope(*parts[1:4]), parts[4], parts[5]
    if not (
        _is_api_base(scope.api_base)
        and _IDENTITY.fullmatch(scope.identity)
        and is_namespace(scope.namespace)
    ):
        return None
    if not tag and not repository:
        return ListingKey(scope)
    return AnswerKey(scope, tag, repository) if is_tag(tag) and is_repository(repository) else None


@lru_cache(maxsize=16)
def _is_api_base(text: str) -> bool:
    """Return whether a text is a normalised API base."""
    try:
        return str(parse_api_base(text)) == text
    except SettingsError:
        return False
