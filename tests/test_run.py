"""What the threads of one run share."""

from __future__ import annotations

import time

import pytest

from quaycache import run
from quaycache.run import Run


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
