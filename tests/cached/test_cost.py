"""The requests of each kind of run, counted at the server."""

from __future__ import annotations

import pytest

from quaycache import (
    Mode,
    resolve_quay_uri,
)
from quaycache.testing import Fault
from tests.cached.conftest import MAX_AGE, POLICY, TTL, Site


class TestCost:
    """P pages of a listing, n repositories, k changed since."""

    @pytest.mark.parametrize("n", [1000, pytest.param(5000, marks=pytest.mark.slow)])
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

    def test_a_recent_push_is_looked_up_again_until_the_margin_has_passed(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        assert site.resolve().cost == (1, 1)
        assert site.resolve().cost == (0, 0)
        site.wait(TTL)
        assert site.resolve().cost == (1, 1)
        site.wait(TTL)
        assert site.resolve().cost == (1, 0)

    def test_full_name_needs_one_request(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        uri = "quay://kolla/a:latest"
        assert site.resolve(uri).cost == (0, 1)
        assert site.resolve(uri).cost == (0, 0)
        site.wait(TTL)
        assert site.resolve(uri).cost == (0, 1)

    def test_full_name_is_absent_by_the_stored_listing(self, site: Site) -> None:
        site.registry.create_repository("kolla", "empty")
        site.registry.push("kolla", "a", "latest")
        site.resolve()
        assert site.resolve("quay://kolla/empty:latest").cost == (0, 0)
        # A missing row proves nothing: the repository may be newer than the listing.
        site.registry.push("kolla", "new", "latest")
        run = site.resolve("quay://kolla/new:latest")
        assert (run.cost, len(run.resolution.images)) == ((0, 1), 1)

    def test_refresh_looks_up_and_stores_everything(self, site: Site) -> None:
        site.registry.populate("kolla", 20)
        site.resolve()
        assert site.resolve(policy=POLICY._replace(mode=Mode.REFRESH)).cost == (1, 20)
        site.wait(TTL - 1)
        site.resolve(policy=POLICY._replace(mode=Mode.REFRESH))
        site.wait(TTL - 1)
        assert site.resolve().cost == (0, 0)

    def test_ttl_0_validates_every_time(self, site: Site) -> None:
        site.registry.populate("kolla", 20)
        policy = POLICY._replace(ttl=0.0)
        assert site.resolve(policy=policy).cost == (1, 20)
        assert site.resolve(policy=policy).cost == (1, 0)

    def test_a_failed_run_has_stored_its_answers(self, site: Site) -> None:
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
