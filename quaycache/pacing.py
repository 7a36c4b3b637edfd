"""The pace of all workers together: a given limit, and what the server's 429 and 503 teach.

A limit that each worker meets on its own ends in bursts: all back off together, and all come back
together. Here a refusal pauses everybody, and afterwards requests leave one by one, at a rate that
starts at half and climbs linearly until the next refusal. Around the server's own limit this is a
saw-tooth; what a pause leaves unused, the server's burst allowance gives back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from quaycache.errors import Cancelled
from quaycache.lazy_logger import LazyLogger

LOG = LazyLogger(__name__)

MAX_PAUSE: Final = 60.0
"""Seconds: the longest pause, whatever a Retry-After asks for."""

# Seconds. Quay's front end says no wait with its 429, and its buckets refill within 2 to 5 s: what
# a short pause leaves unused is not lost, and if it was too short the next is twice as long.
_FIRST_PAUSE: Final = 0.25
_MAX_BACKOFF: Final = 30.0
# Requests a second. Where a run begins inside a limit that others have used up, there is nothing
# measured to halve; this is what Quay grants an address over HTTP/1.1.
_MIN_FIRST_RATE: Final = 5.0
_MIN_RATE: Final = 0.2
# Seconds: a burst that is shorter says nothing of a rate.
_SHORTEST_MEASURE: Final = 0.25
# After a halving, the rate is back where it was after this many seconds.
_CLIMB: Final = 4.0


def _jitter() -> float:
    from random import uniform  # only where somebody was refused

    return uniform(1.0, 1.2)  # noqa: S311 - no secret


class Slot(NamedTuple):
    """A moment reserved for one request.

    Attributes:
        at: by the pacer's clock.
        episode: the number of refusals that had changed the pace when it was reserved.
    """

    at: float
    episode: int


class Pacer:
    """Says when the next request may leave. Thread-safe; it sleeps, but does no other I/O.

    Args:
        rate_limit: requests a second over all workers; None means as fast as the server takes.
        clock: seconds, monotonic.
        jitter: returns a factor of one or a little more for pauses of our own choice, so that
            processes that were refused together do not come back together.
    """

    def __init__(
        self,
        rate_limit: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self._cap = rate_limit
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._next_slot = 0.0
        self._episode = 0
        self._refused_at = float("-inf")
        self._rate: float | None = None
        self._rate_since = 0.0
        self._began: float | None = None
        self._sent = 0
        self._fruitless = 0
        self._last_success: float | None = None

    def acquire(self, cancelled: threading.Event) -> float:
        """Wait until a request may leave; returns the time that it leaves, for `refused`.

        Raises:
            Cancelled: the event was set meanwhile.
        """
        while True:
            slot = self.reserve()
            ahead = slot.at - self._clock()
            if ahead > 0 and cancelled.wait(ahead):
                raise Cancelled("cancelled")
            if self.holds(slot):
                return max(slot.at, self._clock())

    def reserve(self) -> Slot:
        """The next free moment to send at."""
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began = self._last_success = now
            self._sent += 1
            at = max(now, self._next_slot)
            rate = self._rate_at(at)
            if rate is not None:
                self._next_slot = at + 1 / rate
            return Slot(at, self._episode)

    def holds(self, slot: Slot) -> bool:
        """Whether a slot is still good: a refusal since it was reserved makes it void."""
        return slot.episode == self._episode

    def succeeded(self) -> None:
        """Note that the server took a request."""
        with self._lock:
            self._fruitless = 0
            self._last_success = self._clock()

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Note a 429 or 503: pause everybody, and halve the pace.

        Refusals of requests that left before the pause began are one event.

        Args:
            sent_at: what `acquire` returned for the refused request.
            retry_after: the server's wish in seconds; None means a pause of our own choice, and
                each further one without a success between is twice as long.
        """
        with self._lock:
            now = self._clock()
            if sent_at <= self._refused_at:
                return
            own = min(_MAX_BACKOFF, _FIRST_PAUSE * 2**self._fruitless) * self._jitter()
            pause = min(MAX_PAUSE, own if retry_after is None else retry_after)
            self._rate = self._halved(now)
            self._rate_since = self._next_slot = now + pause
            self._refused_at = now
            self._episode += 1
            self._fruitless += 1
            rate = self._rate
        LOG.info("the server refused: pausing %.1f s, then %.1f requests/s", pause, rate)

    def silence(self) -> float:
        """Seconds since a request last succeeded, or since the first one."""
        with self._lock:
            return 0.0 if self._last_success is None else self._clock() - self._last_success

    def _halved(self, now: float) -> float:
        if self._rate is not None:
            if self._fruitless:
                return self._rate  # nothing has left at that rate yet; the pause grows instead
            return max(_MIN_RATE, (self._rate_at(now) or self._rate) / 2)
        # What has left, answered or not: to guess too high costs one more refusal, to guess too low
        # costs the whole climb.
        began = now if self._began is None else self._began
        elapsed = max(_SHORTEST_MEASURE, now - began)
        return max(_MIN_FIRST_RATE, self._sent / elapsed / 2)

    def _rate_at(self, moment: float) -> float | None:
        if self._rate is None:
            return self._cap
        climbed = self._rate * (1 + max(0.0, moment - self._rate_since) / _CLIMB)
        return climbed if self._cap is None else min(self._cap, climbed)
