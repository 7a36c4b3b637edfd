"""What the threads of one run share."""

from __future__ import annotations

import threading
import time

import pytest

from quaycache import run
from quaycache.run import Run

HANG = 60.0


def test_time_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 0.0
    awake = time.CLOCK_MONOTONIC

    def clock_gettime(clock: int) -> float:
        return time.clock_gettime(awake) + (0.0 if clock == awake else slept)

    monkeypatch.setattr(run, "clock_gettime", clock_gettime)
    monkeypatch.setattr(run, "_WITH_SLEEP", awake + 1)
    monkeypatch.setattr(run, "_WITHOUT_SLEEP", awake)
    began = Run()
    before = began.now()
    slept = 3600.0
    assert 3600 <= began.now() - before < 3660


def test_the_system_has_a_clock_that_counts_sleep() -> None:
    assert run._WITH_SLEEP != run._WITHOUT_SLEEP


def test_a_clock_that_is_set_does_not_change_the_time_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = Run()
    before = began.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= began.now() - before < 60


class Work:
    """Two of these are under way; to abort the first takes until the second has had time to end."""

    def __init__(self, first_abort: threading.Event, proceed: threading.Event) -> None:
        self._first_abort = first_abort
        self._proceed = proceed
        self.leave = threading.Event()
        self.has_ended = threading.Event()
        self.aborted_after_its_end = False

    def abort(self) -> None:
        self.aborted_after_its_end |= self.has_ended.is_set()
        if not self._first_abort.is_set():
            self._first_abort.set()
            self._proceed.wait(HANG)

    def work(self, run: Run, begun: threading.Semaphore) -> None:
        with run.abortable(self):
            begun.release()
            self.leave.wait(HANG)
        self.has_ended.set()


def test_work_that_has_ended_is_not_aborted() -> None:
    cancelled = Run()
    first_abort, proceed = threading.Event(), threading.Event()
    works = [Work(first_abort, proceed) for _ in range(2)]
    begun = threading.Semaphore(0)
    threads = [threading.Thread(target=work.work, args=(cancelled, begun)) for work in works]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=HANG)
    canceller = threading.Thread(target=cancelled.cancel)
    canceller.start()
    assert first_abort.wait(HANG)
    for work in works:
        work.leave.set()
    # With the defect they end here; without it they wait for `cancel`, however long this takes.
    for work in works:
        work.has_ended.wait(0.2)
    proceed.set()
    for thread in (canceller, *threads):
        thread.join(HANG)
    assert not any(work.aborted_after_its_end for work in works)
