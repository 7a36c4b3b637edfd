"""Events in a repository, and the result of the next run."""

from __future__ import annotations

import logging

import pytest

from quaycache import (
    AuthenticationError,
    DiskStore,
    Mode,
    NotStoredError,
    PermissionDeniedError,
    Policy,
    QuayAPIError,
)
from quaycache.store.keys import AnswerKey
from quaycache.testing import Fault
from tests.cached.conftest import MARGIN, MAX_AGE, POLICY, TTL, URI, Site


class TestRegistryEvents:
    """Events of a tag, and the result of the next run after the ttl."""

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

    def test_an_unlisted_repository_is_removed_for_every_tag(self, warm: Site) -> None:
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

    def test_404_on_a_listed_repository_is_a_failure_and_removes_its_answer(
        self, warm: Site
    ) -> None:
        warm.registry.push("kolla", "a", "latest")
        missing = Fault(kind="status", status=404, match="/a/", endpoint="tag")
        warm.quay.configure(faults=[missing])
        policy = POLICY._replace(stale_if_error=1e6)
        run = warm.resolve(policy=policy, keep_going=True)
        assert [failure.repository for failure in run.resolution.failures] == ["kolla/a"]
        offline = warm.resolve(policy=POLICY._replace(mode=Mode.OFFLINE), keep_going=True)
        assert [failure.repository for failure in offline.resolution.failures] == ["kolla/a"]

    def test_an_empty_listing_removes_nothing(self, warm: Site) -> None:
        for name in ("a", "b"):
            warm.registry.set_public("kolla", name, False)
        assert self.found(warm) == []
        for name in ("a", "b"):
            warm.registry.set_public("kolla", name, True)
        run = warm.resolve()
        assert run.cost == (1, 0)
        assert len(run.resolution.images) == 2

    def test_an_incomplete_walk_removes_and_stores_nothing(self, site: Site) -> None:
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

    def test_an_unlisted_repository_is_removed_without_an_earlier_listing(self, site: Site) -> None:
        for name in ("a", "b"):
            site.registry.push("kolla", name, "latest")
        by_name = "quay://kolla/a:latest"
        site.resolve(by_name)
        site.registry.set_public("kolla", "a", False)
        site.resolve("quay://kolla/*:other")
        with pytest.raises(AuthenticationError):
            site.resolve(by_name)

    def test_a_refresh_removes_unlisted_repositories(self, warm: Site) -> None:
        warm.registry.set_public("kolla", "a", False)
        assert self.found(warm, POLICY._replace(mode=Mode.REFRESH)) == ["b"]
        offline = POLICY._replace(mode=Mode.OFFLINE)
        with pytest.raises(NotStoredError):
            warm.resolve("quay://kolla/a:latest", policy=offline)

    @pytest.mark.parametrize("uris", [[URI], ["quay://kolla/a:latest", URI]])
    def test_404_on_a_listed_repository_is_retried(self, site: Site, uris: list[str]) -> None:
        site.registry.push("kolla", "a", "latest")
        missing = Fault(kind="status", status=404, times=1, endpoint="tag")
        site.quay.configure(faults=[missing])
        run = site.resolve(*uris, retries=1)
        assert [image.repository for image in run.resolution.images] == ["kolla/a"]
        assert run.cost.tag == 2

    def test_a_newer_listing_answers_a_full_name(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        by_name = "quay://kolla/a:latest"
        assert len(site.resolve(by_name).resolution.images) == 1
        site.wait(10)
        site.registry.delete_tag("kolla", "a", "latest")
        site.resolve("quay://kolla/*:other")
        run = site.resolve(by_name)
        assert (run.resolution.images, run.cost) == ((), (0, 0))
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=503)])
        for policy in (
            POLICY._replace(mode=Mode.OFFLINE),
            POLICY._replace(stale_if_error=1e6),
        ):
            assert site.resolve(by_name, policy=policy).resolution.images == ()

    def test_a_repository_deleted_since_the_stored_listing_is_not_a_failure(
        self, site: Site
    ) -> None:
        for name in ("a", "b", "c"):
            site.registry.push("kolla", name, "latest")
        site.resolve("quay://kolla/*:other")
        site.registry.delete_repository("kolla", "a")
        site.registry.set_public("kolla", "b", False)
        run = site.resolve()
        assert [image.repository for image in run.resolution.images] == ["kolla/c"]
        # After a refusal that is later than the listing, the namespace is listed again.
        assert run.cost.tag == 3
        assert run.cost.listing in (1, 2)
        assert site.resolve().cost == (0, 0)

    def test_a_refused_repository_that_is_still_listed_is_a_failure(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        site.resolve("quay://kolla/*:other")
        refusal = Fault(kind="status", status=403, endpoint="tag")
        site.quay.configure(faults=[refusal])
        with pytest.raises(PermissionDeniedError):
            site.resolve()


def test_the_log_states_why_an_answer_is_requested(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "quaycache")
    site.registry.push("kolla", "a", "latest")
    site.wait(MARGIN + 10)
    site.resolve()
    assert "kolla/a:latest is requested: nothing is stored" in caplog.text
    site.wait(MAX_AGE)
    site.resolve()
    assert "kolla/a:latest is requested: the stored answer is past max-age" in caplog.text
