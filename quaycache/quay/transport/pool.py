"""The pool: leases connections, and aborts the requests that exceed their deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from quaycache.errors import Cancelled, QuaycacheError, TransportError
from quaycache.names import printable
from quaycache.quay.transport.connection import (
    Connection,
    NotHttp2Error,
    Response,
    ResumptionFailedError,
)
from quaycache.quay.transport.environment import environment_proxy, environment_ssl_context

if TYPE_CHECKING:
    import ssl

    from quaycache.api_base import ApiBase
    from quaycache.quay.transport.http2 import Tls
    from quaycache.run import Run

MAX_HTTP1_IN_FLIGHT: Final = 4
"""Quay closes an HTTP/1.1 connection after each request, and allows an address 5 a second."""


# Seconds.
_DEADLINE_CHECK_INTERVAL: Final = 1.0


class Transport:
    """A pool of leased connections to one API. Thread-safe.

    It makes a single attempt at each request. Retries and pacing happen elsewhere.

    Args:
        api_base: The API to connect to, by the proxy that ``HTTPS_PROXY`` or ``ALL_PROXY`` names;
            ``NO_PROXY`` is honoured.
        ssl_context: How to verify the server; None means the usual authorities, or those of
            ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``.

    Raises:
        SettingsError: If one of those environment variables cannot be used.
    """

    def __init__(self, api_base: ApiBase, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._api_base = api_base
        self._proxy = environment_proxy(api_base)
        self._host = api_base.registry
        if self._proxy is not None:
            self._host += f" through the proxy {printable(self._proxy.url.host)}"
        # All connections share it, because creating one takes some 20 ms.
        self._ssl_context = ssl_context or environment_ssl_context()
        self._tls: Tls | None = None
        self._directly = self._proxy is None and api_base.scheme == "https"
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._deadline_check = threading.Condition(lock)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._limit = MAX_HTTP1_IN_FLIGHT if api_base.scheme == "http" else None
        self._deadlines_enforced = False
        self._closed = False

    def get(
        self, target: str, headers: list[tuple[bytes, bytes]], run: Run, *, fresh: bool = False
    ) -> Response:
        """Send one GET and return its complete answer, whatever the status.

        Args:
            target: Path and query, percent-encoded.
            headers: All but Host.
            run: Counts the request and any connection it opens, and can cancel it.
            fresh: Whether to open a connection for it, because idle ones may be dead.

        Raises:
            TransportError: If no complete answer comes.
            MalformedResponseError: If the body is larger than `MAX_BODY`.
            Cancelled: If the run is cancelled.
        """
        # Nothing is sent on a connection that cannot resume a session, or that turns out to speak
        # HTTP/1.1. The first of each kind changes how the next is made.
        for wants_new in (fresh, True, True):
            response = self._send(self._lease(run, wants_new), target, headers, run)
            if response is not None:
                return response
        raise TransportError(f"no usable connection to {self._host} after three handshakes")

    def _send(
        self,
        connection: Connection,
        target: str,
        headers: list[tuple[bytes, bytes]],
        run: Run,
    ) -> Response | None:
        """Return the answer; None if nothing was sent, and another connection may succeed."""
        healthy = False
        try:
            with run.abortable(connection):
                response = connection.get(target, headers, run)
            healthy = True
            return response
        except QuaycacheError:
            raise
        except Exception as error:  # hostile frames raise nearly anything
            if run.cancelled.is_set():
                raise Cancelled("cancelled") from None
            if isinstance(error, ResumptionFailedError):
                return None
            if isinstance(error, NotHttp2Error):
                self._fall_back_to_http1()
                return None
            raise TransportError(connection.describe(error, self._host)) from error
        finally:
            self._release(connection, healthy)

    def close(self) -> None:
        """Close the idle connections now, and those in use when their requests end."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._deadline_check.notify()
        for connection in idle:
            connection.close()

    def _lease(self, run: Run, fresh: bool) -> Connection:
        dead = []
        with self._changed:
            while self._limit is not None and len(self._busy) >= self._limit:
                self._changed.wait(0.1)
                if run.cancelled.is_set():
                    raise Cancelled("cancelled")
            connection = None
            while self._idle and not fresh and connection is None:
                connection = self._idle.pop()
                if connection.is_closed_by_peer():
                    dead.append(connection)
                    connection = None
            connection = connection or self._new_connection()
            connection.start_deadline()
            self._busy.add(connection)
            if not self._deadlines_enforced:
                # If the system cannot start a thread, `READ_TIMEOUT` must suffice.
                with contextlib.suppress(RuntimeError):
                    threading.Thread(
                        target=self._enforce_deadlines, name="quaycache-deadlines", daemon=True
                    ).start()
                    self._deadlines_enforced = True
        for closed in dead:
            closed.close()
        return connection

    def _new_connection(self) -> Connection:
        """Create a connection, which connects with its first request."""
        if self._directly:
            from quaycache.quay.transport.http2 import Http2Connection, Tls

            self._tls = self._tls or Tls(self._ssl_context)
            return Http2Connection(self._api_base, self._tls)
        from quaycache.quay.transport.over_httpx import HttpxConnection

        origin = f"{self._api_base.scheme}://{self._api_base.registry}"
        return HttpxConnection(
            origin, self._ssl_context, self._proxy, http2_only=self._limit is None
        )

    def _fall_back_to_http1(self) -> None:
        """Speak HTTP/1.1 from now on, on few connections.

        Nothing has been sent on the connection that shows that the server lacks HTTP/2. So the
        limit holds from the first request on, however many connections were made at once.
        """
        with self._changed:
            self._directly = False
            self._limit = MAX_HTTP1_IN_FLIGHT

    def _release(self, connection: Connection, healthy: bool) -> None:
        with self._changed:
            self._busy.discard(connection)
            keep = healthy and not connection.is_exhausted and not self._closed
            if keep:
                self._idle.append(connection)
            self._changed.notify()
            if self._closed:
                self._deadline_check.notify()
        if not keep:
            connection.close()

    def _enforce_deadlines(self) -> None:
        """Abort requests that exceed their deadline, as long as any request is in progress."""
        with self._changed:
            self._deadline_check.wait(_DEADLINE_CHECK_INTERVAL)
            while self._busy:
                now = time.monotonic()
                # Within the lock: a connection whose request has ended may carry the next.
                for connection in self._busy:
                    if connection.deadline < now:
                        connection.abort_for_timeout()
                self._deadline_check.wait(_DEADLINE_CHECK_INTERVAL)
            self._deadlines_enforced = False
