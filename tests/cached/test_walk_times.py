"""The time of a long walk, on the registry model, where a page may take minutes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from quaycache import CachedQuayClient, DiskStore, Policy, QuayClient, run
from quaycache.model import Listed, ListingPage
from quaycache.names import ANONYMOUS
from quaycache.quay.bound import ListingCursor
from quaycache.run import Run
from quaycache.store.keys import Scope
from quaycache.testing import answers
from quaycache.testing.registry import Registry
from tests.cached.model_client import ModelClient

BEGIN = 1_795_000_000.0
SCOPE = Scope(ModelClient.api_url, ANONYMOUS, "kolla")


@dataclass
class Clock:
    now: float = BEGIN

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class SometimesWithoutADate(ModelClient):
    """A client of a server that sends one page without a Date."""

    dateless = 0

    def fetch_page(
        self, namespace: str, cursor: ListingCursor | None
    ) -> tuple[ListingPage, ListingCursor | None]:
        page, following = super().fetch_page(namespace, cursor)
        if page.number == self.dateless:
            page = page._replace(checked_at=None)
        return page, following


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> SometimesWithoutADate:
    """A client of a registry with three pages, each of which takes fifty seconds."""
    monkeypatch.setattr(answers, "PAGE_SIZE", 2)
    clock = Clock()
    registry = Registry(clock=clock)
    for name in "abcde":
        registry.push("kolla", name, "v1")
    return SometimesWithoutADate(registry, clock.forward, elapsed=50.0)


def walk(client: ModelClient, directory: Path) -> list[ListingPage]:
    with CachedQuayClient(cast("QuayClient", client), DiskStore(directory)) as cached:
        return list(cached.bound(Run()).list_pages("kolla"))


def test_each_page_has_its_own_time_and_the_stored_listing_has_the_first(
    client: SometimesWithoutADate, tmp_path: Path
) -> None:
    pages = walk(client, tmp_path)
    assert [page.checked_at for page in pages] == [BEGIN, BEGIN + 50, BEGIN + 100]
    with closing(DiskStore(tmp_path)) as store:
        stored = store.load_listing(SCOPE)
    assert stored is not None
    assert (stored.checked_at, len(stored.repositories)) == (BEGIN, 5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_walk_with_a_page_of_unknown_time_is_not_stored(
    client: SometimesWithoutADate, tmp_path: Path, number: int
) -> None:
    client.dateless = number
    assert len(walk(client, tmp_path)) == 3
    with closing(DiskStore(tmp_path)) as store:
        assert store.load_listing(SCOPE) is None


def test_a_page_from_before_the_run_does_not_keep_answers_young(
    client: SometimesWithoutADate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk of another run pauses after its first page, and then this run reads it, too."""
    clock, forward = client.registry_model.now, client.pass_time
    client.elapsed = 0.0
    monkeypatch.setattr(run, "time", SimpleNamespace(time=clock, monotonic=clock))
    policy = Policy(ttl=300, margin=10, max_age=400)
    store = DiskStore(tmp_path)
    monkeypatch.setattr(store, "now", clock)
    with CachedQuayClient(cast("QuayClient", client), store, policy) as cached:
        forward(1)
        client.registry_model.push("kolla", "a", "v2")
        forward(100)
        assert cached.tag_answer("kolla", "a", "v1").tag is not None
        forward(390)
        paused = cached.bound(Run()).list_pages("kolla")
        next(paused)
        client.registry_model.delete_tag("kolla", "a", "v1")
        forward(200)
        bound = cached.bound(Run())
        page = next(iter(bound.list_pages("kolla")))
        assert client.requests == 2
        assert bound.known_answers("kolla", "v1", page.repositories, page).get("a") is None
        listed = Listed(page.repositories[0].last_modified, page.checked_at, page.provenance)
        assert bound.tag_answer("kolla", "a", "v1", listed=listed).tag is None
