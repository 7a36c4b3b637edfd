"""The pace of all workers together: a given limit, and what the server's 429 and 503 show.

If each worker backs off on its own, all back off together and come back together, in bursts. Here a
refusal pauses all workers, and afterwards requests leave one by one, at a rate that starts at half
and climbs linearly until the next refusal. Around the server's own limit this is a saw-tooth. The
server's burst allowance makes up for what a pause leaves unused.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from quaycache._lazy import LazyLogger
from quaycache.errors import Cancelled

LOG = LazyLogger(__name__)

MAX_PAUSE: Final = 60.0
"""Seconds: the longest pause, whatever a Retry-After asks for."""

MIN_RATE_LIMIT: Final = 0.001
"""Requests a second. Below it, the threads of a run would wait for longer than the system's timers
can count."""

# Seconds. Quay's front end sends no Retry-After with its 429, and its buckets refill within 2 to
# 5 s. What a short pause leaves unused is not lost, and if it was too short the next is twice as
# long.
_FIRST_PAUSE: Final = 0.25
_MAX_BACKOFF: Final = 30.0
# The exponent beyond which a pause is at its maximum anyway.
_MAX_DOUBLINGS: Final = 10
# Requests a second. If a run begins when others have used up the limit, there is no measured rate
# to halve. This is what Quay grants an address over HTTP/1.1.
_MIN_FIRST_RATE: Final = 5.0
_MIN_RATE: Final = 0.2
# Seconds over which the rate of the requests sent is measured. A shorter burst counts as the
# minimum, because it is too short to measure a rate.
_MAX_MEASURE: Final = 2.0
_MIN_MEASURE: Final = 0.25
# Seconds without a request after which earlier refusals no longer describe the server's state.
_IDLE: Final = 5.0
# After a halving, the rate is back where it was after this many seconds.
_CLIMB: Final = 4.0


def _jitter() -> float:
    from random import uniform  # most runs are never refused

    return uniform(1.0, 1.2)  # noqa: S311 - no secret


class PatienceExhaustedError(Exception):
    """The server has refused every request for longer than the pacer's patience."""


class Slot(NamedTuple):
    """A moment reserved for one request.

    Attributes:
        at: The moment, by the pacer's clock.
        generation: How many refusals had changed the pace when the slot was reserved.
    """

    at: float
    generation: int


