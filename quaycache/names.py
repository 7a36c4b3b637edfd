"""The grammars of the names that a registry uses, and text that is safe to show.

Bytes from outside are matched against these before anything else sees them.
"""

from __future__ import annotations

import re

from quaycache.lazy_pattern import lazy_pattern

MAX_REPOSITORY_LENGTH = 255

_NAMESPACE = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[a-z0-9._-]+"
_REPOSITORY = lazy_pattern(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_TAG = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIGEST = lazy_pattern(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


def is_namespace(text: str) -> bool:
    """Whether `text` can be a namespace of a Quay."""
    return _NAMESPACE.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Whether `text` can be the name of a repository within its namespace.

    Quay allows lower-case letters, digits, ``.``, ``_``, ``-`` and slashes, 255 characters at
    most. A path segment of one or two dots is refused: in a URL it would mean another path.
    """
    return len(text) <= MAX_REPOSITORY_LENGTH and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag, by the grammar of the OCI distribution specification."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether `text` is a digest of one of the algorithms that the OCI image format registers."""
    return _DIGEST.fullmatch(text) is not None


def printable(text: str, limit: int = 200) -> str:
    """`text` as one line of printable characters, cut at `limit`.

    Text from a server goes through here before it gets into a message: no control characters,
    no line breaks, no lone surrogates.
    """
    line = " ".join(text[: limit * 4].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"
