"""A run's own listing and its own answers win over older ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from quaycache import (
    CachedQuayClient,
    DiskStore,
    Mode,
    Policy,
    QuayClient,
    Resolution,
    TagAnswer,
    resolve,
)
from quaycache.cached.single_flight import Call
from quaycache.events import Event, PageListed
from quaycache.testing.registry import Registry
from tests.cached.conftest import POLICY, TTL, URI, Site
from tests.cached.gated_client import GatedClient
from tests.conftest import HANG_GUARD

POLICIES = {
    "default": POLICY,
    "no ttl, no margin": POLICY._replace(ttl=0.0, margin=0.0),
    "no ttl, no max_age": POLICY._replace(ttl=0.0, max_age=0.0),
    "no max_age": POLICY._replace(max_age=0.0),
    "refresh": POLICY._replace(mode=Mode.REFRESH),
}
STRICT = {name: policy for name, policy in POLICIES.items() if name != "default"}


def digest_of(resolution: Resolution, repository: str) -> str:
    (digest,) = (i.digest for i in resolution.images if i.repository == repository)
    return digest


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_repository_that_is_recreated_during_the_walk(site: Site, policy: Policy) -> None:
    """It is listed on the first page, and again on the last one."""
    site.registry.push("kolla", "a", "latest")
    site.registry.populate("kolla", 120)
    site.registry.advance(3600)
    new: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, PageListed) and event.page == 1:
            wait_until(lambda: site.cost().tag >= 100)
            site.registry.advance(3)
            site.registry.delete_repository("kolla", "a")
            new.append(site.registry.push("kolla", "a", "latest"))

    with (
        site.client() as client,
        CachedQuayClient(client, DiskStore(site.directory), policy) as cached,
    ):
        resolution = resolve(
            ["quay://kolla/*:latest"], client=cached, max_workers=16, on_event=listen
        )
    assert digest_of(resolution, "kolla/a") == new[0]


def test_an_answer_that_another_process_stored_before_the_page_came(site: Site) -> None:
    site.registry.populate("kolla", 100)
    site.registry.push("kolla", "z", "latest")
    site.registry.advance(3600)
    new: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, PageListed) and event.page == 1:
            site.resolve("quay://kolla/z:latest")
            site.registry.advance(3)
            new.append(site.registry.push("kolla", "z", "latest"))

    with site.client() as client, site.cached(client) as cached:
        resolution = resolve(["quay://kolla/*:latest"], client=cached, on_event=listen)
    assert digest_of(resolution, "kolla/z") == new[0]


def test_a_tag_that_is_deleted_during_a_long_walk_ages(site: Site) -> None:
    """An answer ages during the run, by the server's clock."""
    policy = POLICY._replace(ttl=5.0, margin=0.0, max_age=5.0)
    site.registry.populate("kolla", 100)
    site.registry.push("kolla", "z", "latest")
    site.registry.advance(3600)

    def listen(event: Event) -> None:
        if isinstance(event, PageListed) and event.page == 1:
            site.resolve("quay://kolla/z:latest", policy=policy)
            site.registry.push("kolla", "z", "newest")
            site.registry.delete_tag("kolla", "z", "latest")
            site.registry.advance(20)

    with (
        site.client() as client,
        CachedQuayClient(client, DiskStore(site.directory), policy) as cached,
    ):
        resolution = resolve(["quay://kolla/*:latest"], client=cached, on_event=listen)
    assert "kolla/z" not in {image.repository for image in resolution.images}


def test_an_answer_ages_while_the_walk_that_a_run_joins_was_paused(site: Site) -> None:
    """The pages that are there already say how old an answer was then, not how old it is."""
    policy = POLICY._replace(max_age=TTL + 100)
    site.registry.populate("kolla", 150)
    site.registry.push("kolla", "repository-00000", "newest")
    site.registry.advance(3600)
    with (
        site.client() as client,
        CachedQuayClient(client, DiskStore(site.directory), policy) as cached,
    ):
        resolve([URI], client=cached)
        site.wait(TTL + 20)
        pages = cached.list_pages("kolla")
        next(pages)
        site.registry.delete_tag("kolla", "repository-00000", "latest")
        site.wait(TTL - 10)
        resolution = resolve([URI], client=cached)
    assert len(resolution.images) == 149
    assert site.cost().listing == 2 + 2


class TestWorkThatBeganBeforeTheRun:
    """A run that may take no older answer joins no older request either."""

    @pytest.fixture
    def registry(self) -> Registry:
        registry = Registry()
        registry.push("kolla", "a", "latest")
        return registry

    @pytest.fixture
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(2) as pool:
            yield pool

    @pytest.mark.parametrize("policy", STRICT.values(), ids=STRICT)
    def test_a_lookup(
        self, registry: Registry, threads: ThreadPoolExecutor, tmp_path: Path, policy: Policy
    ) -> None:
        client = GatedClient(registry)
        uri = "quay://kolla/a:latest"
        with cached(client, tmp_path, policy) as cached_client, client.hold():
            threads.submit(resolve, [uri], client=cached_client)
            assert client.reached.wait(HANG_GUARD)
            new = registry.push("kolla", "a", "latest")
            later = threads.submit(resolve, [uri], client=cached_client)
            assert digest_of(later.result(HANG_GUARD), "kolla/a") == new

    @pytest.mark.parametrize("policy", STRICT.values(), ids=STRICT)
    def test_a_walk(
        self, registry: Registry, threads: ThreadPoolExecutor, tmp_path: Path, policy: Policy
    ) -> None:
        client = GatedClient(registry)
        uri = "quay://kolla/*:latest"
        with cached(client, tmp_path, policy) as cached_client, client.hold():
            threads.submit(resolve, [uri], client=cached_client)
            assert client.reached.wait(HANG_GUARD)
            registry.push("kolla", "b", "latest")
            later = threads.submit(resolve, [uri], client=cached_client)
            names = [image.repository for image in later.result(HANG_GUARD).images]
        assert names == ["kolla/a", "kolla/b"]

    def test_a_lookup_is_joined_within_the_ttl(
        self, registry: Registry, threads: ThreadPoolExecutor, tmp_path: Path
    ) -> None:
        client = GatedClient(registry)
        uri = "quay://kolla/a:latest"
        with cached(client, tmp_path, POLICY) as cached_client:
            with client.hold():
                threads.submit(resolve, [uri], client=cached_client)
                assert client.reached.wait(HANG_GUARD)
                later = threads.submit(resolve, [uri], client=cached_client)
                wait_until(lambda: any(call.waiters for call in calls_of(cached_client)))
            assert len(later.result(HANG_GUARD).images) == 1
        assert client.requests == 1


def cached(client: GatedClient, directory: Path, policy: Policy) -> CachedQuayClient:
    return CachedQuayClient(cast("QuayClient", client), DiskStore(directory), policy)


def calls_of(client: CachedQuayClient) -> list[Call[TagAnswer]]:
    return list(client._shared.lookups._calls.values())


def wait_until(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(HANG_GUARD * 100)):
        if happened():
            return
        pause.wait(0.01)
    pytest.fail("it did not happen")
