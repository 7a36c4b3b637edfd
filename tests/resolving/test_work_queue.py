"""The queue of pending lookups, with a client that reports claims of other runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from quaycache.errors import Cancelled
from quaycache.model import Listed
from quaycache.resolving.lookup import Lookup, Target
from quaycache.resolving.tag_client import BoundClient
from quaycache.resolving.work_queue import WorkQueue
from quaycache.run import Run
from tests.conftest import HANG_GUARD

NAMES = [f"r{number:02}" for number in range(40)]


class Client:
    """A client that reports some repositories as claimed elsewhere, a number of times."""

    def __init__(self, *others: str, times: int = 3) -> None:
        self.others = dict.fromkeys(others, times)
        self.looks: list[list[str]] = []

    def claim(
        self,
        namespace: str,
        tag: str,
        repositories: Mapping[str, Listed | None],
        *,
        seconds: float,
    ) -> Collection[str]:
        assert seconds == 2
        assert (namespace, tag) == ("kolla", "v1")
        self.looks.append(list(repositories))
        found = [name for name in repositories if self.others.get(name)]
        for name in found:
            self.others[name] -= 1
        return found


def queue_of(
    client: object, run: Run, workers: int = 4, names: Collection[str] = NAMES
) -> WorkQueue:
    queue = WorkQueue(run, workers)
    for name in names:
        target = Target("anon", "kolla", "v1")
        queue.put(Lookup(cast("BoundClient", client), target, name, None, (), None))
    return queue


def test_each_lookup_comes_once_and_in_random_order() -> None:
    orders = []
    for _ in range(2):
        queue = queue_of(Client(), Run())
        orders.append([queue.get().repository for _ in NAMES])
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == len(NAMES)
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (4, 4), (64, 16)])
def test_no_more_lookups_are_claimed_than_are_made_next(workers: int, size: int) -> None:
    client = Client()
    queue_of(client, Run(), workers).get()
    assert [len(look) for look in client.looks] == [size]


def test_a_repository_that_was_listed_twice_comes_twice() -> None:
    queue = queue_of(Client(), Run(), names=["r01", "r02", "r01", "r01"])
    assert sorted(queue.get().repository for _ in range(4)) == ["r01", "r01", "r01", "r02"]


def test_lookups_claimed_by_other_runs_come_last() -> None:
    client = Client("r03", "r07")
    queue = queue_of(client, Run())
    order = [queue.get().repository for _ in NAMES]
    assert sorted(order[-2:]) == ["r03", "r07"]
    assert set(client.others.values()) == {0}


def test_the_wait_for_other_runs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quaycache.resolving.work_queue._WAIT_BUDGET_SECONDS", 0.1)
    queue = queue_of(Client(*NAMES, times=1_000_000), Run())
    assert len({queue.get() for _ in NAMES}) == len(NAMES)


def test_a_cancelled_run_does_not_wait() -> None:
    run = Run()
    queue = queue_of(Client(*NAMES, times=1_000_000), run)
    with ThreadPoolExecutor(1) as threads:
        worker = threads.submit(queue.get)
        run.cancel()
        assert isinstance(worker.exception(HANG_GUARD), Cancelled)


@pytest.mark.parametrize("outcome", [MemoryError(), None, 7])
def test_a_claim_that_fails_defers_nothing(outcome: object) -> None:
    class Broken:
        def claim(self, *_: object, **__: object) -> object:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    queue = queue_of(Broken(), Run())
    assert len({queue.get() for _ in NAMES}) == len(NAMES)
