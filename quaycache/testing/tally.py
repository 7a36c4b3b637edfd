"""The counters while they count."""

from __future__ import annotations

from collections import Counter

from quaycache.testing.counters import Counters
from quaycache.testing.routing import Endpoint


class Tally:
    """Counts requests, answers and connections, and remembers peaks."""

    def __init__(self, in_flight: int = 0) -> None:
        self._requests: Counter[Endpoint] = Counter()
        self._statuses: Counter[int] = Counter()
        self._authenticated = 0
        self._connections = 0
        self._resumed = 0
        self._in_flight = in_flight
        self._peak_streams = 0
        self._peak_in_flight = in_flight

    @property
    def in_flight(self) -> int:
        """Requests that have arrived and are not done with."""
        return self._in_flight

    def connected(self, *, resumed: bool) -> None:
        """Counts a connection."""
        self._connections += 1
        self._resumed += resumed

    def arrived(self, endpoint: Endpoint, *, authenticated: bool) -> None:
        """Counts a request."""
        self._requests[endpoint] += 1
        self._authenticated += authenticated

    def begun(self, streams: int) -> None:
        """A request is in flight, as one of `streams` on its connection."""
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        self._peak_streams = max(self._peak_streams, streams)

    def ended(self, requests: int = 1) -> None:
        """So many requests are no longer in flight."""
        self._in_flight -= requests

    def answered(self, status: int) -> None:
        """Counts an answer whose sending has begun."""
        self._statuses[status] += 1

    def read(self, open_connections: int) -> Counters:
        """The counters at this moment."""
        return Counters(
            requests=self._requests.total(),
            listing=self._requests[Endpoint.LISTING],
            tag=self._requests[Endpoint.TAGS],
            authenticated=self._authenticated,
            by_status=dict(self._statuses),
            connections=self._connections,
            resumed=self._resumed,
            open_connections=open_connections,
            peak_streams=self._peak_streams,
            peak_in_flight=self._peak_in_flight,
        )
