"""One HTTP/2 connection over TLS that carries one request at a time: sockets, `ssl` and h2.

httpx does this too, for three times the processor's time, which is what 64 workers wait for. A
general client builds URLs, models and streams, and locks what only one thread uses here.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from hpack import NeverIndexedHeaderTuple

from quaycache.quay.transport import connection
from quaycache.quay.transport.connection import (
    CONNECT_TIMEOUT,
    KEEPALIVE,
    MAX_BODY,
    MAX_REQUESTS,
    READ_TIMEOUT,
    NotHttp2Error,
    Response,
    ResumptionFailedError,
)
from quaycache.run import steady_seconds

if TYPE_CHECKING:
    from quaycache.api_base import ApiBase
    from quaycache.run import Run

_PROTOCOLS: Final = ["h2", "http/1.1"]

# Only the status and a few headers are used, and they are validated where they are used.
_CONFIGURATION: Final = h2.config.H2Configuration(
    client_side=True,
    header_encoding=False,
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    normalize_inbound_headers=False,
)

_SETTINGS: Final = {
    h2.settings.SettingCodes.ENABLE_PUSH: 0,
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**20,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65536,
}

_CHUNK: Final = 65536

# Bytes that may arrive while a connection is idle: an acknowledgement, a window, a ping or two.
_MAX_LATE: Final = 4096


class ConnectionEndedError(Exception):
    """The server ended the connection, or the stream, before the answer was complete."""


class Tls:
    """The TLS context of all connections to one server, and the session that they resume.

    A connection that resumes a session skips the certificates, which is half of the processor's
    time for a handshake.

    Args:
        context: The context with the authorities to trust.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(_PROTOCOLS)
        self.context = context
        self._ticket: ssl.SSLSession | None = None
        self._resumes = True

    @property
    def ticket(self) -> ssl.SSLSession | None:
        """The session to resume, or None."""
        return self._ticket if self._resumes else None

    def keep(self, ticket: ssl.SSLSession | None) -> None:
        """Resume this session from now on."""
        self._ticket = ticket

    def give_up(self) -> None:
        """Resume no session any more: the server refused to once, and full handshakes work."""
        self._resumes = False


