"""A listed repository that is refused: the namespace's next listing decides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from quaycache import (
    AuthenticationError,
    CachedQuayClient,
    DiskStore,
    NotFoundError,
    PermissionDeniedError,
    Provenance,
    QuayAPIError,
    TagAnswer,
    resolve,
)
from quaycache.model import Listed
from quaycache.quay.relisting import MAX_LISTINGS
from quaycache.resolving.tag_client import BoundClient
from quaycache.run import Run
from quaycache.store.entry import Entry
from quaycache.store.keys import Key, Scope
from quaycache.testing import Fault
from tests.cached.conftest import POLICY, Site
from tests.conftest import HANG_GUARD


@pytest.fixture(params=["plain", "cached"])
def bound(request: pytest.FixtureRequest, site: Site) -> Iterator[BoundClient]:
    """A client within one run, without and with a cache."""
    with site.client(retries=0) as client:
        if request.param == "plain":
            yield client.bound(Run())
        else:
            with site.cached(client) as cached:
                yield cached.bound(Run())


class TestOneRun:
    """The run's own listing shows a repository, and the lookup is refused."""

    def look_up(self, bound: BoundClient, listed: Mapping[str, Listed], name: str) -> TagAnswer:
        return bound.tag_answer("kolla", name, "latest", listed=listed[name])

    def listing(self, bound: BoundClient) -> dict[str, Listed]:
        return {
            row.name: Listed(row.last_modified, page.checked_at, page.provenance)
            for page in bound.list_pages("kolla")
            for row in page.repositories
        }

    @pytest.fixture(autouse=True)
    def repositories(self, site: Site) -> None:
        for name in "abcdefgh":
            site.registry.push("kolla", name, "latest")

    @pytest.mark.parametrize("change", ["delete", "hide"])
    def test_a_repository_that_is_no_longer_listed_is_not_a_failure(
        self, site: Site, bound: BoundClient, change: str
    ) -> None:
        listed = self.listing(bound)
        if change == "delete":
            site.registry.delete_repository("kolla", "b")
        else:
            site.registry.set_public("kolla", "b", False)
        answer = self.look_up(bound, listed, "b")
        assert (answer.tag, answer.is_listed) == (None, False)
        assert site.cost() == (2, 1)

    def test_a_repository_that_is_listed_without_tags_is_absent(
        self, site: Site, bound: BoundClient
    ) -> None:
        """A lagging replica may not know a repository whose tags have all been deleted already."""
        site.quay.configure(faults=[refusal(404, "/b/")])
        listed = self.listing(bound)
        site.registry.delete_tag("kolla", "b", "latest")
        answer = self.look_up(bound, listed, "b")
        assert (answer.tag, answer.provenance) == (None, Provenance.PROVEN)
        assert site.cost() == (2, 1)

    def test_a_repository_that_is_still_listed_is_looked_up_again(
        self, site: Site, bound: BoundClient
    ) -> None:
        listed = self.listing(bound)
        site.quay.configure(faults=[refusal(404, "/b/", times=1)])
        assert self.look_up(bound, listed, "b").tag is not None
        assert site.cost() == (2, 2)

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, AuthenticationError), (403, PermissionDeniedError), (404, NotFoundError)],
    )
    def test_a_second_refusal_is_a_failure(
        self, site: Site, bound: BoundClient, status: int, error: type[QuayAPIError]
    ) -> None:
        listed = self.listing(bound)
        site.quay.configure(faults=[refusal(status, "/b/")])
        with pytest.raises(error):
            self.look_up(bound, listed, "b")
        assert site.cost() == (2, 2)

    def test_concurrent_refusals_share_one_listing(self, site: Site, bound: BoundClient) -> None:
        listed = self.listing(bound)
        for name in listed:
            site.registry.delete_repository("kolla", name)
        site.registry.push("kolla", "z", "latest")
        site.quay.configure(latency=0.2)
        with ThreadPoolExecutor(len(listed)) as threads:
            looked_up = [threads.submit(self.look_up, bound, listed, name) for name in listed]
            assert [lookup.result(HANG_GUARD).tag for lookup in looked_up] == [None] * 8
        assert site.cost() == (2, 8)

    def test_a_run_requests_at_most_five_listings(self, site: Site, bound: BoundClient) -> None:
        listed = self.listing(bound)
        site.quay.configure(faults=[refusal(403, "/tag/")])
        for name in listed:
            with pytest.raises(PermissionDeniedError):
                self.look_up(bound, listed, name)
        assert site.cost() == (1 + MAX_LISTINGS, 5 * 2 + 3)

    def test_a_listing_that_fails_is_not_requested_again(
        self, site: Site, bound: BoundClient
    ) -> None:
        listed = self.listing(bound)
        unavailable = Fault(kind="status", status=503, endpoint="listing")
        site.quay.configure(faults=[unavailable, refusal(403, "/tag/")])
        for name in listed:
            with pytest.raises(PermissionDeniedError):
                self.look_up(bound, listed, name)
        assert site.cost() == (2, 8)


def test_a_namespace_that_was_emptied_is_listed_again_once(site: Site) -> None:
    token = "alice-token-1234567890"
    site.registry.add_user("alice", token, namespaces=["kolla"])
    site.registry.populate("kolla", 20)
    site.resolve(token=token)
    for number in range(20):
        site.registry.delete_repository("kolla", f"repository-{number:05}")
    run = site.resolve("quay://kolla/*:other", token=token, keep_going=True)
    assert len(run.resolution.failures) == 20
    assert run.cost == (1, 20)


class ReadOnlyStore(DiskStore):
    """A store that cannot be written, like one that belongs to another user."""

    def put_newer(self, entries: Mapping[Key, Entry], *, max_checked_at: float) -> None:
        pass

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        pass

    def discard_unlisted(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        pass


def test_a_read_only_cache_fails_no_run(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.registry.push("kolla", name, "latest")
    site.resolve()
    site.registry.delete_repository("kolla", "b")
    with (
        site.client() as client,
        CachedQuayClient(client, ReadOnlyStore(site.directory), POLICY) as cached,
    ):
        resolution = resolve(["quay://kolla/*:other"], client=cached)
    assert resolution.images == ()


def refusal(status: int, match: str, times: int | None = None) -> Fault:
    return Fault(kind="status", status=status, match=match, endpoint="tag", times=times)
