"""The interface of a connection that the pool leases, and what the two kinds have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from quaycache.errors import MalformedResponseError
from quaycache.names import printable

if TYPE_CHECKING:
    from quaycache.run import Run

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 30.0
REQUEST_TIMEOUT = 60.0
"""Seconds for a whole request. A server that sends byte by byte never exceeds `READ_TIMEOUT`."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes. A page of a listing is some 15 KB; descriptions may make it larger."""

MAX_REQUESTS: Final = 990
"""Quay ends a connection after 1,000 requests, and the request that meets the end fails. So a
connection is replaced shortly before."""

KEEPALIVE: Final = 4.5
"""Seconds for which an idle connection is reused. Quay ends it after 5."""

_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")


class Response(NamedTuple):
    """A complete answer, whatever its status.

    Attributes:
        headers: The headers by lower-case name; the last one if a name is repeated.
        elapsed: Seconds from before the request was sent until the body was complete.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    elapsed: float


class Connection(Protocol):
    """A connection that carries one request at a time, and that another thread can abort.

    Attributes:
        deadline: When to abort the current request, by the monotonic clock.
    """

    deadline: float

    def get(self, target: str, headers: list[tuple[bytes, bytes]], run: Run) -> Response:
        """Send one request and return the answer; any exception means that the request failed."""

    def start_deadline(self) -> None:
        """Start the deadline of a request that is about to begin."""

    @property
    def is_exhausted(self) -> bool:
        """Whether it takes no further request: the server ends it, or it was aborted."""

    def is_closed_by_peer(self) -> bool:
        """Return whether the server closed it while it was idle."""

    def abort(self) -> None:
        """Make the current request fail at once, without waiting for its thread."""

    def abort_for_timeout(self) -> None:
        """Abort a request that exceeded its deadline."""

    def close(self) -> None:
        """Close the connection."""

    def describe(self, error: Exception, host: str) -> str:
        """Return in a few words why the request failed."""


class NotHttp2Error(Exception):
    """The server chose HTTP/1.1, which was not asked for; nothing was sent to it."""


class ResumptionFailedError(Exception):
    """The server refused to resume a TLS session; nothing was sent to it."""


def request_timeout_message(host: str) -> str:
    """Return the message for a request that exceeded its deadline."""
    return f"no complete answer from {host} within {REQUEST_TIMEOUT:.0f} s"


def not_connected_message(reason: str, host: str) -> str:
    """Return the message for a connection that could not be made."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return (
            f"the certificate of {host} is not trusted: {printable(reason)};"
            " SSL_CERT_FILE names a file of further authorities"
        )
    return f"cannot connect to {host}: {printable(_ERRNO.sub('', reason))}"


def connect_timeout_message(host: str) -> str:
    """Return the message for a connection that was not made in time."""
    return f"no connection to {host} within {CONNECT_TIMEOUT:.0f} s"


def read_timeout_message(host: str) -> str:
    """Return the message for a server that sent nothing for `READ_TIMEOUT` seconds."""
    return f"no answer from {host} within {READ_TIMEOUT:.0f} s"


def broken_message(error: Exception, host: str) -> str:
    """Return the message for a connection that broke during a request."""
    return f"the connection to {host} broke: {printable(str(error)) or type(error).__name__}"


def too_large_error() -> MalformedResponseError:
    """Return the error for a body that is larger than `MAX_BODY`."""
    return MalformedResponseError(f"an answer of more than {MAX_BODY // 2**20} MiB")
