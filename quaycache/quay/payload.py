"""Validates the bytes of Quay's responses and turns them into values. Pure.

Hostile bytes end here: no other module reads a response. Unknown fields are ignored. A required
field that is missing or invalid raises a `MalformedResponseError` that names it.
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
        repositories: The rows of the page.
        next_page: The opaque token of the next page; None on the last page.
        authenticated: Whether the server treated the request as authenticated; None if the page is
            empty, which leaves it unknown. Quay sends ``is_starred`` only in authenticated
            responses.
    """

    repositories: tuple[Repository, ...]
    next_page: str | None
    authenticated: bool | None


def parse_listing(body: bytes, namespace: str) -> ListingPayload:
    """Parse a page of ``GET /repository?namespace=...``.

    Raises:
        MalformedResponseError: If *body* is not such a page, or lists another namespace.
    """
    data = _parse_object(body)
    rows = _field(data, "repositories", list)
    repositories = tuple(_parse_repository(row, namespace) for row in rows)
    next_page = data.get("next_page")
    if next_page is not None and not (
        isinstance(next_page, str) and 0 < len(next_page) <= MAX_PAGE_TOKEN_LENGTH
    ):
        raise MalformedResponseError("invalid page token in 'next_page'")
    authenticated = any("is_starred" in row for row in rows) if rows else None
    return ListingPayload(repositories, next_page, authenticated)


def parse_tag_fields(body: bytes, tag: str) -> dict[str, Any] | None:
    """Return the JSON object of *tag* in ``GET /repository/.../tag/?specificTag=...``, or None.

    The name is checked: Quay answers an empty filter with some other tag.

    Raises:
        MalformedResponseError: If *body* is not such a response.
    """
    rows = _field(_parse_object(body), "tags", list)
    if not rows:
        return None
    row = rows[0]
    if not isinstance(row, dict):
        raise MalformedResponseError("'tags' contains something other than objects")
    if _field(row, "name", str) != tag:
        raise MalformedResponseError(f"the response is for tag '{printable(row['name'], 60)}'")
    parse_tag(row)
    return row


def parse_tag(fields: dict[str, Any]) -> Tag:
    """Return the typed value of a tag's JSON object.

    Raises:
        MalformedResponseError: If a field is missing or invalid.
    """
    digest = _field(fields, "manifest_digest", str)
    if not is_digest(digest):
        raise MalformedResponseError(f"invalid 'manifest_digest': '{printable(digest, 80)}'")
    end_ts = fields.get("end_ts")
    return Tag(
        name=_field(fields, "name", str),
        manifest_digest=digest,
        start_ts=_seconds(fields, "start_ts"),
        end_ts=None if end_ts is None else _seconds(fields, "end_ts"),
    )


def parse_error_text(body: bytes) -> str:
    """Return the message in the body of an error, as one line; empty if it has no message.

    Quay's application answers with JSON; the front end before it answers with an HTML page.
    """
    try:
        data = _parse_object(body[:65536])
    except MalformedResponseError:
        return ""
    for name in ("detail", "error_message", "message", "title"):
        if isinstance(text := data.get(name), str) and text.strip():
            return printable(text)
    return ""


@lru_cache(maxsize=4)  # many responses arrive in one second
def parse_http_date(value: bytes | None) -> float | None:
    """Return the seconds UTC of an HTTP date; None if it is missing or invalid."""
    if value is None:
        return None
    from email.utils import parsedate_to_datetime  # imports socket; not every run needs it

    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, OverflowError, TypeError):
        return None
    # Python takes a date without a zone for local time; an HTTP date is always in GMT.
    return None if moment.tzinfo is None else max(0.0, moment.timestamp())


def parse_retry_after(value: bytes | None, date: float | None) -> float | None:
    """Return the seconds to wait that a Retry-After header demands, in either of its forms.

    Args:
        value: The header, or None.
        date: The date of the response, seconds UTC. A date in *value* is relative to it.

    Returns:
        Zero or more; None if the header is missing or unusable.
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
        raise MalformedResponseError("'repositories' contains something other than objects")
    name = _field(row, "name", str)
    if not is_repository(name):
        raise MalformedResponseError(f"invalid repository name '{printable(name, 60)}'")
    if row.get("namespace", namespace) != namespace:
        raise MalformedResponseError("the listing is for another namespace")
    last_modified: LastModified = UNKNOWN
    if "last_modified" in row:
        last_modified = None if row["last_modified"] is None else _seconds(row, "last_modified")
    return Repository(name, last_modified)


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    # Deep nesting raises RecursionError; a number of thousands of digits raises ValueError.
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "not JSON"
        raise MalformedResponseError(f"the response is {kind}") from None
    if not isinstance(data, dict):
        raise MalformedResponseError("the response is not a JSON object")
    return data


def _field(data: dict[str, Any], name: str, kind: type) -> Any:
    if name not in data:
        raise MalformedResponseError(f"the response lacks '{name}'")
    if not isinstance(data[name], kind):
        raise MalformedResponseError(f"'{name}' has the wrong type")
    return data[name]


def _seconds(data: dict[str, Any], name: str) -> int:
    value = _field(data, name, int)
    if isinstance(value, bool) or not 0 <= value <= MAX_SECONDS:
        raise MalformedResponseError(f"'{name}' is not a valid time")
    return int(value)
