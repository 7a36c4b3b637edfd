"""Threads and processes that make the same lookups."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from quaycache import (
    CachedQuayClient,
    DiskStore,
    QuayAPIError,
    QuayClient,
    resolve,
)
from quaycache.cached.single_flight import SingleFlight, Started
from quaycache.cached.tag_cache import TagCache
from quaycache.cached.write_behind import WriteBehind
from quaycache.errors import Cancelled, PermissionDeniedError
from quaycache.events import Event, PageListed
from quaycache.model import Provenance, StoredAnswer, StoredListing, TagAnswer
from quaycache.names import ANONYMOUS
from quaycache.run import Run
from quaycache.store.keys import AnswerKey, Scope
from quaycache.store.protocol import Claimed
from quaycache.testing import EmbeddedQuay, Fault
from tests.cached.conftest import POLICY, TTL, URI, Site
from tests.conftest import HANG_GUARD, command_environment


class TestTogether:
    def test_identical_concurrent_lookups_share_requests(self, site: Site) -> None:
        site.registry.populate("kolla", 150)
        site.quay.configure(latency=0.02)
        begin = threading.Barrier(8)
        with (
            site.client() as client,
            CachedQuayClient(client, DiskStore(site.directory), POLICY) as cached,
            ThreadPoolExecutor(8) as threads,
        ):

            def run() -> int:
                begin.wait()
                return len(resolve([URI], client=cached, max_workers=4).images)

            found = [future.result() for future in [threads.submit(run) for _ in range(8)]]
        assert found == [150] * 8
        assert site.cost() == (2, 150)

    def test_clients_with_separate_stores_on_one_directory_share_the_work(self, site: Site) -> None:
        n = 400
        site.registry.populate("kolla", n)
        site.quay.configure(latency=0.02)
        begin = threading.Barrier(2)

        def run(client: QuayClient) -> int:
            with site.cached(client) as cached:
                begin.wait()
                return len(resolve([URI], client=cached, max_workers=8).images)

        with site.client() as one, site.client() as other, ThreadPoolExecutor(2) as threads:
            assert list(threads.map(run, (one, other))) == [n, n]
        assert n <= site.cost().tag < 2 * n

    def test_a_waiting_thread_asks_if_the_leader_fails(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        site.quay.configure(latency=0.05, faults=[Fault(kind="status", status=403, times=1)])
        begin = threading.Barrier(4)
        with (
            site.client() as client,
            CachedQuayClient(client, DiskStore(site.directory), POLICY) as cached,
            ThreadPoolExecutor(4) as threads,
        ):

            def run() -> str:
                begin.wait()
                try:
                    cached.tag_answer("kolla", "a", "latest")
                except QuayAPIError as error:
                    return str(error)
                return "answered"

            said = [future.result() for future in [threads.submit(run) for _ in range(4)]]
        assert cached.registry
        assert set(said) - {"answered"}
        assert site.cost().tag <= 4

    def test_a_client_that_serves_many_runs(self, site: Site) -> None:
        site.registry.populate("kolla", 20)
        with (
            site.client() as client,
            CachedQuayClient(client, DiskStore(site.directory), POLICY) as cached,
        ):
            for _ in range(3):
                assert len(resolve([URI], client=cached).images) == 20
            assert site.cost() == (1, 20)
            site.wait(TTL)
            resolve([URI], client=cached)
            assert site.cost() == (2, 20)

    def test_methods_of_the_plain_client(self, site: Site) -> None:
        digest = site.registry.push("kolla", "a", "latest", lifetime=1000.0)
        with (
            site.client() as client,
            CachedQuayClient(client, DiskStore(site.directory), POLICY) as cached,
        ):
            for _ in range(2):
                fields = cached.has_tag("kolla", "a", "latest")
                assert fields is not None
                assert list(fields) == ["name", "manifest_digest", "start_ts", "end_ts"]
                assert fields["manifest_digest"] == digest
                assert cached.has_tag("kolla", "a", "missing") is None
                assert cached.list_repositories("kolla") == ["a"]
                assert cached.list_repositories("kolla", 4e9) == []
            known = cached.known_answer("kolla", "a", "latest")
            assert known is not None
            # A reader that pauses delays no other reader.
            pages = cached.list_pages("kolla")
            next(pages)
            assert len(resolve([URI], client=cached).images) == 1
        assert site.cost() == (1, 2)

    def test_concurrent_lists_of_names_share_one_walk(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        site.quay.configure(latency=0.05)
        begin = threading.Barrier(8)
        with (
            site.client() as client,
            site.cached(client) as cached,
            ThreadPoolExecutor(8) as threads,
        ):

            def run(_: int) -> int:
                begin.wait()
                return len(cached.list_repositories("kolla"))

            assert list(threads.map(run, range(8))) == [250] * 8
        assert site.cost() == (3, 0)

    def test_a_listener_may_resolve(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        found: list[int] = []
        with site.client() as client, site.cached(client) as cached:

            def listen(event: Event) -> None:
                if isinstance(event, PageListed) and not found:
                    found.append(0)
                    found.append(len(resolve([URI], client=cached).images))

            assert len(resolve([URI], client=cached, on_event=listen).images) == 5
        assert found == [0, 5]

    def test_a_reader_that_is_interrupted_at_the_last_page_leaves_it_to_the_others(
        self, site: Site
    ) -> None:
        site.registry.populate("kolla", 150)
        interrupts = iter([KeyboardInterrupt])

        class Interrupted(DiskStore):
            def discard_unlisted(
                self, scope: Scope, listed: Collection[str], *, until: float
            ) -> None:
                for interrupt in interrupts:
                    raise interrupt
                super().discard_unlisted(scope, listed, until=until)

        with (
            site.client() as client,
            CachedQuayClient(client, Interrupted(site.directory), POLICY) as cached,
        ):
            one, other = (cached.list_pages("kolla") for _ in range(2))
            next(one), next(other)
            with pytest.raises(KeyboardInterrupt):
                next(one)
            assert len(next(other).repositories) == 50
        assert site.cost().listing == 3

    def test_a_listing_just_stored_by_another_run_is_not_requested(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        others: Iterator[Callable[[], object]] = iter([site.resolve])

        class Slow(DiskStore):
            def load_listing(self, scope: Scope) -> StoredListing | None:
                found = super().load_listing(scope)
                for run in others:
                    run()
                return found

        with (
            site.client() as client,
            CachedQuayClient(client, Slow(site.directory), POLICY) as cached,
        ):
            assert len(cached.list_repositories("kolla")) == 250
        assert site.cost().listing == 3


@pytest.mark.parametrize("listed_before", [False, True])
def test_two_processes_that_start_cold_share_the_work(
    embedded_quay: EmbeddedQuay, tmp_path: Path, listed_before: bool
) -> None:
    n = 400
    embedded_quay.registry.populate("kolla", n)
    command = [sys.executable, "-m", "quaycache", "resolve", "--stats", "-j", "8"]
    environment = os.environ | command_environment(embedded_quay, tmp_path)
    if listed_before:
        subprocess.run([*command, "quay://kolla/none-*:v1"], env=environment, check=True)
    embedded_quay.reset_counters()
    embedded_quay.configure(latency=0.05)
    both = [
        subprocess.Popen(
            [*command, URI],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=HANG_GUARD) for process in both]
    for out, err in said:
        assert len(out.splitlines()) == n
        fresh = re.search(r"fresh=(\d+)", err)
        assert fresh is not None
        assert int(fresh[1]) > 0, err
    assert embedded_quay.counters().tag < 1.9 * n


class TestSingleFlight:
    START = Started(1, 0.0)

    def test_a_waiter_gets_the_result(self) -> None:
        with self.in_progress() as (flight, finish, waiting):
            finish(lambda: 1)
            assert waiting.result(HANG_GUARD) == (1, True)
            assert flight.do("key", lambda: 2, Run(), self.START, always) == (2, False)

    def test_a_waiter_gets_a_copy_of_the_error(self) -> None:
        error = PermissionDeniedError("no")
        with self.in_progress() as (_, finish, waiting):
            finish(raising(error))
            got = waiting.exception(HANG_GUARD)
        assert isinstance(got, PermissionDeniedError)
        assert got is not error

    def test_cancelling_its_own_run_wakes_a_waiter(self) -> None:
        run = Run()
        with self.in_progress(run) as (_, finish, waiting):
            run.cancel()
            assert isinstance(waiting.exception(HANG_GUARD), Cancelled)
            finish(lambda: 1)

    def test_a_waiter_does_the_work_if_the_leader_is_cancelled(self) -> None:
        with self.in_progress() as (_, finish, waiting):
            finish(raising(Cancelled("cancelled")))
            assert waiting.result(HANG_GUARD) == (2, False)

    def test_work_that_began_too_early_is_not_joined(self) -> None:
        with self.in_progress() as (flight, finish, waiting):
            assert flight.do("key", lambda: 3, Run(), self.START, never) == (3, False)
            # The end of later work does not remove the earlier call.
            finish(lambda: 1)
            assert waiting.result(HANG_GUARD) == (1, True)

    def test_a_thread_does_not_wait_for_itself(self) -> None:
        flight: SingleFlight[int] = SingleFlight()

        def work() -> int:
            return flight.do("key", lambda: 1, Run(), self.START, always)[0] + 1

        assert flight.do("key", work, Run(), self.START, always) == (2, False)

    @contextmanager
    def in_progress(
        self, run: Run | None = None
    ) -> Iterator[
        tuple[SingleFlight[int], Callable[[Callable[[], int]], None], Future[tuple[int, bool]]]
    ]:
        """Run work in one thread while another waits for it."""
        flight: SingleFlight[int] = SingleFlight()
        begun, finished = threading.Event(), threading.Event()
        outcome: list[Callable[[], int]] = []

        def work() -> int:
            begun.set()
            assert finished.wait(HANG_GUARD)
            return outcome[0]()

        def finish(how: Callable[[], int]) -> None:
            outcome.append(how)
            finished.set()

        with ThreadPoolExecutor(2) as threads:
            leading = threads.submit(flight.do, "key", work, Run(), self.START, always)
            assert begun.wait(HANG_GUARD)
            waits = threading.Event()

            def may_join(_: Started) -> bool:
                waits.set()
                return True

            waiting = threads.submit(
                flight.do, "key", lambda: 2, run or Run(), self.START, may_join
            )
            assert waits.wait(HANG_GUARD)
            yield flight, finish, waiting
            leading.exception(HANG_GUARD)


def always(_: Started) -> bool:
    return True


def never(_: Started) -> bool:
    return False


def raising(error: Exception) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


def test_answers_are_recorded_while_unlisted_ones_are_discarded(tmp_path: Path) -> None:
    scope = Scope("https://quay.io/api/v1", ANONYMOUS, "kolla")
    cache = TagCache(WriteBehind(DiskStore(tmp_path), 0.0), scope, "v1")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            for worker in range(4):
                threads.submit(record, cache, worker)
            for _ in range(200):
                cache.discard_unlisted({f"{worker}-0" for worker in range(4)}, 0.0)
    finally:
        sys.setswitchinterval(interval)
    assert len(cache.entries) == 4000


@pytest.mark.parametrize("load", ["load_answers", "claim"])
def test_an_answer_that_is_discarded_while_it_is_loaded_stays_away(
    tmp_path: Path, load: str
) -> None:
    scope = Scope("https://quay.io/api/v1", ANONYMOUS, "kolla")
    key = AnswerKey(scope, "v1", "a")
    until = [time.time()]

    class Slow(DiskStore):
        def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
            loaded = super().load_answers(scope, tag)
            self.discard("load_answers")
            return loaded

        def claim(
            self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
        ) -> Claimed:
            claimed = super().claim(scope, tag, repositories, seconds=seconds)
            self.discard("claim")
            return claimed

        def discard(self, during: str) -> None:
            if during == load and until:
                checked_at = until.pop()
                store.remove_if_not_newer({key: checked_at})
                cache.discard(("a",), checked_at)

    with closing(WriteBehind(Slow(tmp_path), 0.0)) as store:
        cache = TagCache(store, scope, "v1")
        store.add(key, StoredAnswer(None, until[0], until[0]))
        store.flush()
        if load == "claim":
            cache.claim(["a"], 1.0)
        else:
            cache.refresh()
    assert not until
    assert not cache.entries


def record(cache: TagCache, worker: int) -> None:
    for number in range(1000):
        answer = TagAnswer(None, 1.0, Provenance.FETCHED)
        cache.record(f"{worker}-{number}", answer, StoredAnswer(None, 1.0, 1.0), 1)
