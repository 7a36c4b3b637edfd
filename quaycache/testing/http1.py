"""HTTP/1.1 connections: one request at a time, and by default one request per connection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import h11

from quaycache.testing.connection import Connection, Connections
from quaycache.testing.front_end import Request
from quaycache.testing.replies import Outcome, Reply, Silence, html_reply, phrase


class Http1Connection(Connection):
    """One HTTP/1.1 connection.

    h11 parses the requests. This class writes the replies itself, because h11 refuses to write a
    malformed one. Closing the connection ends a body without ``content-length``.
    """

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._reader = h11.Connection(h11.SERVER)
        self._received: h11.Request | None = None
        self._closing = False
        self._pieces: Iterator[bytes] | None = None
        self._interval: float | None = None
        self._owed: int | None = None

    def data_received(self, data: bytes) -> None:
        """Handle the next request unless one is in flight."""
        if self._closing:
            return
        self._reader.receive_data(data)
        if not self._in_flight:
            self._read()

    def _read(self) -> None:
        try:
            event = self._reader.next_event()
            while not isinstance(event, h11.NEED_DATA | h11.PAUSED | h11.ConnectionClosed):
                if isinstance(event, h11.Request):
                    self._received = event
                elif isinstance(event, h11.EndOfMessage) and self._received is not None:
                    self._request(self._received)
                    return
                event = self._reader.next_event()
        except h11.RemoteProtocolError:
            self._begin_request()
            self._closing = True
            self._reply(html_reply(400))

    def _request(self, received: h11.Request) -> None:
        self._begin_request()
        fields = dict(received.headers)
        target = received.target.decode("latin-1")
        self._closing = (
            received.http_version < b"1.1"
            or fields.get(b"connection", b"").lower() == b"close"
            or (self._front_end.settings.close_http1 and target.startswith("/api/"))
            or self._exhausted
        )
        host = fields.get(b"host", b"").decode("latin-1")
        request = Request(received.method, target, host, fields, False, self._number, self._address)
        delay, outcome = self._front_end.handle(request)
        self._call_later(delay, partial(self._answer, outcome))

    def _answer(self, outcome: Outcome) -> None:
        if isinstance(outcome, Reply):
            self._reply(outcome)
        elif outcome is not Silence.HANG:
            self.abort()

    def _reply(self, reply: Reply) -> None:
        self._closing = self._closing or reply.content_length is None
        headers = [b"server: nginx"]
        date = self._front_end.date()
        if date is not None:
            headers.append(b"date: " + date)
        headers.append(b"content-type: " + reply.content_type)
        if reply.content_length is not None:
            headers.append(b"content-length: %d" % reply.content_length)
        headers.append(b"connection: close" if self._closing else b"connection: keep-alive")
        headers += [name + b": " + value for name, value in reply.headers]
        status = f"HTTP/1.1 {reply.status} {phrase(reply.status)}".encode()
        self._front_end.tally.count_answer(reply.status)
        self._transport.write(b"\r\n".join((status, *headers, b"\r\n")))
        self._owed = reply.content_length
        self._interval = reply.interval
        self._pieces = iter((reply.body,)) if isinstance(reply.body, bytes) else reply.body
        self._continue_bodies()

    def _continue_bodies(self) -> None:
        while self._pieces is not None and self._writable:
            piece = next(self._pieces, None)
            if piece is None:
                self._done()
                return
            self._transport.write(piece)
            if self._owed is not None:
                self._owed -= len(piece)
            if self._interval is not None:
                resting, self._pieces = self._pieces, None
                self._call_later(self._interval, partial(self._wake, resting))

    def _wake(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._continue_bodies()

    def _done(self) -> None:
        self._pieces = None
        self._end_request()
        if self._closing or self._owed:
            self._closing = True
            self._close()
            return
        # Each request needs a new h11 connection: the old one never saw the reply.
        rest, _ = self._reader.trailing_data
        self._reader, self._received = h11.Connection(h11.SERVER), None
        if rest:
            self._reader.receive_data(rest)
            self._read()

    def _end_idle(self) -> None:
        self._closing = True
        self._close()