class Http2Connection:
    """A `Connection` over HTTP/2 and TLS.

    Args:
        api_base: The API to connect to.
        tls: The TLS context, shared by all connections to the API.
    """

    def __init__(self, api_base: ApiBase, tls: Tls) -> None:
        self._host, self._port = api_base.host, api_base.port
        self._authority = api_base.registry.encode("ascii")
        self._shared = tls
        self.deadline = 0.0
        self._requests = 0
        self._idle_since = 0.0
        self._h2 = h2.connection.H2Connection(_CONFIGURATION)
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLSocket | None = None
        self._ending = False
        self._aborted = False
        self._timed_out = False

    def get(self, target: str, headers: list[tuple[bytes, bytes]], run: Run) -> Response:
        """As `Connection.get`.

        Raises:
            NotHttp2Error, ResumptionFailedError: If no request can be sent; nothing was sent.
        """
        started = steady_seconds()
        tls = self._tls or self._connect(run)
        run.count("requests")
        self._requests += 1
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            stream,
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", self._authority),
                # Each request has another path. In the compression table it would only displace
                # headers that never change.
                NeverIndexedHeaderTuple(b":path", target.encode("ascii")),
                *map(_header, headers),
            ],
            end_stream=True,
        )
        tls.sendall(self._h2.data_to_send())
        status, fields, body = self._receive(tls, stream)
        if self._requests == 1 and not tls.session_reused:
            # With TLS 1.3 the session arrives after the handshake.
            self._shared.keep(tls.session)
        self._idle_since = steady_seconds()
        return Response(status, fields, body, self._idle_since - started)

    def start_deadline(self) -> None:
        """As `Connection.start_deadline`."""
        self.deadline = time.monotonic() + connection.REQUEST_TIMEOUT

    @property
    def is_exhausted(self) -> bool:
        """As `Connection.is_exhausted`."""
        takes_no_more = self._h2.remote_settings.max_concurrent_streams == 0
        is_spent = self._ending or takes_no_more or self._requests >= MAX_REQUESTS
        return is_spent or self._aborted

    def is_closed_by_peer(self) -> bool:
        """As `Connection.is_closed_by_peer`."""
        tls = self._tls
        if tls is None:
            return False
        if self._ending or steady_seconds() - self._idle_since > KEEPALIVE:
            return True
        late = 0
        try:
            # What arrived may also be a late acknowledgement.
            while tls.pending() or select.select([tls], [], [], 0)[0]:
                tls.settimeout(0)
                data = tls.recv(_CHUNK)
                late += len(data)
                if late > _MAX_LATE:
                    return True
                self._take(data)
                tls.sendall(self._h2.data_to_send())
        except ssl.SSLWantReadError:  # it was a record of TLS itself
            pass
        except Exception:  # noqa: BLE001 - hostile frames raise nearly anything
            return True
        tls.settimeout(READ_TIMEOUT)
        return self.is_exhausted

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
        with contextlib.suppress(OSError):
            if self._tls is not None and not self._aborted:
                with contextlib.suppress(Exception):  # a courtesy to the server
                    self._h2.close_connection()
                    self._tls.settimeout(0)
                    self._tls.send(self._h2.data_to_send())
            for opened in (self._tls, self._socket):
                if opened is not None:
                    opened.close()

    def describe(self, error: Exception, host: str) -> str:
        """As `Connection.describe`."""
        if self._timed_out:
            return connection.request_timeout_message(host)
        if self._tls is None:
            if isinstance(error, TimeoutError):
                return connection.connect_timeout_message(host)
            return connection.not_connected_message(str(error), host)
        if isinstance(error, TimeoutError):
            return connection.read_timeout_message(host)
        return connection.broken_message(error, host)

    def _connect(self, run: Run) -> ssl.SSLSocket:
        plain = socket.create_connection((self._host, self._port), CONNECT_TIMEOUT)
        self._socket = plain
        if self._aborted:
            self._cut()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ticket = self._shared.ticket
        try:
            tls = self._shared.context.wrap_socket(
                plain,
                server_hostname=self._host,
                session=ticket,
                # `abort` must find the socket, even during a handshake that hangs.
                do_handshake_on_connect=False,
            )
            self._socket = tls
            if self._aborted:
                self._cut()
            tls.do_handshake()
        except OSError:
            if ticket is None or self._aborted:
                raise
            self._shared.give_up()
            raise ResumptionFailedError from None
        if tls.selected_alpn_protocol() != "h2":
            raise NotHttp2Error
        run.count("connections")
        if self._aborted:
            self._cut()
        tls.settimeout(READ_TIMEOUT)
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values=_SETTINGS)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(MAX_BODY)
        self._tls = tls
        return tls

    def _receive(self, tls: ssl.SSLSocket, stream: int) -> tuple[int, dict[bytes, bytes], bytes]:
        status, fields = 0, {}
        chunks: list[bytes] = []
        size = 0
        while True:
            for event in self._take(tls.recv(_CHUNK)):
                if getattr(event, "stream_id", stream) != stream:
                    continue
                if isinstance(event, h2.events.DataReceived):
                    size += len(event.data or b"")
                    if size > MAX_BODY:
                        raise connection.too_large_error()
                    chunks.append(event.data or b"")
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                elif isinstance(event, h2.events.ResponseReceived):
                    fields = {bytes(name).lower(): bytes(value) for name, value in event.headers}
                    status = _status(fields.pop(b":status"))
                elif isinstance(event, h2.events.StreamEnded):
                    self._flush(tls)
                    return status, fields, b"".join(chunks)
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionEndedError(f"the stream was reset ({_name(event.error_code)})")
                elif isinstance(event, h2.events.ConnectionTerminated) and (
                    event.last_stream_id is None or event.last_stream_id < stream
                ):
                    raise ConnectionEndedError(f"it was ended ({_name(event.error_code)})")
            self._flush(tls)

    def _take(self, data: bytes) -> Iterable[h2.events.Event]:
        """Return the HTTP/2 events in the bytes received."""
        if not data:
            raise ConnectionEndedError("the server closed it")
        events = self._h2.receive_data(data)
        if any(isinstance(event, h2.events.ConnectionTerminated) for event in events):
            self._ending = True
        return events

    def _flush(self, tls: ssl.SSLSocket) -> None:
        if data := self._h2.data_to_send():
            tls.sendall(data)

    def _cut(self) -> None:
        # The plain socket's method: SSLSocket's own would pull the TLS state from under the reader.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _header(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header that hpack neither indexes nor logs if it is secret (RFC 7541, 7.1.3)."""
    return NeverIndexedHeaderTuple(*field) if field[0] == b"authorization" else field


def _status(value: bytes) -> int:
    if len(value) != 3 or not value.isdigit():
        raise ConnectionEndedError("an invalid status")
    return int(value)


def _name(code: h2.errors.ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"error {code}"
