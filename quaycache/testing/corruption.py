"""The effect of a fault on an answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

from quaycache.testing.answers import Answer
from quaycache.testing.documents import Document, error_document
from quaycache.testing.replies import (
    HTML,
    Headers,
    Outcome,
    Reply,
    Silence,
    encoded,
    html_reply,
    phrase,
    whole_reply,
)
from quaycache.testing.settings import Fault, FaultKind

_FRONT_END_STATUSES = frozenset((429, 502, 503, 504))
_ERROR_TYPES = {
    400: "invalid_request",
    401: "invalid_token",
    403: "insufficient_scope",
    404: "not_found",
}
_GIGABYTE = 2**30
_DEPTH = 100_000
_SPACES = b" " * 2**16


def apply_fault(fault: Fault, answer: Answer, error_headers: Headers) -> Outcome:
    """Return what the client gets instead of the application's answer.

    Args:
        fault: The fault that happens.
        answer: The application's answer.
        error_headers: The additional headers of a 429 or 503.
    """
    status, body = answer.status, encoded(answer.document)
    match fault.kind:
        case "reset" | "drop" | "hang":
            return Silence(fault.kind)
        case "status":
            return _error(fault.status, error_headers)
        case "trickle":
            bytewise = (body[i : i + 1] for i in range(len(body)))
            return Reply(status, bytewise, len(body), interval=fault.interval)
        case "truncate":
            return Reply(status, body[: len(body) // 2], len(body))
        case "truncate_unsized":
            return Reply(status, body[: len(body) // 2], None)
        case "huge":
            return _padded(status, body, fault.size or _GIGABYTE)
        case "html":
            return whole_reply(200, b"<!doctype html><title>Welcome</title>\n", HTML)
        case "invalid_json":
            return whole_reply(status, body.replace(b'"', b"'"))
        case "nested":
            depth = fault.size or _DEPTH
            return whole_reply(status, b"[" * depth + b"]" * depth)
        case _:
            return whole_reply(status, encoded(_mistyped(fault.kind, answer.document)))


def _error(status: int, headers: Headers) -> Reply:
    if status in _FRONT_END_STATUSES:
        return html_reply(status, headers if status in (429, 503) else ())
    error_type = _ERROR_TYPES.get(status, "downstream_issue")
    return whole_reply(status, encoded(error_document(status, error_type, phrase(status))))


def _padded(status: int, body: bytes, size: int) -> Reply:
    # Whitespace may follow a JSON document: a client that reads the whole body can parse it.
    full, rest = divmod(max(0, size - len(body)), len(_SPACES))
    pieces: Iterator[bytes] = chain((body,), repeat(_SPACES, full), (_SPACES[:rest],))
    return Reply(status, pieces, max(size, len(body)), interval=0.0)


def _mistyped(kind: FaultKind, document: Document) -> object:
    """Return the document with a defect that the API never shows; unchanged if none applies."""
    if kind == "list":
        return [document]
    if kind == "number_next_page":
        return {**document, "next_page": 5}
    rows = next((name for name in ("tags", "repositories") if name in document), None)
    if rows is None or not isinstance(document[rows], list):
        return document
    if kind == "null":
        return {**document, rows: None}
    return {**document, rows: [_mistyped_row(kind, row, rows) for row in document[rows]]}


def _mistyped_row(kind: FaultKind, row: Document, rows: str) -> Document:
    row = dict(row)
    if kind == "text_time":
        row["start_ts" if rows == "tags" else "last_modified"] = "x"
    elif kind == "number_name":
        row["name"] = 5
    elif kind == "other_name":
        row["name"] = f"other-than-{row['name']}"
    elif kind == "no_digest":
        row.pop("manifest_digest", None)
    return row
