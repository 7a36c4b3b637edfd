"""The threads of a fan-out: when they start, and that they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quaycache import QuayClient, resolve
from quaycache.model import ListingPage
from quaycache.resolving.workers import Workers
from quaycache.testing import EmbeddedQuay

HANG = 60.0


@pytest.fixture(autouse=True)
def others() -> Iterator[set[threading.Thread]]:
    """Threads from before the test; the test may leave no other thread behind."""
    before = set(threading.enumerate())
    yield before
    for thread in set(threading.enumerate()) - before:
        thread.join(HANG)
        assert not thread.is_alive()


def started(others: set[threading.Thread]) -> list[str]:
    return [thread.name for thread in set(threading.enumerate()) - others]


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < limit


def join_starter(others: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - others:
        if thread.name == "quaycache-starter":
            thread.join(HANG)


def test_all_threads_start_while_the_body_waits_and_then_work_at_once(
    others: set[threading.Thread],
) -> None:
    workers = Workers(8)
    met = threading.Barrier(9)
    with workers.prestart() as cancel_prestart:
        wait_until(lambda: len([n for n in started(others) if n != "quaycache-starter"]) == 8)
        cancel_prestart()
        for _ in range(8):
            workers.submit(lambda: met.wait(HANG))
        met.wait(HANG)
        join_starter(others)
    workers.shutdown()
    assert started(others) == []


def test_no_thread_starts_if_the_body_begins_soon(
    others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", HANG)
    workers = Workers(8)
    with workers.prestart() as cancel_prestart:
        cancel_prestart()
        join_starter(others)
        assert started(others) == []
    workers.shutdown()


def test_a_failing_body_releases_all_threads(
    others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", 0.0)
    workers = Workers(8)

    def fail() -> None:
        with workers.prestart():
            join_starter(others)
            assert len(started(others)) == 8
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    workers.shutdown()
    assert started(others) == []


def test_prestart_does_not_block_a_working_thread(
    others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", 0.0)
    workers = Workers(1)
    done = [threading.Event(), threading.Event()]
    workers.submit(done[0].set)
    with workers.prestart():
        join_starter(others)
        workers.submit(done[1].set)
        assert all(event.wait(HANG) for event in done)
    workers.shutdown()


@pytest.mark.parametrize("used", [False, True])
def test_no_thread_starts_after_cancellation(
    others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", 0.0)
    workers = Workers(8)
    if used:
        workers.submit(lambda: None)
    workers.cancel_pending()
    with workers.prestart():
        join_starter(others)
    with pytest.raises(RuntimeError):
        workers.submit(lambda: None)


def test_a_system_with_few_threads_uses_those(
    others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", 0.0)
    start = threading.Thread.start

    def start_few(thread: threading.Thread) -> None:
        if len(started(others)) > 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    workers = Workers(8)
    done = [threading.Event() for _ in range(8)]
    with workers.prestart() as cancel_prestart:
        join_starter(others)
        assert len(started(others)) == 3
        cancel_prestart()
        for event in done:
            workers.submit(event.set)
    assert all(event.wait(HANG) for event in done)
    workers.shutdown()


def test_a_system_that_cannot_start_a_thread_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    workers = Workers(8)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_room)
        with workers.prestart() as cancel_prestart:
            cancel_prestart()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            workers.submit(int)
    workers.shutdown()


def test_a_run_starts_its_threads_before_the_first_page_arrives(
    others: set[threading.Thread],
    embedded_quay: EmbeddedQuay,
    client: QuayClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded_quay.registry.populate("kolla", 3)
    list_pages = QuayClient.list_pages

    def listed(self: QuayClient, namespace: str) -> Iterator[ListingPage]:
        wait_until(lambda: sum(name.startswith("quaycache_") for name in started(others)) == 8)
        yield from list_pages(self, namespace)

    monkeypatch.setattr(QuayClient, "list_pages", listed)
    resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=8)
    assert len(resolution.images) == 3


def test_a_run_without_lookups_starts_no_thread(
    embedded_quay: EmbeddedQuay,
    client: QuayClient,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded_quay.registry.populate("kolla", 3)
    resolve(["quay://kolla/*:latest"], client=client, cache_dir=tmp_path)
    monkeypatch.setattr("quaycache.resolving.workers._PRESTART_DELAY", HANG)
    made: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        made.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    assert len(resolve(["quay://kolla/*:latest"], client=client, cache_dir=tmp_path).images) == 3
    assert made == ["quaycache-starter"]
