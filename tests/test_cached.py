"""The cached client against the embedded Quay: what it costs, and what it never does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from quaycache import (
    AuthenticationError,
    CachedQuayClient,
    DiskStore,
    Mode,
    NotStoredError,
    Policy,
    QuayAPIError,
    QuayClient,
    Resolution,
    SettingsError,
    resolve,
    resolve_quay_uri,
)
from quaycache.store.keys import AnswerKey
from quaycache.testing import EmbeddedQuay, Fault

URI = "quay://kolla/*:latest"
TTL, MARGIN, MAX_AGE = 300.0, 120.0, 86_400.0
POLICY = Policy(ttl=TTL, margin=MARGIN, max_age=MAX_AGE)


@pytest.fixture(autouse=True)
def local_clock() -> Iterator[FrozenDateTimeFactory]:
    """The local clock stands still, far from the server's."""
    with freeze_time("2031-05-05") as clock:
        assert isinstance(clock, FrozenDateTimeFactory)
        yield clock


class Cost(NamedTuple):
    """Requests that the server has counted."""

    listing: int
    tag: int


class Run(NamedTuple):
    """A resolve and what it cost."""

    resolution: Resolution
    cost: Cost


class Site:
    """The embedded Quay, a cache directory, and clocks that move together."""

    def __init__(
        self, quay: EmbeddedQuay, directory: Path, clock: FrozenDateTimeFactory, workers: int = 16
    ) -> None:
        self.quay = quay
        self.registry = quay.registry
        self.directory = directory
        self._clock = clock
        self._workers = workers

    def client(self, token: str | None = None, **options: int) -> QuayClient:
        return QuayClient(
            token, api_url=self.quay.url, ssl_context=self.quay.ssl_context(), **options
        )

    def cached(self, client: QuayClient) -> CachedQuayClient:
        return CachedQuayClient(client, DiskStore(self.directory), POLICY)

    def resolve(
        self,
        uri: str = URI,
        policy: Policy = POLICY,
        token: str | None = None,
        *,
        keep_going: bool = False,
    ) -> Run:
        before = self.cost()
        with self.client(token, retries=0) as client:
            resolution = resolve(
                [uri],
                client=client,
                max_workers=self._workers,
                cache_dir=self.directory,
                policy=policy,
                keep_going=keep_going,
            )
        after = self.cost()
        return Run(resolution, Cost(after.listing - before.listing, after.tag - before.tag))

    def cost(self) -> Cost:
        counters = self.quay.counters()
        return Cost(counters.listing, counters.tag)

    def wait(self, seconds: float) -> None:
        """Time passes on both clocks."""
        self.registry.advance(seconds)
        self._clock.tick(seconds)

    def move_local_clock(self, seconds: float) -> None:
        self._clock.tick(seconds)


@pytest.fixture
def site(embedded_quay: EmbeddedQuay, tmp_path: Path, local_clock: FrozenDateTimeFactory) -> Site:
    return Site(embedded_quay, tmp_path / "cache", local_clock)


