"""Stored values <-> bytes. Pure, and the border that a poisoned cache does not cross.

An entry is a checksum over its key and its content, then the content: one JSON object. Whatever is
not exactly that, within bounds, is no entry: the question is asked again.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from zlib import crc32

from quaycache.model import (
    MAX_SECONDS,
    UNKNOWN,
    LastModified,
    StoredAnswer,
    StoredListing,
    Tag,
)
from quaycache.names import is_repository

Entry = StoredAnswer | StoredListing

MAX_ANSWER: Final = 1024
"""Bytes of an encoded answer; a sha512 digest leaves much of it free."""

MAX_LISTING: Final = 8 * 1024 * 1024
"""Bytes of an encoded listing: 150,000 repositories with names of ordinary length."""

_CHECKSUM_LENGTH: Final = 8

# An answer is matched, not parsed: thousands are decoded at the start of a run, and this takes half
# of the time. It is the JSON that `encode_entry` writes, and no other.
_SECONDS: Final = rb"((?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,20})?(?:e-[0-9]{1,3})?)"
_WHOLE: Final = rb"(0|[1-9][0-9]{0,11})"
_ANSWER: Final = re.compile(
    rb'([0-9a-f]{8})\{"checked_at":%b,"stored_at":%b,"tag":(?:null|'
    rb'\["(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})",%b,(?:%b|null)\])\}'
    % (_SECONDS, _SECONDS, _WHOLE, _WHOLE)
)


# As every entry begins: its time is wanted more often than the thousands of names of a listing.
_TIMES: Final = re.compile(rb'[0-9a-f]{8}\{"checked_at":%b,"stored_at":%b,' % (_SECONDS, _SECONDS))


def encode_entry(key: str, entry: Entry) -> bytes:
    """The bytes of an entry under its key.

    Raises:
        ValueError: it is too large to be read back.
    """
    content: dict[str, Any] = {"checked_at": entry.checked_at, "stored_at": entry.stored_at}
    if isinstance(entry, StoredListing):
        content["repositories"] = {
            name: "unknown" if last_modified is UNKNOWN else last_modified
            for name, last_modified in entry.repositories.items()
        }
    elif entry.tag is None:
        content["tag"] = None
    else:
        content["tag"] = [entry.tag.manifest_digest, entry.tag.start_ts, entry.tag.end_ts]
    body = json.dumps(content, separators=(",", ":")).encode("ascii")
    limit = MAX_LISTING if isinstance(entry, StoredListing) else MAX_ANSWER
    if len(body) + _CHECKSUM_LENGTH > limit:
        raise ValueError(f"an entry of {len(body)} bytes is too large to be stored")
    return _checksum(key, body) + body


def decode_answer(key: str, tag: str, value: bytes) -> StoredAnswer | None:
    """The answer for `tag` in an entry's bytes; None if they are none."""
    match = _ANSWER.fullmatch(value) if len(value) <= MAX_ANSWER else None
    if match is None:
        return None
    checksum, checked_text, stored_text, digest, start_text, end_text = match.groups()
    if int(checksum, 16) != crc32(value[_CHECKSUM_LENGTH:], crc32(key.encode("utf-8"))):
        return None
    checked_at, stored_at = float(checked_text), float(stored_text)
    if checked_at > MAX_SECONDS or stored_at > MAX_SECONDS:
        return None
    if digest is None:
        return StoredAnswer(None, checked_at, stored_at)
    start_ts, end_ts = int(start_text), None if end_text is None else int(end_text)
    if start_ts > MAX_SECONDS or (end_ts is not None and end_ts > MAX_SECONDS):
        return None
    return StoredAnswer(Tag(tag, digest.decode("ascii"), start_ts, end_ts), checked_at, stored_at)


def decode_listing(key: str, value: bytes) -> StoredListing | None:
    """The listing in an entry's bytes; None if they are none."""
    content = _content(key, value)
    rows = None if content is None else content.get("repositories")
    if content is None or not isinstance(rows, dict) or not rows:
        return None
    repositories: dict[str, LastModified] = {}
    for name, stored in rows.items():
        if not is_repository(name):
            return None
        if stored is None or (_is_time(stored) and type(stored) is int):
            repositories[name] = stored
        elif stored == "unknown":
            repositories[name] = UNKNOWN
        else:
            return None
    return StoredListing(repositories, content["checked_at"], content["stored_at"])


def decode_checked_at(key: str, value: bytes) -> float | None:
    """The ``checked_at`` of an entry's bytes, not looked at any closer; None if they are none."""
    match = _TIMES.match(value) if len(value) <= MAX_LISTING else None
    if match is None or _checksum(key, value[_CHECKSUM_LENGTH:]) != value[:_CHECKSUM_LENGTH]:
        return None
    checked_at, stored_at = map(float, match.groups())
    return None if max(checked_at, stored_at) > MAX_SECONDS else checked_at


def _content(key: str, value: bytes) -> dict[str, Any] | None:
    """The JSON object of a listing whose checksum and times are right."""
    body = value[_CHECKSUM_LENGTH:]
    if len(value) > MAX_LISTING or _checksum(key, body) != value[:_CHECKSUM_LENGTH]:
        return None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if (
        isinstance(content, dict)
        and _is_time(content.get("checked_at"))
        and _is_time(content.get("stored_at"))
    ):
        return content
    return None


def _checksum(key: str, body: bytes) -> bytes:
    return b"%08x" % crc32(body, crc32(key.encode("utf-8")))


def _is_time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= MAX_SECONDS  # type: ignore[operator]
