"""Slow listeners, and listeners that resolve."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from quaycache import resolve
from quaycache.events import Event, PageListed
from tests.cached.conftest import URI, Site
from tests.conftest import HANG_GUARD


def test_listeners_that_list_each_others_namespace_do_not_deadlock(site: Site) -> None:
    for namespace in ("kolla", "stackhpc"):
        site.registry.populate(namespace, 101)
    both_walk = threading.Barrier(2)
    with site.client() as client, site.cached(client) as cached, ThreadPoolExecutor(2) as threads:

        def run(own: str, other: str) -> int:
            nested: list[int] = []

            def listen(event: Event) -> None:
                if isinstance(event, PageListed) and event.page == 1:
                    both_walk.wait(HANG_GUARD)
                    nested.append(len(resolve([f"quay://{other}"], client=cached).images))

            resolution = resolve([f"quay://{own}"], client=cached, on_event=listen)
            return len(resolution.images) + sum(nested)

        runs = [
            threads.submit(run, "kolla", "stackhpc"),
            threads.submit(run, "stackhpc", "kolla"),
        ]
        assert [run.result(HANG_GUARD) for run in runs] == [202, 202]


def test_a_slow_listener_delays_no_other_run(site: Site) -> None:
    site.registry.populate("kolla", 101)
    paused, go_on = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, PageListed) and event.page == 1:
            paused.set()
            assert go_on.wait(HANG_GUARD)

    with site.client() as client, site.cached(client) as cached, ThreadPoolExecutor(2) as threads:
        slow = threads.submit(resolve, [URI], client=cached, on_event=listen)
        assert paused.wait(HANG_GUARD)
        other = threads.submit(resolve, [URI], client=cached)
        assert len(other.result(HANG_GUARD).images) == 101
        go_on.set()
        assert len(slow.result(HANG_GUARD).images) == 101
    assert site.cost() == (2, 101)