class Pacer:
    """Decides when the next request may leave. Thread-safe; it sleeps, but does no other I/O.

    Args:
        rate_limit: Requests a second over all workers; None means no limit.
        patience: Seconds of nothing but refusals after which no request waits for a pause to end.
        clock: Returns monotonic seconds.
        jitter: Returns a factor of one or a little more for the pacer's own pauses, so that
            processes that were refused together do not come back together.
    """

    def __init__(
        self,
        rate_limit: float | None = None,
        *,
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self._cap = rate_limit
        self._patience = patience
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._next_slot = 0.0
        self._released: list[float] = []
        self._generation = 0
        self._refused_at = float("-inf")
        self._rate: float | None = None
        self._rate_since = 0.0
        self._sent: deque[float] = deque()
        self._consecutive_refusals = 0
        self._refused_since: float | None = None
        self._pause_ends = self._busy_until = float("-inf")

    def acquire(self, cancelled: threading.Event) -> float:
        """Wait until a request may leave; return its time of departure, for `refused`.

        Raises:
            Cancelled: If *cancelled* is set.
            PatienceExhaustedError: If `patience_exhausted` is true.
        """
        while True:
            if self.patience_exhausted():
                raise PatienceExhaustedError
            slot = self.reserve()
            delay = slot.at - self._clock()
            try:
                if delay > 0 and cancelled.wait(delay):
                    raise Cancelled("cancelled")
            except BaseException:  # Ctrl-C ends the wait, too
                self.release(slot)
                raise
            if self.is_valid(slot):
                return max(slot.at, self._clock())

    def reserve(self) -> Slot:
        """Reserve the next free moment to send at."""
        with self._lock:
            now = self._clock()
            if now - self._busy_until > _IDLE:
                self._forget_refusals()
            at = self._take_released(now)
            if at is None:
                at = max(now, self._next_slot)
                rate = self._rate_at(at)
                if rate is not None:
                    self._next_slot = at + 1 / rate
            self._busy_until = max(self._busy_until, at)
            self._sent.append(at)
            while self._sent[0] <= now - _MAX_MEASURE:
                self._sent.popleft()
            return Slot(at, self._generation)

    def release(self, slot: Slot) -> None:
        """Give back a slot that no request will use, for the next that is reserved."""
        with self._lock:
            if self.is_valid(slot):
                with contextlib.suppress(ValueError):  # it may have been dropped as too old
                    self._sent.remove(slot.at)
                heapq.heappush(self._released, slot.at)

    def is_valid(self, slot: Slot) -> bool:
        """Return whether a slot may still be used; each refusal voids the slots before it."""
        return slot.generation == self._generation

    def succeeded(self) -> None:
        """Note that the server took a request."""
        with self._lock:
            self._forget_refusals()

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Note a 429 or 503: pause all workers, and halve the pace.

        Refusals of requests that left before the pause began are one event.

        Args:
            sent_at: What `acquire` returned for the refused request.
            retry_after: The server's wish in seconds, or None. The pause that quaycache would take
                itself is the minimum, and doubles with each refusal until a request succeeds: a
                server that asks for no pause and refuses again must not get a stream of requests.
        """
        with self._lock:
            now = self._clock()
            self._busy_until = max(self._busy_until, now)
            if sent_at <= self._refused_at:
                return
            if self._refused_since is None:
                self._refused_since = now
            doublings = min(_MAX_DOUBLINGS, self._consecutive_refusals)
            own = min(_MAX_BACKOFF, _FIRST_PAUSE * 2**doublings) * self._jitter()
            pause = min(MAX_PAUSE, max(own, retry_after or 0.0))
            self._rate = self._halved(now)
            self._rate_since = self._next_slot = self._pause_ends = now + pause
            self._busy_until = self._pause_ends
            self._released.clear()
            self._refused_at = now
            self._generation += 1
            self._consecutive_refusals += 1
            rate = self._rate
        LOG.info("the server refused: pausing %.1f s, then %.1f requests/s", pause, rate)

    def refused_seconds(self) -> float:
        """Return the seconds since the first refusal after the last success; 0 without a refusal.

        After a time without requests, the next refusal counts as the first again.
        """
        with self._lock:
            return self._refused_for()

    def patience_exhausted(self) -> bool:
        """Return whether the patience has run out during a pause.

        Between two pauses this is False, so that a request can find out whether the server has
        recovered.
        """
        with self._lock:
            return self._clock() < self._pause_ends and self._refused_for() >= self._patience

    def reset_after_fork(self) -> None:
        """Replace the lock: a thread that exists in the parent alone may hold it."""
        self._lock = threading.Lock()

    def _take_released(self, now: float) -> float | None:
        while self._released:
            at = heapq.heappop(self._released)
            if at >= now:
                return at
        return None

    def _refused_for(self) -> float:
        return 0.0 if self._refused_since is None else self._clock() - self._refused_since

    def _forget_refusals(self) -> None:
        self._refused_since = None
        self._pause_ends = float("-inf")
        self._consecutive_refusals = 0

    def _halved(self, now: float) -> float:
        if self._rate is not None and self._consecutive_refusals:
            return self._rate  # no request has succeeded at that rate; the pause grows instead
        pace = self._rate_at(now)
        measured = self._measured(now)
        if self._rate is None or pace is None or pace > 2 * max(self._rate, measured):
            # The pace held nothing back. Too high a guess costs one more refusal, too low a guess
            # costs the whole climb. So every request sent counts, answered or not.
            return max(_MIN_FIRST_RATE, measured / 2)
        return max(_MIN_RATE, pace / 2)

    def _measured(self, now: float) -> float:
        """Return the rate at which requests were sent lately, in requests a second."""
        recent = [at for at in self._sent if now - _MAX_MEASURE < at <= now]
        began = min(recent, default=now)
        return len(recent) / max(_MIN_MEASURE, now - began)

    def _rate_at(self, moment: float) -> float | None:
        if self._rate is None:
            return self._cap
        climbed = self._rate * (1 + max(0.0, moment - self._rate_since) / _CLIMB)
        return climbed if self._cap is None else min(self._cap, climbed)
