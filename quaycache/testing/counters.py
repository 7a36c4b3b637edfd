"""What the server has counted since its start, or since the counters were reset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counters:
    """A reading of the server's counters.

    Attributes:
        requests: that arrived, whatever became of them.
        listing: of those, for pages of a listing.
        tag: of those, for the tag endpoint of a repository.
        authenticated: of those, with a token that was accepted.
        by_status: answers sent, by status; a request that was dropped or reset has none.
        connections: accepted, after their TLS handshake.
        resumed: of those, with the TLS session of an earlier one.
        open_connections: open at this moment.
        peak_streams: the most requests in flight at once on any one connection.
        peak_in_flight: the most requests in flight at once on all connections together.
    """

    requests: int = 0
    listing: int = 0
    tag: int = 0
    authenticated: int = 0
    by_status: Mapping[int, int] = field(default_factory=dict)
    connections: int = 0
    resumed: int = 0
    open_connections: int = 0
    peak_streams: int = 0
    peak_in_flight: int = 0
