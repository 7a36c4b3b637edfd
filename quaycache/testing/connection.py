"""What HTTP/1.1 and HTTP/2 connections have in common."""

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
        """Drops every connection at once."""
        for connection in tuple(self.open):
            connection.abort()

    def restart_idle_timers(self) -> None:
        """Applies a changed idle timeout to the connections that are open."""
        for connection in tuple(self.open):
            connection.watch_idleness()


class Connection(asyncio.Protocol):
    """One connection of a client, after its TLS handshake."""

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
        """Counts the connection, and starts to watch its idleness."""
        self._transport = cast("asyncio.Transport", transport)
        self._address = str(transport.get_extra_info("peername")[0])
        self._connections.accepted += 1
        self._number = self._connections.accepted
        self._connections.open.add(self)
        tls = cast("ssl.SSLObject", transport.get_extra_info("ssl_object"))
        self._front_end.tally.connected(resumed=bool(tls.session_reused))
        self.watch_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection, with the requests that were in flight on it."""
        del exc
        self._forget()

    def pause_writing(self) -> None:
        """The client reads slower than the server writes."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable = True
        self._continue_bodies()

    def abort(self) -> None:
        """Drops the connection, unsent bytes and all."""
        self._forget()
        self._transport.abort()

    def _close(self) -> None:
        """Ends the connection once everything written is sent; it counts as closed from now on."""
        self._forget()
        self._transport.close()

    def watch_idleness(self) -> None:
        """Ends the connection once nothing was in flight for as long as the settings allow."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        timeout = self._front_end.settings.idle_timeout
        if timeout is None:
            self._idle_timer = None
            return
        # The timer is not moved with every request, only looked at when it fires.
        idle_until = (self._loop.time() if self._in_flight else self._last_active) + timeout
        if idle_until <= self._loop.time():
            self._end_idle()
        else:
            self._idle_timer = self._loop.call_at(idle_until, self.watch_idleness)

    @property
    def _gone(self) -> bool:
        return self not in self._connections.open

    @property
    def _requests_used_up(self) -> bool:
        allowed = self._front_end.settings.connection_requests
        return allowed is not None and self._requests >= allowed

    def _begun(self) -> None:
        self._requests += 1
        self._in_flight += 1
        self._front_end.tally.begun(self._in_flight)

    def _ended(self) -> None:
        self._in_flight -= 1
        self._front_end.tally.ended()
        self._last_active = self._loop.time()

    def _later(self, delay: float, do: Callable[[], None]) -> None:
        """Does something after a delay, unless the connection is gone by then."""
        self._loop.call_later(delay, lambda: None if self._gone else do())

    def _forget(self) -> None:
        if self._gone:
            return
        self._connections.open.discard(self)
        self._front_end.tally.ended(self._in_flight)
        self._in_flight = 0
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    @abstractmethod
    def _continue_bodies(self) -> None:
        """Sends more of the bodies that waited for the client."""

    @abstractmethod
    def _end_idle(self) -> None:
        """Ends the connection in the protocol's own way."""
