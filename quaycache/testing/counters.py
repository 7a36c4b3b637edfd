"""The counters that a test reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """The server's counters since its start or the last reset.

    Attributes:
        requests: the requests that have arrived, answered or not.
        listing: the requests for a page of a listing.
        tag: the requests for the tags of a repository.
        authenticated: the requests whose token was accepted.
        by_status: the number of answers by status; a dropped or reset request has no answer.
        connections: the connections that have completed a TLS handshake.
        resumed: the connections that resumed an earlier TLS session.
        open_connections: the connections that are open now, whenever they were opened.
        peak_streams: the highest number of requests in flight on one connection.
        peak_in_flight: the highest number of requests in flight on all connections together.
    """

    requests: int
    listing: int
    tag: int
    authenticated: int
    by_status: Mapping[int, int]
    connections: int
    resumed: int
    open_connections: int
    peak_streams: int
    peak_in_flight: int