class TestCost:
    """P pages of a listing, n repositories, k changed since."""

    @pytest.mark.parametrize("n", [1000, 5000])
    def test_every_kind_of_run(self, site: Site, n: int) -> None:
        pages, empty = n // 100, 10
        site.registry.populate("kolla", n - empty, every=2)
        for number in range(empty):
            site.registry.create_repository("kolla", f"empty-{number}")
        present = (n - empty) // 2

        cold = site.resolve()
        assert cold.cost == (pages, n - empty)
        assert (len(cold.resolution.images), cold.resolution.stats.proven) == (present, empty)

        again = site.resolve()
        assert again.cost == (0, 0)
        assert again.resolution.images == cold.resolution.images
        assert again.resolution.stats.fresh == n - empty

        site.wait(TTL)
        stale = site.resolve()
        assert stale.cost == (pages, 0)
        assert stale.resolution.images == cold.resolution.images
        assert stale.resolution.stats.validated == n - empty

        site.wait(TTL - 1)
        assert site.resolve().cost == (0, 0)

        site.wait(2)
        changed = 7
        for number in range(changed):
            site.registry.push("kolla", f"repository-{number:05}", "latest")
        touched = site.resolve()
        assert touched.cost == (pages, changed)
        images = {image.repository: image.digest for image in touched.resolution.images}
        assert len(images) == present + changed // 2

        site.wait(MAX_AGE)
        past = site.resolve()
        assert past.cost == (pages, len(images))
        assert site.resolve().cost == (0, 0)

    def test_another_tag_reuses_the_listing(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        assert site.resolve().cost == (3, 250)
        assert site.resolve("quay://kolla/*:other").cost == (0, 250)
        assert site.resolve("quay://kolla/*:other").cost == (0, 0)

    def test_another_glob_and_since_reuse_every_answer(self, site: Site) -> None:
        site.registry.populate("kolla", 30)
        site.resolve()
        run = site.resolve("quay://kolla/*-0000*:latest?since=2000-01-01")
        assert (run.cost, len(run.resolution.images)) == ((0, 0), 10)

    def test_what_was_just_pushed_is_asked_for_until_it_is_out_of_the_margin(
        self, site: Site
    ) -> None:
        site.registry.push("kolla", "a", "latest")
        assert site.resolve().cost == (1, 1)
        assert site.resolve().cost == (0, 0)
        site.wait(TTL)
        assert site.resolve().cost == (1, 1)
        site.wait(TTL)
        assert site.resolve().cost == (1, 0)

    def test_one_by_its_full_name(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        uri = "quay://kolla/a:latest"
        assert site.resolve(uri).cost == (0, 1)
        assert site.resolve(uri).cost == (0, 0)
        site.wait(TTL)
        assert site.resolve(uri).cost == (0, 1)

    def test_one_by_its_full_name_absent_by_the_stored_listing(self, site: Site) -> None:
        site.registry.create_repository("kolla", "empty")
        site.registry.push("kolla", "a", "latest")
        site.resolve()
        assert site.resolve("quay://kolla/empty:latest").cost == (0, 0)
        # That a repository is not listed proves nothing: it may be newer than the listing.
        site.registry.push("kolla", "new", "latest")
        run = site.resolve("quay://kolla/new:latest")
        assert (run.cost, len(run.resolution.images)) == ((0, 1), 1)

    def test_refresh_asks_everything_and_stores_it(self, site: Site) -> None:
        site.registry.populate("kolla", 20)
        site.resolve()
        assert site.resolve(policy=replace(POLICY, mode=Mode.REFRESH)).cost == (1, 20)
        site.wait(TTL - 1)
        site.resolve(policy=replace(POLICY, mode=Mode.REFRESH))
        site.wait(TTL - 1)
        assert site.resolve().cost == (0, 0)

    def test_ttl_0_validates_every_time(self, site: Site) -> None:
        site.registry.populate("kolla", 20)
        policy = replace(POLICY, ttl=0.0)
        assert site.resolve(policy=policy).cost == (1, 20)
        assert site.resolve(policy=policy).cost == (1, 0)

    def test_a_run_that_failed_half_way_has_stored_what_it_learned(self, site: Site) -> None:
        site.registry.populate("kolla", 50)
        broken = Fault(kind="status", status=500, match="repository-00049/", endpoint="tag")
        site.quay.configure(faults=[broken])
        assert site.resolve(keep_going=True).resolution.stats.failed == 1
        site.quay.configure(faults=[])
        assert site.resolve().cost == (0, 1)

    def test_library_function_for_programs_written_against_occystrap(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        host = site.quay.url.removeprefix("https://")
        for _ in range(2):
            with site.client() as client:
                found = resolve_quay_uri(
                    "kolla", "*", "latest", client=client, cache_dir=site.directory
                )
            assert found == [(host, "kolla/a", "latest")]
        assert site.cost() == (1, 1)


class TestRegistryEvents:
    """What happens to a tag, and what the next run past ttl says."""

    @pytest.fixture
    def warm(self, site: Site) -> Site:
        for name in ("a", "b"):
            site.registry.push("kolla", name, "other")
            site.registry.push("kolla", name, "latest")
        site.wait(MARGIN + 10)
        site.resolve()
        site.wait(TTL)
        return site

    def found(self, site: Site, policy: Policy = POLICY) -> list[str]:
        run = site.resolve(policy=policy)
        return [image.repository.removeprefix("kolla/") for image in run.resolution.images]

    def test_newest_tag_deleted(self, warm: Site) -> None:
        warm.registry.delete_tag("kolla", "a", "latest")
        warm.registry.delete_tag("kolla", "a", "other")
        assert self.found(warm) == ["b"]

    def test_other_tag_deleted_is_noticed_at_max_age(self, warm: Site) -> None:
        warm.registry.push("kolla", "b", "newest")
        warm.wait(TTL + MARGIN)
        assert self.found(warm) == ["a", "b"]
        warm.registry.delete_tag("kolla", "b", "latest")
        warm.wait(TTL)
        assert self.found(warm) == ["a", "b"]
        warm.wait(MAX_AGE)
        assert self.found(warm) == ["a"]

    def test_expiry_reached(self, warm: Site) -> None:
        warm.registry.push("kolla", "a", "latest", lifetime=1000.0)
        assert self.found(warm) == ["a", "b"]
        warm.wait(900)
        assert self.found(warm) == ["a", "b"]
        warm.wait(101)
        assert self.found(warm) == ["b"]

    def test_expiry_cleared_is_not_absent(self, warm: Site) -> None:
        warm.registry.push("kolla", "a", "latest", lifetime=1000.0)
        assert self.found(warm) == ["a", "b"]
        warm.registry.set_expiry("kolla", "a", "latest", None)
        warm.wait(1001)
        assert self.found(warm) == ["a", "b"]

    def test_hidden_and_shown_again(self, warm: Site) -> None:
        warm.registry.set_public("kolla", "a", False)
        assert self.found(warm) == ["b"]
        warm.registry.set_public("kolla", "a", True)
        warm.wait(TTL)
        assert self.found(warm) == ["a", "b"]

    def test_what_is_no_longer_listed_is_not_kept_for_any_tag(self, warm: Site) -> None:
        warm.resolve("quay://kolla/*:other")
        warm.wait(TTL)
        warm.registry.set_public("kolla", "a", False)
        assert self.found(warm) == ["b"]
        store = DiskStore(warm.directory)
        kept = {row.key.repository for row in store.rows() if isinstance(row.key, AnswerKey)}
        store.close()
        assert kept == {"b"}

    def test_deleted_and_recreated_empty(self, warm: Site) -> None:
        warm.registry.delete_repository("kolla", "a")
        warm.registry.create_repository("kolla", "a")
        assert self.found(warm) == ["b"]

    def test_404_on_a_listed_repository_is_its_failure_and_forgets_its_answer(
        self, warm: Site
    ) -> None:
        warm.registry.push("kolla", "a", "latest")
        missing = Fault(kind="status", status=404, match="/a/", endpoint="tag")
        warm.quay.configure(faults=[missing])
        policy = replace(POLICY, stale_if_error=1e6)
        run = warm.resolve(policy=policy, keep_going=True)
        assert [failure.repository for failure in run.resolution.failures] == ["kolla/a"]
        offline = warm.resolve(policy=replace(POLICY, mode=Mode.OFFLINE), keep_going=True)
        assert [failure.repository for failure in offline.resolution.failures] == ["kolla/a"]

    def test_an_empty_listing_voids_nothing(self, warm: Site) -> None:
        for name in ("a", "b"):
            warm.registry.set_public("kolla", name, False)
        assert self.found(warm) == []
        for name in ("a", "b"):
            warm.registry.set_public("kolla", name, True)
        run = warm.resolve()
        assert run.cost == (1, 0)
        assert len(run.resolution.images) == 2

    def test_a_walk_that_breaks_off_voids_and_stores_nothing(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        site.resolve()
        site.wait(TTL)
        broken = Fault(kind="status", status=502, match="next_page", endpoint="listing")
        site.quay.configure(faults=[broken])
        with pytest.raises(QuayAPIError):
            site.resolve()
        site.quay.configure(faults=[])
        run = site.resolve()
        assert run.cost == (3, 0)
        assert len(run.resolution.images) == 250


class TestErrors:
    def test_stale_if_error_serves_and_says_so(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=503)])
        with pytest.raises(QuayAPIError):
            site.resolve()
        run = site.resolve(policy=replace(POLICY, stale_if_error=100.0))
        assert [image.stale for image in run.resolution.images] == [True] * 5
        assert run.resolution.stats.stale == 5
        assert run.cost.tag == 0
        site.wait(100)
        with pytest.raises(QuayAPIError):
            site.resolve(policy=replace(POLICY, stale_if_error=100.0))

    def test_stale_if_error_for_the_tag_alone(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.registry.push("kolla", "repository-00003", "latest")
        site.quay.configure(faults=[Fault(kind="status", status=500, endpoint="tag")])
        run = site.resolve(policy=replace(POLICY, stale_if_error=100.0))
        assert [image.stale for image in run.resolution.images] == [False] * 3 + [True, False]

    def test_stale_if_error_in_the_middle_of_a_walk(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        site.resolve()
        site.wait(TTL)
        broken = Fault(kind="status", status=502, match="next_page", endpoint="listing")
        site.quay.configure(faults=[broken])
        run = site.resolve(policy=replace(POLICY, stale_if_error=100.0))
        assert len(run.resolution.images) == 250
        assert sum(image.stale for image in run.resolution.images) == 150

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_refused_listing_is_no_error_to_be_stale_for(self, site: Site, status: int) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=status, endpoint="listing")])
        with pytest.raises(QuayAPIError):
            site.resolve(policy=replace(POLICY, stale_if_error=1e6))
        with pytest.raises(NotStoredError):
            site.resolve(policy=replace(POLICY, mode=Mode.OFFLINE))

    def test_without_a_date_nothing_is_stored(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.quay.configure(date=False)
        assert site.resolve().cost == (1, 5)
        assert site.resolve().cost == (1, 5)


class TestOffline:
    OFFLINE = replace(POLICY, mode=Mode.OFFLINE)

    def test_everything_known(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        online = site.resolve()
        site.wait(10 * MAX_AGE)
        run = site.resolve(policy=self.OFFLINE)
        assert run.cost == (0, 0)
        assert [image.digest for image in run.resolution.images] == [
            image.digest for image in online.resolution.images
        ]
        assert all(image.stale and image.checked_at for image in run.resolution.images)

    def test_no_socket_is_opened(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        before = site.quay.counters().connections
        site.resolve(policy=self.OFFLINE)
        assert site.quay.counters().connections == before

    def test_missing_answers_are_named(self, site: Site) -> None:
        site.registry.populate("kolla", 3)
        site.resolve("quay://kolla/*-00001:latest")
        run = site.resolve(policy=self.OFFLINE, keep_going=True)
        assert len(run.resolution.images) == 1
        assert [failure.error for failure in run.resolution.failures] == [
            "kolla/repository-00000:latest: not in the cache",
            "kolla/repository-00002:latest: not in the cache",
        ]

    def test_missing_listing(self, site: Site) -> None:
        with pytest.raises(NotStoredError, match="listing of kolla: not in the cache"):
            site.resolve(policy=self.OFFLINE)

    def test_expired_tag_is_not_known(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest", lifetime=100.0)
        site.resolve()
        site.wait(101)
        with pytest.raises(NotStoredError):
            site.resolve(policy=self.OFFLINE)


class TestIdentity:
    @pytest.fixture
    def private(self, site: Site) -> Site:
        site.registry.push("kolla", "public", "latest")
        site.registry.push("kolla", "secret", "latest")
        site.registry.set_public("kolla", "secret", False)
        site.registry.add_user("alice", "alice-token-1234567890", namespaces=["kolla"])
        site.registry.add_user("bob", "bob-token-1234567890")
        return site

    def names(self, run: Run) -> list[str]:
        return [image.repository.removeprefix("kolla/") for image in run.resolution.images]

    def test_each_sees_its_own(self, private: Site) -> None:
        for _ in range(2):
            alice = private.resolve(token="alice-token-1234567890")
            assert self.names(alice) == ["public", "secret"]
            assert self.names(private.resolve(token="bob-token-1234567890")) == ["public"]
            assert self.names(private.resolve()) == ["public"]
        assert alice.cost == (0, 0)

    def test_another_tag_under_a_token_is_stored_too(self, private: Site) -> None:
        token = "alice-token-1234567890"
        private.resolve(token=token)
        assert private.resolve("quay://kolla/*:other", token=token).cost == (0, 2)
        assert private.resolve("quay://kolla/*:other", token=token).cost == (0, 0)

    def test_an_ignored_token_leaves_no_trace(self, private: Site) -> None:
        token = "expired-token-1234567890"
        with pytest.raises(AuthenticationError):
            private.resolve(token=token)
        # Quay answers as if nobody had asked, and does not say so.
        assert self.names(private.resolve("quay://kolla/public:latest", token=token)) == ["public"]
        assert list(DiskStore(private.directory).rows()) == []

    def test_the_token_is_nowhere(self, private: Site, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        token = "alice-token-1234567890"
        with private.client(token) as client, private.cached(client) as cached:
            resolution = resolve([URI], client=cached)
            assert token not in repr(client) + repr(cached) + repr(resolution)
        assert token not in caplog.text
        files = [path for path in private.directory.rglob("*") if path.is_file()]
        assert files
        assert all(token.encode() not in path.read_bytes() for path in files)


class TestTogether:
    def test_threads_that_ask_the_same_share_the_requests(self, site: Site) -> None:
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

    def test_stores_of_their_own_on_one_directory_share_the_work(self, site: Site) -> None:
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

    def test_a_leader_that_fails_lets_the_others_ask(self, site: Site) -> None:
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

    def test_face_of_the_plain_client(self, site: Site) -> None:
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
            # A reader that pauses holds nobody up.
            pages = cached.list_pages("kolla")
            next(pages)
            assert len(resolve([URI], client=cached).images) == 1
        assert site.cost() == (1, 2)


class TestClocks:
    def test_local_clock_set_back_behind_the_entries(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.move_local_clock(-1)
        assert site.resolve().cost == (1, 0)

    def test_local_clock_set_back_by_less_lengthens_freshness_by_no_more(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL - 1)
        site.move_local_clock(-100)
        assert site.resolve().cost == (0, 0)
        site.wait(100)
        assert site.resolve().cost == (0, 0)
        site.wait(1)
        assert site.resolve().cost == (1, 0)

    def test_local_clock_years_off(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.move_local_clock(-86_400 * 365 * 30)
        assert site.resolve().cost == (1, 0)

    def test_a_time_from_the_future_freezes_nothing(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.quay.configure(date_skew=400_000.0)
        site.resolve()
        site.quay.configure(date_skew=0.0)
        site.registry.push("kolla", "repository-00001", "latest", "sha256:" + "b" * 64)
        site.wait(TTL)
        run = site.resolve()
        assert run.cost == (1, 5)
        assert run.resolution.images[1].digest == "sha256:" + "b" * 64
        site.wait(TTL + MARGIN)
        site.resolve()
        site.wait(TTL)
        assert site.resolve().cost == (1, 0)


class TestSettings:
    def test_two_caches_are_one_too_many(self, site: Site) -> None:
        refused = pytest.raises(SettingsError, match="cache of its own")
        with site.client() as client, site.cached(client) as cached, refused:
            resolve([URI], client=cached, cache_dir=site.directory)

    def test_a_policy_for_no_cache(self) -> None:
        with pytest.raises(SettingsError, match="policy"):
            resolve([URI], policy=POLICY)
