"""The counters that a test reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """The server's counters since its start or the last reset.

    Attributes:
        requests: The requests that have arrived, answered or not.
        listing: The requests for a page of a listing.
        tag: The requests for the tags of a repository.
        authenticated: The requests whose token was accepted.
        by_status: The number of answers by status; a dropped or reset request has no answer.
        connections: The connections that have completed a TLS handshake.
        resumed: The connections that resumed an earlier TLS session.
        open_connections: The connections that are open now, whenever they were opened.
        peak_streams: The highest number of requests in flight on one connection.
        peak_in_flight: The highest number of requests in flight on all connections together.
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
