"""One run of the program's main job: what its threads share to stop, to count, to tell the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from quaycache.errors import Cancelled
from quaycache.model import Usage


class Abortable(Protocol):
    """Work that blocks a thread, and that another thread can end."""

    def abort(self) -> None:
        """End it at once; harmless when it has ended already."""


class Run:
    """Cancellation, counters and clock of one run. Thread-safe.

    The local clock is read once, in the thread that makes the run: it may be set while it lasts.

    Attributes:
        cancelled: set once, by `cancel`; what waits should wait on it.
    """

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._began = time.time()
        self._began_monotonic = time.monotonic()
        self._lock = threading.Lock()
        self._under_way: set[Abortable] = set()
        self._counts = dict.fromkeys(Usage._fields, 0)

    def now(self) -> float:
        """The local time, seconds UTC: that of the beginning, and what has passed since."""
        return self._began + time.monotonic() - self._began_monotonic

    def cancel(self) -> None:
        """Abort what is under way and refuse what would begin."""
        self.cancelled.set()
        with self._lock:
            under_way = list(self._under_way)
        for work in under_way:
            work.abort()

    @contextmanager
    def abortable(self, work: Abortable) -> Iterator[None]:
        """Let `cancel` abort `work` while the body runs.

        Raises:
            Cancelled: the run was cancelled before the body began.
        """
        with self._lock:
            self._under_way.add(work)
        try:
            # After the registration: a cancellation between the two would be missed.
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
        """The counters so far."""
        with self._lock:
            return Usage(**self._counts)
