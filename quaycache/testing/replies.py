"""The outcome of a request: a reply, or one of the ways not to reply."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import responses

JSON = b"application/json"
HTML = b"text/html"

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, headers and a body.

    Attributes:
        status: The HTTP status.
        body: The whole body, or the pieces to send one by one.
        content_length: The value of the header, right or wrong; None omits the header.
        content_type: The value of the header.
        headers: Additional headers, with names in lower case.
        interval: The seconds between two pieces of the body; None sends them without a break. 0
            returns to the event loop after each piece, which notices a lost connection: without a
            break, a lost connection would accept pieces for ever.
    """

    status: int
    body: bytes | Iterator[bytes]
    content_length: int | None
    content_type: bytes = JSON
    headers: Headers = ()
    interval: float | None = None


class Silence(enum.Enum):
    """The ways not to reply."""

    RESET = "reset"
    DROP = "drop"
    HANG = "hang"


Outcome = Reply | Silence


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    return responses.get(status, "Unknown")


def encoded(document: object) -> bytes:
    """Return a JSON document as bytes."""
    return json.dumps(document).encode()


def whole_reply(
    status: int, body: bytes, content_type: bytes = JSON, headers: Headers = ()
) -> Reply:
    """Return a reply with a correct ``content-length``."""
    return Reply(status, body, len(body), content_type, headers)


def html_reply(status: int, headers: Headers = ()) -> Reply:
    """Return nginx's error page for `status`."""
    title = f"{status} {phrase(status)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return whole_reply(status, page.encode(), HTML, headers)
