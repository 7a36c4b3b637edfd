"""Whose turn it is: the questions that wait for a worker, in an order by chance.

Runs that start together on one cache share the work: each goes about it in an order of its own,
looks before it asks what others have stored meanwhile, and leaves for later what another has just
said that it would ask.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from quaycache.lazy_logger import LazyLogger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from quaycache.account import Question
    from quaycache.model import Listed
    from quaycache.run import Run
    from quaycache.tag_client import BoundClient

LOG = LazyLogger(__name__)

# So many are looked up at once, and asked right after.
_HAND: Final = 16

# A claim holds for some time more than the last hand took.
_CLAIM_SECONDS: Final = 2.0
_CLAIM_FACTOR: Final = 3.0
_MAX_CLAIM_SECONDS: Final = 30.0

_PAUSE_SECONDS: Final = 0.05

# What looking, and waiting for others, may take in a run: seconds, and a share of all its time.
# Others may be stuck, or lie, and a store may be slow: then a run is on its own.
_PATIENCE_SECONDS: Final = 5.0
_PATIENCE_SHARE: Final = 0.2


class Request(NamedTuple):
    """A question that waits for a worker.

    Attributes:
        turn: how often the question was asked before, because it was listed again.
        listed: what the listing says of the repository; None if it was not listed.
    """

    client: BoundClient
    question: Question
    turn: int
    listed: Listed | None


class Turns:
    """Thread-safe.

    Args:
        run: whose cancellation ends every pause.
        workers: that take turns.
    """

    def __init__(self, run: Run, workers: int) -> None:
        self._run = run
        self._size = min(_HAND, workers)
        self._adding = threading.Lock()
        self._waiting: list[Request] = []
        self._taking = threading.Lock()
        self._hand: list[Request] = []
        self._left_to_others: list[Request] = []
        self._shares = True
        self._began = self._dealt = self._spent = 0.0

    def add(self, request: Request) -> None:
        """Let a question wait."""
        with self._adding:
            self._waiting.append(request)

    def take(self) -> Request:
        """A question to be asked now; as many can be taken as were added."""
        with self._taking:
            if not self._began:
                self._began = self._dealt = time.monotonic()
            while not self._hand:
                began = time.monotonic()
                if not self._waiting:
                    self._wait_for_others()
                self._deal(began - self._dealt)
                self._dealt = time.monotonic()
                self._spent += self._dealt - began
                patience = _PATIENCE_SECONDS + _PATIENCE_SHARE * (self._dealt - self._began)
                if self._spent > patience or self._run.cancelled.is_set():
                    self._shares = False
            return self._hand.pop()

    def _deal(self, last_took: float) -> None:
        """Look up some questions, and take in hand those that nobody else is about to ask."""
        by_tag: dict[tuple[BoundClient, str, str], dict[str, Request]] = {}
        for request in self._drawn():
            (identity, tag), repository = request.question.asked, request.question.repository
            of = by_tag.setdefault((request.client, identity.namespace, tag), {})
            if repository in of:  # it was listed twice
                self._hand.append(of[repository])
            of[repository] = request
        seconds = min(max(_CLAIM_SECONDS, _CLAIM_FACTOR * last_took), _MAX_CLAIM_SECONDS)
        for (client, namespace, tag), requests in by_tag.items():
            others: Collection[str] = ()
            if self._shares:
                listed = {repository: request.listed for repository, request in requests.items()}
                others = _claimed_by_others(client, namespace, tag, listed, seconds)
            for repository, request in requests.items():
                (self._left_to_others if repository in others else self._hand).append(request)

    def _drawn(self) -> list[Request]:
        from random import randrange

        with self._adding:
            waiting = self._waiting
            return [
                waiting.pop(randrange(len(waiting)))  # noqa: S311 - no secret
                for _ in range(min(self._size, len(waiting)))
            ]

    def _wait_for_others(self) -> None:
        if self._shares:
            self._run.cancelled.wait(_PAUSE_SECONDS)
        with self._adding:
            self._waiting += self._left_to_others
        self._left_to_others = []


def _claimed_by_others(
    client: BoundClient,
    namespace: str,
    tag: str,
    listed: Mapping[str, Listed | None],
    seconds: float,
) -> Collection[str]:
    try:
        return client.claim(namespace, tag, listed, seconds=seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is, the questions are asked
        LOG.info("%s cannot be claimed: %s", namespace, type(error).__name__)
        return ()
