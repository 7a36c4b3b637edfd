"""The behaviour that HTTP/1.1 and HTTP/2 connections share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import ssl

    from quaycache.testing.front_end import FrontEnd


class Connections:
    """The open connections of a server."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self.open: set[Connection] = set()
        self.accepted = 0

    def abort_all(self) -> None:
        """Drop every connection immediately."""
        for connection in tuple(self.open):
            connection.abort()

    def restart_idle_timers(self) -> None:
        """Apply a changed idle timeout to open connections."""
        for connection in tuple(self.open):
            connection.restart_idle_timer()


class Connection(asyncio.Protocol):
    """One client connection after its TLS handshake."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._front_end = connections.front_end
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._requests = 0
        self._writable = True
        self._last_active = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection and start its idle timer."""
        self._transport = cast("asyncio.Transport", transport)
        self._address = str(transport.get_extra_info("peername")[0])
        self._connections.accepted += 1
        self._number = self._connections.accepted
        self._connections.open.add(self)
        tls = cast("ssl.SSLObject", transport.get_extra_info("ssl_object"))
        self._front_end.tally.count_connection(resumed=bool(tls.session_reused))
        self.restart_idle_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Discard the connection and its requests in flight."""
        del exc
        self._discard()

    def pause_writing(self) -> None:
        """Stop sending bodies: the client reads slower than the server writes."""
        self._writable = False

    def resume_writing(self) -> None:
        """Continue sending bodies: the client has caught up."""
        self._writable = True
        self._continue_bodies()

    def abort(self) -> None:
        """Drop the connection, including bytes that are not sent yet."""
        self._discard()
        self._transport.abort()

    def _close(self) -> None:
        """Close the connection after all written bytes are sent; count it as closed now."""
        self._discard()
        self._transport.close()

    def restart_idle_timer(self) -> None:
        """End the connection if it has been idle for the timeout; otherwise set the timer."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        timeout = self._front_end.settings.idle_timeout
        if timeout is None:
            self._idle_timer = None
            return
        # Requests do not reschedule the timer; it computes the remaining time when it fires.
        idle_until = (self._loop.time() if self._in_flight else self._last_active) + timeout
        if idle_until <= self._loop.time():
            self._end_idle()
        else:
            self._idle_timer = self._loop.call_at(idle_until, self.restart_idle_timer)

    @property
    def _closed(self) -> bool:
        return self not in self._connections.open

    @property
    def _exhausted(self) -> bool:
        allowed = self._front_end.settings.connection_requests
        return allowed is not None and self._requests >= allowed

    def _begin_request(self) -> None:
        self._requests += 1
        self._in_flight += 1
        self._front_end.tally.begin_request(self._in_flight)

    def _end_request(self) -> None:
        self._in_flight -= 1
        self._front_end.tally.end_requests()
        self._last_active = self._loop.time()

    def _call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call `callback` after `delay` seconds unless the connection has closed by then."""
        self._loop.call_later(delay, lambda: None if self._closed else callback())

    def _discard(self) -> None:
        if self._closed:
            return
        self._connections.open.discard(self)
        self._front_end.tally.end_requests(self._in_flight)
        self._in_flight = 0
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    @abstractmethod
    def _continue_bodies(self) -> None:
        """Send more of the bodies that waited for the client."""

    @abstractmethod
    def _end_idle(self) -> None:
        """End the connection as the protocol prescribes."""
