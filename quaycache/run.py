"""One run: the cancellation, the counters and the clock that its threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from time import clock_gettime
from typing import Final, Protocol

from quaycache.after_fork import reset_in_children
from quaycache.errors import Cancelled
from quaycache.model import Usage

# On Linux, only CLOCK_BOOTTIME counts sleep; on macOS, every clock but CLOCK_UPTIME_RAW does.
_WITH_SLEEP: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_WITHOUT_SLEEP: Final[int] = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)


def steady_seconds() -> float:
    """Return monotonic seconds that also advance while the machine sleeps.

    `time.monotonic` stops during sleep. Sleep is rounded to whole seconds: two clocks are never
    read at the same moment, and without sleep their difference must be zero.
    """
    slept = clock_gettime(_WITH_SLEEP) - clock_gettime(_WITHOUT_SLEEP)
    return time.monotonic() + round(slept)


class Abortable(Protocol):
    """Work that blocks one thread and that another thread can end."""

    def abort(self) -> None:
        """Make the work end at once, without waiting for it."""


class Run:
    """Cancellation, counters and clock of one run. Thread-safe.

    The local clock is read once, when the run is created, because it may be set during the run.

    Attributes:
        cancelled: Set by `cancel`; a thread that pauses should wait on it.
    """

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._began = time.time()
        self._began_steady = steady_seconds()
        self._lock = threading.Lock()
        self._under_way: set[Abortable] = set()
        self._counts = dict.fromkeys(Usage._fields, 0)
        reset_in_children(self)

    def now(self) -> float:
        """Return the local time, seconds UTC: the start of the run plus the time since."""
        return self._began + steady_seconds() - self._began_steady

    def cancel(self) -> None:
        """Abort all work under way and refuse all new work."""
        self.cancelled.set()
        # Within the lock: after its request, a connection may carry one of another run.
        with self._lock:
            for work in self._under_way:
                work.abort()

    @contextmanager
    def abortable(self, work: Abortable) -> Iterator[None]:
        """Let `cancel` abort `work` while the body runs, and never after it.

        Raises:
            Cancelled: If the run is cancelled before the body begins.
        """
        with self._lock:
            self._under_way.add(work)
        try:
            # After the registration, or a cancellation between the two would be missed.
            if self.cancelled.is_set():
                raise Cancelled("cancelled")
            yield
        finally:
            with self._lock:
                self._under_way.discard(work)

    def count(self, counter: str) -> None:
        """Add one to a counter, named as in `Usage`."""
        with self._lock:
            self._counts[counter] += 1

    def usage(self) -> Usage:
        """Return the counters so far."""
        with self._lock:
            return Usage(**self._counts)

    def reset_after_fork(self) -> None:
        """Leave to the parent the work that its threads have in progress."""
        self._lock = threading.Lock()
        self._under_way = set()
