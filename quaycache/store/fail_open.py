"""Failing open: a failing store never fails a run, and is tried again after a pause."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from quaycache._lazy import LazyLogger
from quaycache.after_fork import reset_in_children
from quaycache.store.clock import monotonic

LOG = LazyLogger("quaycache.store")

T = TypeVar("T")

_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 600.0


class State(enum.IntEnum):
    """How far a store is used; a higher state allows more."""

    CLOSED = 0
    OFF = 1
    READ_ONLY = 2
    OPEN = 3


_CONSEQUENCES: Final = {
    State.READ_ONLY: "nothing will be stored",
    State.OFF: "running without the cache",
}


class FailOpen:
    """Runs the commands of a store, and replaces the results of those that fail. Thread-safe.

    A store runs each command on its files or server through an instance of this class::

        def load_answer(self, key):
            return self._fail_open.read(lambda: self._query(key), None)

        def put_newer(self, entries, *, max_checked_at):
            self._fail_open.write(lambda: self._merge(entries, max_checked_at), None)

    A command that fails cleans up its files or connections, then raises. The run gets the result of
    an empty store, and the store is not used for a while: `State.OFF`, or `State.READ_ONLY` if it
    can still be read. After a pause, one command is let through. If it succeeds, the store is used
    as before; otherwise the next pause is twice as long. The first pause is 30 seconds, so that a
    short run waits for a broken store only once; the longest is ten minutes. A store that has
    worked for ten minutes starts with the first pause again.

    The first failure of a store is logged as a warning. Later failures, which mostly repeat the
    first, and recoveries are logged as information.

    Args:
        name: The store's name in log lines.
        reason: A function that returns the text of an exception, without secrets.
        refuses_only_writes: A function that returns whether the store can still be read after a
            write has raised this exception.
    """

    def __init__(
        self,
        name: str,
        *,
        reason: Callable[[Exception], str],
        refuses_only_writes: Callable[[Exception], bool],
    ) -> None:
        self._name = name
        self._reason = reason
        self._refuses_only_writes = refuses_only_writes
        self._lock = threading.Lock()
        self._state = State.OPEN
        self._pause = _FIRST_PAUSE
        self._retry_at = self._recovered_at = -math.inf
        self._warned = False
        reset_in_children(self)

    @property
    def name(self) -> str:
        """The store's name in log lines and messages."""
        return self._name

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._state is State.CLOSED

    @property
    def may_write(self) -> bool:
        """Whether `write` would run a command at this moment."""
        with self._lock:
            return self._admits(State.OPEN)

    def read(self, command: Callable[[], T], otherwise: T) -> T:
        """Return what `command` returns; `otherwise` if it fails or the store is not in use."""
        return self._run(command, otherwise, State.READ_ONLY)

    def write(self, command: Callable[[], T], otherwise: T) -> T:
        """Do the same as `read` for a command that changes the store."""
        return self._run(command, otherwise, State.OPEN)

    def close(self) -> None:
        """Run no further command."""
        with self._lock:
            self._state = State.CLOSED

    def warn(self, text: str) -> None:
        """Log a warning if it is the first one, else information."""
        with self._lock:
            warned, self._warned = self._warned, True
        if warned:
            self.inform(text)
        else:
            LOG.warning("%s: %s", self._name, text)

    def inform(self, text: str) -> None:
        """Log information."""
        LOG.info("%s: %s", self._name, text)

    def _run(self, command: Callable[[], T], otherwise: T, needed: State) -> T:
        with self._lock:
            on_trial = self._state < needed
            if not self._admits(needed):
                return otherwise
            if on_trial:
                # Other threads must not wait for a store that may still be failing.
                self._retry_at = monotonic() + self._pause
        try:
            result = command()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not fail the run
            only_writes = needed is State.OPEN and self._refuses_only_writes(error)
            self._fail(State.READ_ONLY if only_writes else State.OFF, error, on_trial=on_trial)
            return otherwise
        if on_trial:
            self._recover()
        return result

    def _admits(self, needed: State) -> bool:
        if self._state >= needed:
            return True
        return self._state is not State.CLOSED and monotonic() >= self._retry_at

    def _fail(self, state: State, error: Exception, *, on_trial: bool) -> None:
        with self._lock:
            before, now = self._state, monotonic()
            if before is State.CLOSED:
                return
            is_new = before is State.OPEN
            if on_trial or (is_new and now - self._recovered_at < _LONGEST_PAUSE):
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            elif is_new:
                self._pause = _FIRST_PAUSE
            self._retry_at = now + self._pause
            # A command of another thread may have failed worse in the meantime.
            self._state = state if on_trial else min(before, state)
            is_worse = self._state < before
        if is_worse:
            self.warn(f"{self._reason(error)}; {_CONSEQUENCES[state]}")

    def _recover(self) -> None:
        with self._lock:
            if self._state is State.CLOSED:
                return
            self._state, self._recovered_at = State.OPEN, monotonic()
        self.inform("it works again")

    def reset_after_fork(self) -> None:
        """Replace the lock: a thread of the parent may have held it."""
        self._lock = threading.Lock()
