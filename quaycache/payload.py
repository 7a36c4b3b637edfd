"""The bytes of Quay's answers -> values. Pure, and the border that hostile bytes do not cross.

Unknown fields are ignored; a field we need that is missing or wrong is a
`MalformedResponseError` that names it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from quaycache.errors import MalformedResponseError
from quaycache.model import MAX_SECONDS, UNKNOWN, LastModified, Repository, Tag
from quaycache.names import is_digest, is_repository, printable

MAX_PAGE_TOKEN_LENGTH = 16384


class ListingPayload(NamedTuple):
    """One page of a listing, as the server sent it.

    Attributes:
        next_page: the opaque token of the next page; None on the last.
        authenticated: whether the server took the request as authenticated; None if the page is
            empty, which does not tell. Quay sends ``is_starred`` only to authenticated requests.
    """

    repositories: tuple[Repository, ...]
    next_page: str | None
    authenticated: bool | None


def parse_listing(body: bytes, namespace: str) -> ListingPayload:
    """A page of ``GET /repository?namespace=...``.

    Raises:
        MalformedResponseError: it is not one, or one of another namespace.
    """
    data = _parse_object(body)
    rows = _field(data, "repositories", list)
    repositories = tuple(_parse_repository(row, namespace) for row in rows)
    next_page = data.get("next_page")
    if next_page is not None and not (
        isinstance(next_page, str) and 0 < len(next_page) <= MAX_PAGE_TOKEN_LENGTH
    ):
        raise MalformedResponseError("'next_page' is no page token")
    authenticated = any("is_starred" in row for row in rows) if rows else None
    return ListingPayload(repositories, next_page, authenticated)


def parse_tag_fields(body: bytes, tag: str) -> dict[str, Any] | None:
    """The JSON object of `tag` in ``GET /repository/.../tag/?specificTag=...``, or None.

    The name is checked: with an empty filter, Quay answers with some other tag.

    Raises:
        MalformedResponseError: it is no such answer.
    """
    rows = _field(_parse_object(body), "tags", list)
    if not rows:
        return None
    row = rows[0]
    if not isinstance(row, dict):
        raise MalformedResponseError("'tags' does not hold objects")
    if _field(row, "name", str) != tag:
        raise MalformedResponseError(f"the answer is about tag '{printable(row['name'], 60)}'")
    parse_tag(row)
    return row


def parse_tag(fields: dict[str, Any]) -> Tag:
    """The typed value of a tag's JSON object.

    Raises:
        MalformedResponseError: a field is missing or wrong.
    """
    digest = _field(fields, "manifest_digest", str)
    if not is_digest(digest):
        raise MalformedResponseError(f"'manifest_digest' is no digest: '{printable(digest, 80)}'")
    end_ts = fields.get("end_ts")
    return Tag(
        name=_field(fields, "name", str),
        manifest_digest=digest,
        start_ts=_seconds(fields, "start_ts"),
        end_ts=None if end_ts is None else _seconds(fields, "end_ts"),
    )


def parse_error_text(body: bytes) -> str:
    """What the body of an error says, in one line; empty if it says nothing to a reader.

    The application answers with JSON; the front end before it with an HTML page.
    """
    try:
        data = _parse_object(body[:65536])
    except MalformedResponseError:
        return ""
    for name in ("detail", "error_message", "message", "title"):
        if isinstance(text := data.get(name), str) and text.strip():
            return printable(text)
    return ""


@lru_cache(maxsize=4)  # many answers come in one second
def parse_http_date(value: bytes | None) -> float | None:
    """Seconds UTC of an HTTP date; None if there is none or it is none."""
    if value is None:
        return None
    from email.utils import parsedate_to_datetime  # which imports socket: not at every start

    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, OverflowError, TypeError):
        return None
    # Without a zone Python would take it for local time; an HTTP date is always in GMT.
    return None if moment.tzinfo is None else max(0.0, moment.timestamp())


def parse_retry_after(value: bytes | None, date: float | None) -> float | None:
    """Seconds to wait by a Retry-After header: a number of seconds, or a date.

    Args:
        value: the header, or None.
        date: the answer's own date, seconds UTC: what a date in `value` is relative to.

    Returns:
        Zero or more; None if there is nothing usable.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isdigit() and len(text) <= 12:
        return float(text)
    until = parse_http_date(text)
    if until is None or date is None or until < date:
        return None
    return until - date


def _parse_repository(row: object, namespace: str) -> Repository:
    if not isinstance(row, dict):
        raise MalformedResponseError("'repositories' does not hold objects")
    name = _field(row, "name", str)
    if not is_repository(name):
        raise MalformedResponseError(f"'{printable(name, 60)}' is no repository name")
    if row.get("namespace", namespace) != namespace:
        raise MalformedResponseError("the listing is of another namespace")
    last_modified: LastModified = UNKNOWN
    if "last_modified" in row:
        last_modified = None if row["last_modified"] is None else _seconds(row, "last_modified")
    return Repository(name, last_modified)


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    # A deep nesting ends in the one, a number of thousands of digits in the other.
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "no JSON"
        raise MalformedResponseError(f"the answer is {kind}") from None
    if not isinstance(data, dict):
        raise MalformedResponseError("the answer is no JSON object")
    return data


def _field(data: dict[str, Any], name: str, kind: type) -> Any:
    if name not in data:
        raise MalformedResponseError(f"'{name}' is missing from the answer")
    if not isinstance(data[name], kind):
        raise MalformedResponseError(f"'{name}' is of the wrong type in the answer")
    return data[name]


def _seconds(data: dict[str, Any], name: str) -> int:
    value = _field(data, name, int)
    if isinstance(value, bool) or not 0 <= value <= MAX_SECONDS:
        raise MalformedResponseError(f"'{name}' is no time in the answer")
    return int(value)
