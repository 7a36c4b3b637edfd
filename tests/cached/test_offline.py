"""Offline mode sends no request, and serves every stored answer."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from quaycache import (
    Mode,
    NotStoredError,
)
from tests.cached.conftest import MAX_AGE, POLICY, Site


class TestOffline:
    OFFLINE = POLICY._replace(mode=Mode.OFFLINE)

    def test_offline_finds_every_stored_answer(self, site: Site) -> None:
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

    def test_an_expired_tag_is_missing(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest", lifetime=100.0)
        site.resolve()
        site.wait(101)
        with pytest.raises(NotStoredError):
            site.resolve(policy=self.OFFLINE)

    def test_wildcard_and_full_name_agree_with_since(self, site: Site) -> None:
        """The stored answer is newer than the stored listing, whose ``last_modified`` is older."""
        site.registry.push("kolla", "a", "latest")
        site.resolve("quay://kolla/*:other")
        site.wait(86_400)
        since = f"{datetime.fromtimestamp(site.registry.now(), timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        site.registry.push("kolla", "a", "latest")
        site.resolve("quay://kolla/a:latest")
        for glob in ("a", "*"):
            run = site.resolve(f"quay://kolla/{glob}:latest?since={since}", policy=self.OFFLINE)
            assert [image.repository for image in run.resolution.images] == ["kolla/a"]
            assert run.resolution.stats.matched == 1
