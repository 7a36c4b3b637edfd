"""A failing store: how far it is still used, when it is tried again, and what is logged."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest

from quaycache.store.fail_open import FailOpen
from tests.store.samples import Clock, finished

NAME = "cache here"


class ReadOnlyError(Exception):
    """The store refuses writes only."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.installed(monkeypatch)


@pytest.fixture
def fail_open(caplog: pytest.LogCaptureFixture) -> FailOpen:
    caplog.set_level(logging.INFO, "quaycache.store")
    return FailOpen(
        NAME,
        reason=str,
        refuses_only_writes=lambda error: isinstance(error, ReadOnlyError),
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What was logged since the last call, without the store's name."""
    found = [
        (record.levelno, record.getMessage().removeprefix(f"{NAME}: ")) for record in caplog.records
    ]
    caplog.clear()
    return found


def works() -> str:
    return "stored"


def fails() -> str:
    raise RuntimeError("it is gone")


def refuses() -> str:
    raise ReadOnlyError("it is full")


def must_not_run() -> str:
    # An exception would be swallowed.
    raise SystemExit("it ran")


def test_a_failed_read_is_an_empty_store(
    fail_open: FailOpen, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert fail_open.read(works, "nothing") == "stored"
    assert fail_open.read(fails, "nothing") == "nothing"
    assert lines(caplog) == [(logging.WARNING, "it is gone; running without the cache")]
    clock.advance(29)
    assert fail_open.read(must_not_run, "nothing") == "nothing"
    assert fail_open.write(must_not_run, "nothing") == "nothing"
    assert not fail_open.may_write
    assert lines(caplog) == []


def test_a_refused_write_leaves_reading(
    fail_open: FailOpen, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert fail_open.write(refuses, "nothing") == "nothing"
    assert lines(caplog) == [(logging.WARNING, "it is full; nothing will be stored")]
    assert fail_open.read(works, "nothing") == "stored"
    clock.advance(29)
    assert not fail_open.may_write
    assert fail_open.write(must_not_run, "nothing") == "nothing"
    assert lines(caplog) == []


@pytest.mark.parametrize("trouble", [fails, refuses])
def test_a_store_that_works_again_is_used(
    fail_open: FailOpen,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[], str],
) -> None:
    fail_open.write(trouble, "nothing")
    clock.advance(30)
    assert fail_open.may_write
    assert fail_open.write(works, "nothing") == "stored"
    assert lines(caplog)[1:] == [(logging.INFO, "it works again")]
    for _ in range(3):
        assert fail_open.write(works, "nothing") == "stored"
        assert fail_open.read(works, "nothing") == "stored"
    assert lines(caplog) == []


def test_a_read_that_works_again_allows_writing(fail_open: FailOpen, clock: Clock) -> None:
    fail_open.read(fails, "nothing")
    clock.advance(30)
    assert fail_open.read(works, "nothing") == "stored"
    assert fail_open.write(works, "nothing") == "stored"


def test_each_pause_is_twice_as_long_up_to_ten_minutes(
    fail_open: FailOpen, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def tried() -> str:
        tries.append(clock.now)
        return refuses()

    fail_open.write(tried, "nothing")
    pauses = [30.0, 60, 120, 240, 480, 600, 600]
    for pause in pauses:
        clock.advance(pause - 1)
        fail_open.write(tried, "nothing")
        clock.advance(1)
        fail_open.write(tried, "nothing")
    assert [after - before for before, after in itertools.pairwise(tries)] == pauses
    assert lines(caplog) == [(logging.WARNING, "it is full; nothing will be stored")]


def test_only_the_first_failure_is_a_warning(
    fail_open: FailOpen, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fail_open.write(refuses, "nothing")
    fail_open.read(fails, "nothing")
    clock.advance(30)
    fail_open.read(works, "nothing")
    fail_open.warn("an entry is too large")
    fail_open.read(fails, "nothing")
    assert lines(caplog) == [
        (logging.WARNING, "it is full; nothing will be stored"),
        (logging.INFO, "it is gone; running without the cache"),
        (logging.INFO, "it works again"),
        (logging.INFO, "an entry is too large"),
        (logging.INFO, "it is gone; running without the cache"),
    ]


def test_the_pause_starts_over_after_ten_good_minutes(fail_open: FailOpen, clock: Clock) -> None:
    fail_open.read(fails, "nothing")
    clock.advance(30)
    fail_open.read(works, "nothing")
    clock.advance(599)
    fail_open.read(fails, "nothing")
    clock.advance(59)
    assert fail_open.read(must_not_run, "nothing") == "nothing"
    clock.advance(1)
    assert fail_open.read(works, "nothing") == "stored"
    clock.advance(600)
    fail_open.read(fails, "nothing")
    clock.advance(30)
    assert fail_open.read(works, "nothing") == "stored"


def test_one_command_is_let_through_at_a_time(fail_open: FailOpen, clock: Clock) -> None:
    fail_open.read(fails, "nothing")
    clock.advance(30)

    def slow() -> str:
        assert fail_open.read(must_not_run, "nothing") == "nothing"
        assert fail_open.write(must_not_run, "nothing") == "nothing"
        return "stored"

    assert fail_open.read(slow, "nothing") == "stored"


def test_a_command_from_before_the_failure_does_not_end_it(
    fail_open: FailOpen, clock: Clock
) -> None:
    def slow() -> str:
        fail_open.read(fails, "nothing")
        return "stored"

    assert fail_open.read(slow, "nothing") == "stored"
    assert fail_open.read(must_not_run, "nothing") == "nothing"

    def slow_and_refused() -> str:
        fail_open.read(fails, "nothing")
        return refuses()

    clock.advance(30)
    fail_open.read(works, "nothing")
    fail_open.write(slow_and_refused, "nothing")
    assert fail_open.read(must_not_run, "nothing") == "nothing"


def test_a_write_on_trial_may_find_that_reading_works(fail_open: FailOpen, clock: Clock) -> None:
    fail_open.read(fails, "nothing")
    clock.advance(30)
    fail_open.write(refuses, "nothing")
    assert fail_open.read(works, "nothing") == "stored"
    assert fail_open.write(must_not_run, "nothing") == "nothing"


def test_after_close_nothing_runs_and_nothing_is_logged(
    fail_open: FailOpen, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def closes(*, raises: bool) -> str:
        fail_open.close()
        return fails() if raises else works()

    assert fail_open.read(lambda: closes(raises=True), "nothing") == "nothing"
    assert fail_open.is_closed
    clock.advance(1000)
    assert fail_open.read(must_not_run, "nothing") == "nothing"
    assert fail_open.write(must_not_run, "nothing") == "nothing"
    assert lines(caplog) == []


@pytest.mark.parametrize("outcome", [works, fails])
def test_a_close_during_a_trial_is_for_good(
    fail_open: FailOpen,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    outcome: Callable[[], str],
) -> None:
    fail_open.read(fails, "nothing")
    lines(caplog)
    clock.advance(30)

    def closes() -> str:
        fail_open.close()
        return outcome()

    fail_open.read(closes, "nothing")
    assert fail_open.is_closed
    assert lines(caplog) == []


def test_an_interrupt_is_not_swallowed(fail_open: FailOpen) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_open.read(interrupted, "nothing")
    assert fail_open.read(works, "nothing") == "stored"


def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent() -> None:
    script = """
        import os, signal
        from quaycache.store.fail_open import FailOpen
        fail_open = FailOpen("cache", reason=str, refuses_only_writes=lambda error: False)
        with fail_open._lock:
            child = os.fork()
            if not child:
                signal.alarm(30)
                print(fail_open.read(lambda: "stored", "nothing"), flush=True)
                os._exit(0)
        os.waitpid(child, 0)
    """
    assert finished(script) == "stored\n"
