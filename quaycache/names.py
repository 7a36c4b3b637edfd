"""The grammars of a registry's names, and text that is safe to print.

Names from outside are matched against these grammars before any other code uses them.
"""

from __future__ import annotations

import re

from quaycache._lazy import lazy_pattern

MAX_REPOSITORY_LENGTH = 255

ANONYMOUS = "anon"
"""The identity of a request without a token."""

_NAMESPACE = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[a-z0-9._-]+"
_REPOSITORY = lazy_pattern(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_TAG = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIGEST = lazy_pattern(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


def is_namespace(text: str) -> bool:
    """Return whether *text* is a valid namespace of a Quay."""
    return _NAMESPACE.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Return whether *text* is a valid name of a repository within its namespace.

    Quay allows up to 255 lower-case letters, digits, ``.``, ``_``, ``-`` and slashes. A path
    segment of one or two dots is invalid: in a URL it would refer to another path.
    """
    return len(text) <= MAX_REPOSITORY_LENGTH and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether *text* is a valid tag in the OCI distribution specification."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether *text* is a digest with an algorithm that the OCI image format registers."""
    return _DIGEST.fullmatch(text) is not None


def printable(text: str, limit: int = 200) -> str:
    """Return *text* as one line of at most *limit* printable characters.

    All text from a server passes through here before it becomes part of a message: the result has
    no control characters, line breaks or lone surrogates.
    """
    line = " ".join(text[: limit * 4].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def identity_of(token: str | None) -> str:
    """Return ``anon``, or a one-way hash of the token."""
    if token is None:
        return ANONYMOUS
    import hashlib  # OpenSSL: most runs are anonymous, and start without it

    return hashlib.sha256(b"quaycache identity\0" + token.encode("utf-8")).hexdigest()
