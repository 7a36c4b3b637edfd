"""Identical concurrent lookups share one request.

The idiom and its name come from Go's ``x/sync/singleflight``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from quaycache.errors import QuayAPIError

if TYPE_CHECKING:
    from quaycache.run import Run

T = TypeVar("T")


class Started:
    """When shared work began.

    Args:
        run_id: The latest run of the process at that moment.
        stored_at: By the store's clock, seconds.
    """

    __slots__ = ("run_id", "stored_at")

    def __init__(self, run_id: int, stored_at: float) -> None:
        self.run_id = run_id
        self.stored_at = stored_at


class Waiter:
    """One thread that waits for shared work; the cancellation of its own run wakes it."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def abort(self) -> None:
        """Wake the thread: the work has ended, or the thread's run was cancelled."""
        self._woken.set()

    def wait(self, run: Run) -> None:
        """Wait until the work has ended.

        Raises:
            Cancelled: If *run* was cancelled.
        """
        with run.abortable(self):
            self._woken.wait()
        with run.abortable(self):
            pass  # It raises if the cancellation woke this thread.


class Call(Generic[T]):
    """One piece of work: its leader does it, and the threads that join share the outcome.

    Attributes:
        started: When it began.
        error: The failure that every thread shares, if the work has failed.
    """

    def __init__(self, started: Started) -> None:
        self.started = started
        self.error: QuayAPIError | None = None
        self.results: list[T] = []
        self.waiters: list[Waiter] = []
        self._leader = threading.get_ident()

    def is_leader(self) -> bool:
        """Return whether the calling thread does the work; it would wait for itself for ever."""
        return self._leader == threading.get_ident()


class SingleFlight(Generic[T]):
    """Work in progress, by its key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[Hashable, Call[T]] = {}

    def do(
        self,
        key: Hashable,
        work: Callable[[], T],
        run: Run,
        started: Started,
        may_join: Callable[[Started], bool],
    ) -> tuple[T, bool]:
        """Return the result for a key, and whether another thread has done the work.

        If the leader ends without an answer from the server, for example because its own run was
        cancelled, a waiting thread does the work itself.

        Args:
            key: What the work is about.
            work: Does the work; called unless another thread is already doing it.
            run: Its cancellation ends the wait.
            started: The present moment.
            may_join: Whether work that began at a moment is recent enough for the caller.

        Raises:
            QuayAPIError: If the work fails, in whichever thread; each waiting thread gets a copy.
            Cancelled: If *run* is cancelled while this thread waits.
        """
        while True:
            waiter = Waiter()
            with self._lock:
                call = self._calls.get(key)
                joins = call is not None and not call.is_leader() and may_join(call.started)
                if call is None or not joins:
                    call = self._calls[key] = Call(started)
                else:
                    call.waiters.append(waiter)
            if not joins:
                return self._lead(key, call, work), False
            waiter.wait(run)
            if call.error is not None:
                # A copy, because each resolve sets its own partial result on the error.
                raise call.error.with_message(str(call.error)) from call.error.__cause__
            if call.results:
                return call.results[0], True

    def _lead(self, key: Hashable, call: Call[T], work: Callable[[], T]) -> T:
        try:
            result = work()
            call.results.append(result)
            return result
        except QuayAPIError as error:
            call.error = error
            raise
        finally:
            with self._lock:
                # A later call, by a thread that could not join this one, may have replaced it.
                if self._calls.get(key) is call:
                    del self._calls[key]
                waiters = call.waiters
            for waiter in waiters:
                waiter.abort()
