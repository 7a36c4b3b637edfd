"""The live counters of the server."""

from __future__ import annotations

from collections import Counter

from quaycache.testing.counters import Counters
from quaycache.testing.routing import Endpoint


class Tally:
    """Running counts of requests, answers and connections, with the peaks of concurrency."""

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
        """The number of requests whose answers are not complete."""
        return self._in_flight

    def count_connection(self, *, resumed: bool) -> None:
        """Count a connection."""
        self._connections += 1
        self._resumed += resumed

    def count_request(self, endpoint: Endpoint, *, authenticated: bool) -> None:
        """Count a request."""
        self._requests[endpoint] += 1
        self._authenticated += authenticated

    def begin_request(self, streams: int) -> None:
        """Add a request in flight; its connection now has `streams` of them."""
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        self._peak_streams = max(self._peak_streams, streams)

    def end_requests(self, requests: int = 1) -> None:
        """Remove requests that are no longer in flight."""
        self._in_flight -= requests

    def count_answer(self, status: int) -> None:
        """Count an answer as soon as its first bytes are sent."""
        self._statuses[status] += 1

    def read(self, open_connections: int) -> Counters:
        """Return the counters at this moment."""
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
