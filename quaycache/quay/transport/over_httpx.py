"""Connections through a proxy, or to a server without HTTP/2; httpx makes both."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from quaycache.names import printable
from quaycache.quay.transport import connection
from quaycache.quay.transport.connection import (
    CONNECT_TIMEOUT,
    KEEPALIVE,
    MAX_BODY,
    MAX_REQUESTS,
    READ_TIMEOUT,
    NotHttp2Error,
    Response,
)
from quaycache.run import steady_seconds

if TYPE_CHECKING:
    import ssl

    from quaycache.run import Run

# The names that httpcore gives to the end of a handshake with the server, through either proxy.
_HANDSHAKES_WITH_SERVER: Final = ("proxy.start_tls.complete", "socks.start_tls.complete")

_TIMEOUTS = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT).as_dict()


class HttpxConnection:
    """A `Connection` made by httpx.

    Args:
        origin: ``scheme://host:port``.
        ssl_context: How to verify the server.
        proxy: The proxy to connect through, or None.
        http2_only: Whether to refuse to speak HTTP/1.1 with the server.
    """

    def __init__(
        self,
        origin: str,
        ssl_context: ssl.SSLContext,
        proxy: httpx.Proxy | None,
        *,
        http2_only: bool,
    ) -> None:
        self._origin = origin
        self._http2_only = http2_only
        self._http = httpx.HTTPTransport(
            verify=ssl_context,
            http1=True,
            http2=True,
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE
            ),
            proxy=proxy,
        )
        self.deadline = 0.0
        self._requests = 0
        self._stream: Any = None
        self._aborted = False
        self._timed_out = False

    def get(self, target: str, headers: list[tuple[bytes, bytes]], run: Run) -> Response:
        """As `Connection.get`.

        Raises:
            NotHttp2Error: If `http2_only` is set and the server lacks HTTP/2; nothing was sent.
        """

        def trace(name: str, info: dict[str, Any]) -> None:
            # Through a proxy, and for TLS, the stream of the later stage replaces the earlier.
            if name.endswith(("connect_tcp.complete", "start_tls.complete")):
                if name.endswith("connect_tcp.complete"):
                    run.count("connections")
                self._stream = info["return_value"]
                if self._aborted:
                    self._cut()
                if self._http2_only and name in _HANDSHAKES_WITH_SERVER:
                    self._require_http2()

        request = httpx.Request(
            "GET",
            f"{self._origin}{target}",
            headers=headers,
            extensions={"timeout": _TIMEOUTS, "trace": trace},
        )
        run.count("requests")
        self._requests += 1
        started = steady_seconds()
        response = self._http.handle_request(request)
        try:
            body = _read(response)
        finally:
            response.close()
        elapsed = steady_seconds() - started
        fields = {name.lower(): value for name, value in response.headers.raw}
        return Response(response.status_code, fields, body, elapsed)

    def start_deadline(self) -> None:
        """As `Connection.start_deadline`."""
        self.deadline = time.monotonic() + connection.REQUEST_TIMEOUT

    @property
    def is_exhausted(self) -> bool:
        """As `Connection.is_exhausted`."""
        return self._aborted or self._requests >= MAX_REQUESTS

    def is_closed_by_peer(self) -> bool:
        """As `Connection.is_closed_by_peer`.

        If the server has sent something, it has most likely closed the connection. httpx does not
        check that before it sends over HTTP/2, and the request would fail.
        """
        return self._stream is not None and bool(self._stream.get_extra_info("is_readable"))

    def abort(self) -> None:
        """As `Connection.abort`."""
        self._aborted = True
        self._cut()

    def abort_for_timeout(self) -> None:
        """As `Connection.abort_for_timeout`."""
        self._timed_out = True
        self.abort()

    def close(self) -> None:
        """As `Connection.close`."""
        self._http.close()

    def describe(self, error: Exception, host: str) -> str:
        """As `Connection.describe`."""
        if self._timed_out:
            return connection.request_timeout_message(host)
        if isinstance(error, httpx.ConnectTimeout):
            return connection.connect_timeout_message(host)
        if isinstance(error, httpx.ProxyError):
            return f"the proxy refused to connect to {host}: {printable(str(error))}"
        if isinstance(error, httpx.ConnectError):
            return connection.not_connected_message(str(error), host)
        if isinstance(error, httpx.TimeoutException):
            return connection.read_timeout_message(host)
        return connection.broken_message(error, host)

    def _require_http2(self) -> None:
        tls = self._stream.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            # httpcore does not have the stream yet, and would not close it.
            self._stream.close()
            raise NotHttp2Error

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
            raise connection.too_large_error()
        chunks.append(chunk)
    return b"".join(chunks)
