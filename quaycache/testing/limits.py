"""nginx's ``limit_req``, exact to the millisecond: one leaky bucket per key.

The arithmetic is nginx's: it counts thousandths of a request, truncates divisions, and does not
count refused requests.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from quaycache.testing.settings import RateLimit

# The limits of Quay's nginx for /api/ where rate limits are on.
QUAY_HTTP1 = RateLimit(rate=5, burst=25, key="ip")
QUAY_HTTP2 = RateLimit(rate=50, burst=100, key="connection")

_MILLI = 1000


class LeakyBuckets:
    """The buckets of one limit with ``burst`` and ``nodelay``."""

    def __init__(self, limit: RateLimit) -> None:
        self.key = limit.key
        self._rate = round(limit.rate * _MILLI)
        self._burst = limit.burst * _MILLI
        self._buckets: dict[Hashable, tuple[int, int]] = {}

    def admit(self, key: Hashable, now_ms: int) -> bool:
        """Return whether a request at `now_ms` passes; count it if it does."""
        if key not in self._buckets:
            # nginx does not charge the first request of a key.
            self._buckets[key] = (0, now_ms)
            return True
        excess, last_ms = self._buckets[key]
        elapsed = now_ms - last_ms
        excess = max(0, excess - self._rate * elapsed // _MILLI + _MILLI)
        if excess > self._burst:
            return False
        self._buckets[key] = (excess, now_ms)
        return True


class Limiter:
    """The rate limits of both protocols."""

    def __init__(self, rate_limit: Literal["quay"] | RateLimit | None) -> None:
        self._http1: LeakyBuckets | None = None
        self._http2: LeakyBuckets | None = None
        if rate_limit == "quay":
            self._http1, self._http2 = LeakyBuckets(QUAY_HTTP1), LeakyBuckets(QUAY_HTTP2)
        elif rate_limit is not None:
            self._http1 = self._http2 = LeakyBuckets(rate_limit)

    def admit(self, *, http2: bool, connection: int, address: str, now_ms: int) -> bool:
        """Return whether a request on `connection` from `address` passes."""
        buckets = self._http2 if http2 else self._http1
        if buckets is None:
            return True
        return buckets.admit(connection if buckets.key == "connection" else address, now_ms)
