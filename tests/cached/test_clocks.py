"""Clocks that are set, and servers that do not know the time."""

from __future__ import annotations

import pytest

from quaycache import Mode, NotStoredError
from tests.cached.conftest import MARGIN, POLICY, TTL, URI, Site


class TestClocks:
    def test_local_clock_set_back_to_before_the_entries(self, site: Site) -> None:
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

    def test_an_answer_from_the_future_is_ignored(self, site: Site) -> None:
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

    def test_an_answer_from_the_future_is_ignored_offline(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.move_local_clock(-86_400 * 365 * 30)
        for uri in (URI, "quay://kolla/repository-00001:latest"):
            with pytest.raises(NotStoredError):
                site.resolve(uri, policy=POLICY._replace(mode=Mode.OFFLINE))

    def test_no_answer_is_fresh_with_ttl_0(self, site: Site) -> None:
        policy = POLICY._replace(ttl=0.0)
        for letter in "abc":
            digest = f"sha256:{letter * 64}"
            site.registry.push("kolla", "a", "latest", digest)
            # The listing's time is its date, in whole seconds, less what it took.
            site.quay.configure(latency=0.3 if letter == "b" else 0.0)
            run = site.resolve(policy=policy)
            assert [image.digest for image in run.resolution.images] == [digest]

    def test_a_listing_past_retention_is_not_used(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        policy = POLICY._replace(ttl=1e6, max_age=1e6, retention=1000.0)
        assert site.resolve(policy=policy).cost == (1, 5)
        site.wait(999)
        assert site.resolve(policy=policy).cost == (0, 0)
        site.wait(2)
        assert site.resolve(policy=policy).cost == (1, 5)
