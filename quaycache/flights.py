"""The same question asked by many threads at once costs one request."""

from __future__ import annotations

import copy
import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from quaycache.errors import QuayAPIError

if TYPE_CHECKING:
    from types import TracebackType

    from quaycache.run import Run

T = TypeVar("T")


class _Waiter:
    """One thread that waits, and that its run can wake."""

    def __init__(self) -> None:
        self.woken = threading.Event()

    def abort(self) -> None:
        self.woken.set()


class Flight(Generic[T]):
    """One question under way. Who leads it asks, in its ``with``; the others `wait`.

    A flight that is left without `land` has failed with what its leader raised. If that was not
    an answer of the server, such as the leader's own cancellation, those who wait ask themselves.
    """

    def __init__(self, flights: Flights[T], key: Hashable) -> None:
        self._flights = flights
        self._key = key
        self._leader = threading.get_ident()
        self._waiters: list[_Waiter] = []
        self._ended = False
        self._result: T | None = None
        self._error: QuayAPIError | None = None

    def is_led_here(self) -> bool:
        """Whether this thread leads it."""
        return self._leader == threading.get_ident()

    def land(self, result: T) -> None:
        """Hand the answer to everybody who waits."""
        self._result = result
        self._end()

    def wait(self, run: Run) -> T | None:
        """The leader's answer; None if there is none and the question is to be asked anew.

        Raises:
            QuayAPIError: what the leader got.
            Cancelled: `run` was cancelled meanwhile.
        """
        waiter = _Waiter()
        with self._flights.lock:
            if self._ended:
                waiter.abort()
            self._waiters.append(waiter)
        with run.abortable(waiter):
            waiter.woken.wait()
        with run.abortable(waiter):  # was it the run that woke us?
            if self._error is not None:
                # A copy: a resolve writes its own partial result into the error it raises.
                raise copy.copy(self._error)
            return self._result

    def __enter__(self) -> Flight[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, QuayAPIError):
            self._error = error
        self._end()

    def _end(self) -> None:
        with self._flights.lock:
            self._ended = True
            # A flight that has landed ends once more with its leader's `with`: by then another one
            # may be under way.
            if self._flights.under_way.get(self._key) is self:
                del self._flights.under_way[self._key]
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.abort()


class Flights(Generic[T]):
    """The questions under way, by their key. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.under_way: dict[Hashable, Flight[T]] = {}

    def board(self, key: Hashable) -> tuple[Flight[T], bool]:
        """The flight of a question, and whether the caller leads it."""
        with self.lock:
            flight = self.under_way.get(key)
            if flight is None:
                flight = self.under_way[key] = Flight(self, key)
                return flight, True
            if flight.is_led_here():
                # A listener that asks: who waits for itself waits for ever.
                return Flight(self, key), True
            return flight, False
