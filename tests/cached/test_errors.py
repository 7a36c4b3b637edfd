"""A cached client and a server that fails or refuses."""

from __future__ import annotations

import pytest

from quaycache import (
    Mode,
    NotStoredError,
    QuayAPIError,
)
from quaycache.testing import Fault
from tests.cached.conftest import MARGIN, MAX_AGE, POLICY, TTL, Site


class TestErrors:
    def test_stale_if_error_marks_stale_answers(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=503)])
        with pytest.raises(QuayAPIError):
            site.resolve()
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert [image.stale for image in run.resolution.images] == [True] * 5
        assert run.resolution.stats.stale == 5
        assert run.cost.tag == 0
        site.wait(100)
        with pytest.raises(QuayAPIError):
            site.resolve(policy=POLICY._replace(stale_if_error=100.0))

    def test_stale_if_error_for_the_tag_alone(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.registry.push("kolla", "repository-00003", "latest")
        site.quay.configure(faults=[Fault(kind="status", status=500, endpoint="tag")])
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert [image.stale for image in run.resolution.images] == [False] * 3 + [True, False]

    def test_stale_if_error_in_the_middle_of_a_walk(self, site: Site) -> None:
        site.registry.populate("kolla", 250)
        site.resolve()
        site.wait(TTL)
        broken = Fault(kind="status", status=502, match="next_page", endpoint="listing")
        site.quay.configure(faults=[broken])
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert len(run.resolution.images) == 250
        assert sum(image.stale for image in run.resolution.images) == 150

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_refused_listing_prevents_stale_answers(self, site: Site, status: int) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=status, endpoint="listing")])
        with pytest.raises(QuayAPIError):
            site.resolve(policy=POLICY._replace(stale_if_error=1e6))
        with pytest.raises(NotStoredError):
            site.resolve(policy=POLICY._replace(mode=Mode.OFFLINE))

    def test_answers_without_a_date_are_not_stored(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.quay.configure(date=False)
        assert site.resolve().cost == (1, 5)
        assert site.resolve().cost == (1, 5)

    @pytest.mark.parametrize("kind", ["drop", "reset"])
    def test_stale_if_error_when_the_connection_breaks(self, site: Site, kind: str) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind=kind)])  # type: ignore[arg-type]
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert run.resolution.stats.stale == 5

    def test_stale_if_error_when_the_server_refuses_for_too_long(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=429)])
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0), timeout=0.1)
        assert run.resolution.stats.stale == 5

    def test_no_tags_are_requested_after_a_failed_listing(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind="status", status=503, endpoint="listing")])
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert (run.cost.tag, run.resolution.stats.stale) == (0, 5)

    def test_a_validated_answer_is_stale_from_max_age_on(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.wait(MARGIN + 1)
        site.resolve()
        site.wait(MAX_AGE)
        site.quay.configure(faults=[Fault(kind="status", status=500, endpoint="tag")])
        run = site.resolve(policy=POLICY._replace(stale_if_error=100.0))
        assert run.resolution.stats.stale == 5
        site.wait(100)
        with pytest.raises(QuayAPIError):
            site.resolve(policy=POLICY._replace(stale_if_error=100.0))

    def test_a_refresh_ignores_stored_answers_after_an_error(self, site: Site) -> None:
        site.registry.populate("kolla", 5)
        site.resolve()
        policy = POLICY._replace(mode=Mode.REFRESH, stale_if_error=1e6)
        for endpoint in ("listing", "tag"):
            fault = Fault(kind="status", status=503, endpoint=endpoint)
            site.quay.configure(faults=[fault])
            with pytest.raises(QuayAPIError):
                site.resolve(policy=policy)

    @pytest.mark.parametrize("kind", ["invalid_json", "no_digest", "other_name"])
    def test_a_malformed_answer_removes_the_stored_answer(self, site: Site, kind: str) -> None:
        site.registry.push("kolla", "a", "latest")
        site.resolve()
        site.wait(TTL)
        site.quay.configure(faults=[Fault(kind=kind, endpoint="tag")])  # type: ignore[arg-type]
        with pytest.raises(QuayAPIError):
            site.resolve(policy=POLICY._replace(stale_if_error=1e6))
        with pytest.raises(NotStoredError):
            site.resolve(policy=POLICY._replace(mode=Mode.OFFLINE))

    def test_a_refusal_in_the_same_second_as_the_answer_counts_as_later(self, site: Site) -> None:
        site.registry.push("kolla", "a", "latest")
        site.resolve("quay://kolla/a:latest")
        # Minus its duration, the refusal seems older than the answer before it.
        refusal = Fault(kind="status", status=403, endpoint="tag")
        site.quay.configure(latency=0.3, faults=[refusal])
        with pytest.raises(QuayAPIError):
            site.resolve("quay://kolla/a:latest", policy=POLICY._replace(ttl=0.0))
        with pytest.raises(NotStoredError):
            site.resolve("quay://kolla/a:latest", policy=POLICY._replace(mode=Mode.OFFLINE))
