"""HTTP/2 connections: streams, flow control, and GOAWAY as nginx sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from quaycache.testing.connection import Connection, Connections
from quaycache.testing.front_end import Request
from quaycache.testing.replies import Outcome, Reply, Silence

MAX_STREAMS = 128

# This module writes correct headers, in lower case and in order, so h2 need not check them.
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_SERVER = (b"server", b"nginx")


class Http2Connection(Connection):
    """One HTTP/2 connection."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._h2 = H2Connection(_CONFIG)
        self._h2.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS}
        )
        self._requested: dict[int, dict[bytes, bytes]] = {}
        self._answering: set[int] = set()
        self._bodies: dict[int, _Body] = {}
        self._going_away = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the HTTP/2 settings."""
        super().connection_made(transport)
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Handle the frames in `data`."""
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            # h2 has prepared a GOAWAY with the error code.
            self._flush()
            self._close()
            return
        for event in events:
            if self._closed:
                return
            self._handle(event)
        self._flush()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            if not self._going_away:
                self._requested[event.stream_id] = dict(event.headers)
        elif isinstance(event, StreamEnded):
            fields = self._requested.pop(event.stream_id, None)
            if fields is not None:
                self._request(event.stream_id, fields)
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            self._requested.pop(event.stream_id, None)
            self._done(event.stream_id)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._continue_bodies()
        elif isinstance(event, ConnectionTerminated):
            # h2 refuses to send anything after the client's GOAWAY.
            self._close()

    def _request(self, stream: int, fields: dict[bytes, bytes]) -> None:
        self._answering.add(stream)
        self._begin_request()
        if self._exhausted:
            # nginx sends GOAWAY before it answers the last request.
            self._go_away(stream)
        request = Request(
            fields[b":method"],
            fields[b":path"].decode("latin-1"),
            fields.get(b":authority", b"").decode("latin-1"),
            fields,
            True,
            self._number,
            self._address,
        )
        delay, outcome = self._front_end.handle(request)
        if delay:
            self._call_later(delay, partial(self._answer_now, stream, outcome))
        else:
            self._answer(stream, outcome)

    def _answer_now(self, stream: int, outcome: Outcome) -> None:
        self._answer(stream, outcome)
        self._flush()

    def _answer(self, stream: int, outcome: Outcome) -> None:
        if stream not in self._answering or outcome is Silence.HANG:
            return
        if outcome is Silence.DROP:
            self.abort()
        elif outcome is Silence.RESET:
            reset = partial(self._h2.reset_stream, stream, ErrorCodes.INTERNAL_ERROR)
            self._unless_reset(stream, reset)
            self._done(stream)
        elif isinstance(outcome, Reply):
            self._unless_reset(stream, partial(self._reply, stream, outcome))

    def _unless_reset(self, stream: int, send: Callable[[], None]) -> None:
        try:
            send()
        except ProtocolError:
            # h2 has processed a reset whose event comes later in the same batch.
            self._done(stream)

    def _reply(self, stream: int, reply: Reply) -> None:
        headers = [(b":status", b"%d" % reply.status), _SERVER]
        date = self._front_end.date()
        if date is not None:
            headers.append((b"date", date))
        headers.append((b"content-type", reply.content_type))
        if reply.content_length is not None:
            headers.append((b"content-length", b"%d" % reply.content_length))
        headers += reply.headers
        self._front_end.tally.count_answer(reply.status)
        self._h2.send_headers(stream, headers)
        body = reply.body
        if isinstance(body, bytes) and self._fits(stream, len(body)):
            self._h2.send_data(stream, body, end_stream=True)
            self._done(stream)
            return
        pieces = iter((body,)) if isinstance(body, bytes) else body
        self._bodies[stream] = _Body(pieces, reply.interval)
        self._continue_body(stream)

    def _fits(self, stream: int, size: int) -> bool:
        window = self._h2.local_flow_control_window(stream)
        return size <= min(window, self._h2.max_outbound_frame_size)

    def _continue_bodies(self) -> None:
        for stream in tuple(self._bodies):
            self._unless_reset(stream, partial(self._continue_body, stream))
        self._flush()

    def _continue_body(self, stream: int) -> None:
        """Send as much of a body as the client and the transport accept."""
        body = self._bodies.get(stream)
        while body is not None and self._writable and not body.resting:
            window = self._h2.local_flow_control_window(stream)
            piece = body.next_piece(min(window, self._h2.max_outbound_frame_size))
            if piece is None:
                self._h2.end_stream(stream)
                self._done(stream)
                return
            if not piece:
                return
            self._h2.send_data(stream, piece)
            self._flush()
            if body.interval is not None:
                body.resting = True
                self._call_later(body.interval, partial(self._wake, stream))

    def _wake(self, stream: int) -> None:
        if stream in self._bodies:
            self._bodies[stream].resting = False
            self._unless_reset(stream, partial(self._continue_body, stream))
            self._flush()

    def _done(self, stream: int) -> None:
        if stream in self._answering:
            self._answering.discard(stream)
            self._bodies.pop(stream, None)
            self._end_request()
            self._close_when_done()

    def _go_away(self, last_stream: int) -> None:
        # close_connection() would make h2 refuse to send the answers that are still due.
        self._flush()
        self._transport.write(GoAwayFrame(0, last_stream_id=last_stream).serialize())
        self._going_away = True

    def _end_idle(self) -> None:
        self._go_away(self._h2.highest_inbound_stream_id)
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._going_away and not self._answering:
            self._flush()
            self._close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)


class _Body:
    """The unsent part of one answer's body.

    Attributes:
        interval: The seconds to wait after each piece; None sends without a break.
        resting: Whether the body waits for the next interval to end.
    """

    __slots__ = ("_pieces", "_rest", "interval", "resting")

    def __init__(self, pieces: Iterator[bytes], interval: float | None) -> None:
        self._pieces = filter(None, pieces)
        self._rest = b""
        self.interval = interval
        self.resting = False

    def next_piece(self, at_most: int) -> bytes | None:
        """Return the next bytes to send, at most `at_most`; None at the end of the body."""
        if not self._rest:
            rest = next(self._pieces, None)
            if rest is None:
                return None
            self._rest = rest
        # A client can shrink its window below zero.
        size = max(0, at_most)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece
