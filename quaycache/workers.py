"""The threads of one fan-out, started while the listing still lets it wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Seconds: what is stored comes sooner, what comes over a network later.
_SOON: Final = 0.01


class Workers:
    """A pool of threads that is made when it is first needed. Thread-safe.

    Args:
        count: threads at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._making = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._has_threads = False
        self._ended = False

    def submit(self, job: Callable[[], object]) -> None:
        """Have a thread do a job; what it returns or raises is lost.

        Raises:
            RuntimeError: the run has ended, or the system has no room for a single thread.
        """
        try:
            self._enqueue(job)
        except RuntimeError as error:
            # The job is in the queue all the same, for those threads that there was room for.
            if not self._has_threads or str(error) != "can't start new thread":
                raise

    @contextmanager
    def ahead(self) -> Iterator[Callable[[], None]]:
        """Start all threads ahead, unless the body soon calls what it gets.

        A thread that is started while others work waits for each of them to let go of the
        interpreter; 64 take 0.2 s then, and a few milliseconds while nothing else is to be done.
        """
        begun = threading.Event()
        starter = threading.Thread(
            target=self._start_all, args=(begun,), name="quaycache-starter", daemon=True
        )
        try:
            with suppress(RuntimeError):  # the system has no more threads; perhaps none is needed
                starter.start()
            yield begun.set
        finally:
            begun.set()

    def finish(self) -> None:
        """Wait for the last jobs, and end the threads."""
        self._end(wait=True)

    def abandon(self) -> None:
        """Forget the jobs that wait; each thread ends with the job that it has."""
        self._end(wait=False)

    def _start_all(self, begun: threading.Event) -> None:
        if begun.wait(_SOON) or self._pool is not None:
            return
        started = threading.Event()
        try:
            for _ in range(self._count):
                # An idle one would be given the next job, in place of one yet to be started.
                self._enqueue(started.wait)
        except RuntimeError:
            return  # the run has ended, or the system has no more threads
        finally:
            started.set()

    def _enqueue(self, job: Callable[[], object]) -> None:
        self._made().submit(job)
        self._has_threads = True

    def _made(self) -> ThreadPoolExecutor:
        with self._making:
            if self._pool is None:
                if self._ended:
                    raise RuntimeError("the run has ended")
                # Not at every start: a run whose answers are all known needs none.
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="quaycache")
            return self._pool

    def _end(self, *, wait: bool) -> None:
        with self._making:
            self._ended = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait, cancel_futures=not wait)
