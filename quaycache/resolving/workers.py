"""The threads of one fan-out, started while it waits for the listing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Seconds. A stored listing arrives sooner, and then no thread may be needed.
_PRESTART_DELAY: Final = 0.01


class Workers:
    """A pool of threads, created when the first is needed. Thread-safe.

    Args:
        count: The maximum number of threads.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._has_threads = False
        self._ended = False

    def submit(self, job: Callable[[], object]) -> None:
        """Have a thread do a job; its result or exception is dropped.

        Raises:
            RuntimeError: If the run has ended, or the system cannot start a single thread.
        """
        try:
            self._enqueue(job)
        except RuntimeError as error:
            # The job is queued nevertheless, for the threads that did start.
            if not self._has_threads or str(error) != "can't start new thread":
                raise

    @contextmanager
    def prestart(self) -> Iterator[Callable[[], None]]:
        """Start all threads while the body waits, unless it soon calls the yielded function.

        A thread that is started while others work waits for each of them to release the
        interpreter. Starting 64 threads then takes 0.2 s, otherwise a few milliseconds.
        """
        cancelled = threading.Event()
        starter = threading.Thread(
            target=self._start_all, args=(cancelled,), name="quaycache-starter", daemon=True
        )
        try:
            with suppress(RuntimeError):  # the system has no more threads; perhaps none is needed
                starter.start()
            yield cancelled.set
        finally:
            cancelled.set()

    def shutdown(self) -> None:
        """Wait for all jobs, and end the threads."""
        self._end(wait=True)

    def cancel_pending(self) -> None:
        """Drop the pending jobs; each thread ends after its current job."""
        self._end(wait=False)

    def _start_all(self, cancelled: threading.Event) -> None:
        if cancelled.wait(_PRESTART_DELAY) or self._pool is not None:
            return
        started = threading.Event()
        try:
            for _ in range(self._count):
                # These jobs wait: the pool starts no further thread while one is idle.
                self._enqueue(started.wait)
        except RuntimeError:
            return  # the run has ended, or the system has no more threads
        finally:
            started.set()

    def _enqueue(self, job: Callable[[], object]) -> None:
        self._get_pool().submit(job)
        self._has_threads = True

    def _get_pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                if self._ended:
                    raise RuntimeError("the run has ended")
                # Imported late, because a run whose answers are all known needs no thread.
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="quaycache")
            return self._pool

    def _end(self, *, wait: bool) -> None:
        with self._lock:
            self._ended = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait, cancel_futures=not wait)
