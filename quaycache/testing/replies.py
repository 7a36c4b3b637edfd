"""What goes back for a request: a reply, or one of the ways to get none."""

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
        status: of HTTP.
        body: as a whole, or in the pieces that it is sent in.
        content_length: what the header says, right or wrong; None sends no such header.
        content_type: what the header says.
        headers: further ones, names in lower case.
        interval: seconds between two pieces of the body; None sends on at once. After 0, the server
            looks at its connections first: one that is lost takes pieces without end until then.
    """

    status: int
    body: bytes | Iterator[bytes]
    content_length: int | None
    content_type: bytes = JSON
    headers: Headers = ()
    interval: float | None = None


class Silence(enum.Enum):
    """The ways to get no reply."""

    RESET = "reset"
    DROP = "drop"
    HANG = "hang"


Outcome = Reply | Silence


def phrase(status: int) -> str:
    """The reason phrase of a status."""
    return responses.get(status, "Unknown")


def encoded(document: object) -> bytes:
    """A JSON document as it goes over the wire."""
    return json.dumps(document).encode()


def whole_reply(
    status: int, body: bytes, content_type: bytes = JSON, headers: Headers = ()
) -> Reply:
    """A reply with nothing wrong about it."""
    return Reply(status, body, len(body), content_type, headers)


def html_reply(status: int, headers: Headers = ()) -> Reply:
    """An error of the front end: the page that nginx makes for `status`."""
    title = f"{status} {phrase(status)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return whole_reply(status, page.encode(), HTML, headers)
