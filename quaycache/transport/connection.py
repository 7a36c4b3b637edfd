"""One connection: one request at a time, bounded in bytes, and cut from outside when it is late."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from quaycache.errors import MalformedResponseError
from quaycache.names import printable

if TYPE_CHECKING:
    import ssl

    from quaycache.run import Run

CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 30.0
REQUEST_TIMEOUT = 60.0
"""Seconds for a whole request: a server that trickles bytes never runs into `READ_TIMEOUT`."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes. A page of a listing is some 15 KB; descriptions may make it larger."""

# Quay ends a connection after 1,000 requests and after 5 s of idleness. The request that meets the
# end fails, so that a connection is given up shortly before.
_MAX_REQUESTS = 990
_KEEPALIVE = 4.5

_TIMEOUTS = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT).as_dict()


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer, whatever its status.

    Attributes:
        headers: names in lower case; of a repeated one, the last.
        elapsed: seconds from before the request was sent until the body was complete.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    elapsed: float


class Connection:
    """One connection: one request at a time, and a way to cut it from another thread.

    Attributes:
        deadline: by the monotonic clock: when the request under way has taken too long.
    """

    def __init__(self, ssl_context: ssl.SSLContext, proxy: httpx.Proxy | None) -> None:
        self._http = httpx.HTTPTransport(
            verify=ssl_context,
            http1=True,
            http2=True,
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE
            ),
            proxy=proxy,
        )
        self.deadline = 0.0
        self._requests = 0
        self._stream: Any = None
        self._aborted = False
        self._expired = False

    def get(self, url: str, headers: list[tuple[bytes, bytes]], run: Run) -> tuple[Response, bytes]:
        """The answer, and the protocol that it came by."""

        def trace(name: str, info: dict[str, Any]) -> None:
            # Through a proxy, and for TLS, the stream of the later stage replaces the earlier.
            if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                if name.endswith("connect_tcp.complete"):
                    run.count("connections")
                self._stream = info["return_value"]
                if self._aborted:
                    self._cut()

        request = httpx.Request(
            "GET",
            url,
            headers=headers,
            extensions={"timeout": _TIMEOUTS, "trace": trace},
        )
        run.count("requests")
        self._requests += 1
        started = time.monotonic()
        response = self._http.handle_request(request)
        try:
            body = _read(response)
        finally:
            response.close()
        elapsed = time.monotonic() - started
        fields = {name.lower(): value for name, value in response.headers.raw}
        version: bytes = response.extensions.get("http_version", b"")
        return Response(response.status_code, fields, body, elapsed), version

    def leased(self) -> None:
        """Note that a request is about to begin: its deadline counts from now."""
        self.deadline = time.monotonic() + REQUEST_TIMEOUT

    @property
    def used_up(self) -> bool:
        """Whether the server is about to end it."""
        return self._requests >= _MAX_REQUESTS

    def abort(self) -> None:
        """Wake the thread that waits on this connection; its request fails."""
        self._aborted = True
        self._cut()

    def expire(self) -> None:
        """Abort because the request took too long."""
        self._expired = True
        self.abort()

    def is_readable(self) -> bool:
        """Whether the server sent something since the last answer: that it closes, most likely.

        HTTP/2 in httpx does not look for that before it sends, and the request would fail.
        """
        return self._stream is not None and bool(self._stream.get_extra_info("is_readable"))

    def close(self) -> None:
        """Close it for good."""
        self._http.close()

    def describe(self, error: Exception, host: str) -> str:
        """Why there is no answer, in a few words."""
        if self._expired:
            return f"no complete answer from {host} within {REQUEST_TIMEOUT:.0f} s"
        return _describe(error, host)

    def _cut(self) -> None:
        # Closing the client does not wake a thread that reads; shutting the socket down does.
        # The plain socket's method: SSLSocket's own would pull the TLS state from under the reader.
        if self._stream is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _read(response: httpx.Response) -> bytes:
    chunks = []
    size = 0
    for chunk in response.iter_raw():
        size += len(chunk)
        if size > MAX_BODY:
            raise MalformedResponseError(f"an answer of more than {MAX_BODY // 2**20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _describe(error: Exception, host: str) -> str:
    reason = printable(str(error))
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection to {host} within {CONNECT_TIMEOUT:.0f} s"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refused to connect to {host}: {reason}"
    if isinstance(error, httpx.ConnectError):
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return (
                f"the certificate of {host} is not trusted: {reason};"
                " SSL_CERT_FILE names a file of further authorities"
            )
        return f"cannot connect to {host}: {reason}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer from {host} within {READ_TIMEOUT:.0f} s"
    return f"the connection to {host} broke: {reason or type(error).__name__}"
