"""Whose turn it is, with a client that knows what others have claimed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import cast

import pytest

from quaycache.account import Asked, Identity, Question
from quaycache.model import Listed
from quaycache.run import Run
from quaycache.tag_client import BoundClient
from quaycache.turns import Request, Turns

NAMES = [f"r{number:02}" for number in range(40)]


class Client:
    """Says of some repositories, so many times, that others have claimed them."""

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


def waiting(client: object, run: Run, workers: int = 4, names: Collection[str] = NAMES) -> Turns:
    turns = Turns(run, workers)
    asked = Asked(Identity(None, "kolla"), "v1")
    for name in names:
        question = Question(asked, name)
        turns.add(Request(cast("BoundClient", client), question, 0, None))
    return turns


def test_each_has_one_turn_in_an_order_by_chance() -> None:
    orders = []
    for _ in range(2):
        turns = waiting(Client(), Run())
        orders.append([turns.take().question.repository for _ in NAMES])
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == len(NAMES)
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("workers", "size"), [(1, 1), (4, 4), (64, 16)])
def test_no_more_are_looked_up_than_are_asked_right_after(workers: int, size: int) -> None:
    client = Client()
    turns = waiting(client, Run(), workers)
    turns.take()
    assert [len(look) for look in client.looks] == [size]


def test_a_repository_that_was_listed_twice_has_two_turns() -> None:
    turns = waiting(Client(), Run(), names=["r01", "r02", "r01", "r01"])
    taken = [turns.take().question.repository for _ in range(4)]
    assert sorted(taken) == ["r01", "r01", "r01", "r02"]


def test_what_others_have_claimed_comes_last() -> None:
    client = Client("r03", "r07")
    turns = waiting(client, Run())
    order = [turns.take().question.repository for _ in NAMES]
    assert sorted(order[-2:]) == ["r03", "r07"]
    assert set(client.others.values()) == {0}


def test_others_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quaycache.turns._PATIENCE_SECONDS", 0.1)
    turns = waiting(Client(*NAMES, times=1_000_000), Run())
    assert len({turns.take() for _ in NAMES}) == len(NAMES)


def test_who_is_cancelled_does_not_wait() -> None:
    run = Run()
    turns = waiting(Client(*NAMES, times=1_000_000), run)
    taken: list[Request] = []
    worker = threading.Thread(target=lambda: taken.append(turns.take()))
    worker.start()
    run.cancel()
    worker.join(5)
    assert len(taken) == 1


def test_a_claim_that_fails_is_no_trouble() -> None:
    class Broken:
        def claim(self, *_: object, **__: object) -> Collection[str]:
            raise MemoryError

    turns = waiting(Broken(), Run())
    assert len({turns.take() for _ in NAMES}) == len(NAMES)
