"""What the pool leases: a connection that carries one request at a time."""

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
"""Seconds for a whole request: a server that trickles bytes never runs into `READ_TIMEOUT`."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes. A page of a listing is some 15 KB; descriptions may make it larger."""

MAX_REQUESTS: Final = 990
"""Quay ends a connection after 1,000; the request that meets the end fails, so it is given up
shortly before."""

KEEPALIVE: Final = 4.5
"""Seconds of idleness; Quay ends a connection after 5."""


_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")


class Response(NamedTuple):
    """A complete answer, whatever its status.

    Attributes:
        headers: names in lower case; of a repeated one, the last.
        elapsed: seconds from before the request was sent until the body was complete.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    elapsed: float


class Connection(Protocol):
    """One connection: one request at a time, and a way to cut it from another thread.

    Attributes:
        deadline: by the monotonic clock: when the request under way has taken too long.
    """

    deadline: float

    def get(self, target: str, headers: list[tuple[bytes, bytes]], run: Run) -> Response:
        """Send one request and return the answer. Any exception means that there is none."""

    def leased(self) -> None:
        """Note that a request is about to begin: its deadline counts from now."""

    @property
    def used_up(self) -> bool:
        """Whether it takes no further request: the server ends it, or it was aborted."""

    def has_ended(self) -> bool:
        """Whether it broke while it was idle."""

    def abort(self) -> None:
        """Wake the thread that waits on this connection; its request fails."""

    def expire(self) -> None:
        """Abort because the request took too long."""

    def close(self) -> None:
        """Close it for good."""

    def describe(self, error: Exception, host: str) -> str:
        """Why there is no answer, in a few words."""


class NotHttp2Error(Exception):
    """The server chose HTTP/1.1, which was not asked for; nothing was sent to it."""


class ResumptionFailedError(Exception):
    """A handshake that was to resume a TLS session failed; a whole one may do. Nothing was sent."""


def expired(host: str) -> str:
    """That a request took too long."""
    return f"no complete answer from {host} within {REQUEST_TIMEOUT:.0f} s"


def not_connected(reason: str, host: str) -> str:
    """That there is no connection."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return (
            f"the certificate of {host} is not trusted: {printable(reason)};"
            " SSL_CERT_FILE names a file of further authorities"
        )
    return f"cannot connect to {host}: {printable(_ERRNO.sub('', reason))}"


def not_connected_in_time(host: str) -> str:
    """That it took too long to connect."""
    return f"no connection to {host} within {CONNECT_TIMEOUT:.0f} s"


def silent(host: str) -> str:
    """That nothing came."""
    return f"no answer from {host} within {READ_TIMEOUT:.0f} s"


def broken(error: Exception, host: str) -> str:
    """That a connection broke."""
    return f"the connection to {host} broke: {printable(str(error)) or type(error).__name__}"


def too_large() -> MalformedResponseError:
    """That a body is larger than `MAX_BODY`."""
    return MalformedResponseError(f"an answer of more than {MAX_BODY // 2**20} MiB")
