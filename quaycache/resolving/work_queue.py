"""The randomized queue of pending lookups.

Runs that start together on one cache share the work: each shuffles independently, checks what
other runs have stored before it sends a request, and defers what another run has claimed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from quaycache._lazy import LazyLogger
from quaycache.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Collection

    from quaycache.resolving.lookup import Lookup, Target
    from quaycache.resolving.tag_client import BoundClient
    from quaycache.run import Run

LOG = LazyLogger(__name__)

# How many lookups are claimed at once, and then made.
_BATCH_SIZE: Final = 16

# A claim lasts longer than the last batch took.
_CLAIM_SECONDS: Final = 2.0
_CLAIM_FACTOR: Final = 3.0
_MAX_CLAIM_SECONDS: Final = 30.0

_PAUSE_SECONDS: Final = 0.05

# The time that a run may spend on claims and on waiting for other runs: seconds, and a share of its
# elapsed time. Other runs may hang or lie, and a store may be slow; then a run goes on alone.
_WAIT_BUDGET_SECONDS: Final = 5.0
_WAIT_BUDGET_SHARE: Final = 0.2


class WorkQueue:
    """The lookups of one run that wait for a worker. Thread-safe.

    Args:
        run: Its cancellation ends every pause.
        workers: How many threads take lookups.
    """

    def __init__(self, run: Run, workers: int) -> None:
        self._run = run
        self._batch_size = min(_BATCH_SIZE, workers)
        self._putting = threading.Lock()
        self._waiting: list[Lookup] = []
        self._getting = threading.Lock()
        self._batch: list[Lookup] = []
        self._deferred: list[Lookup] = []
        self._coordinating = True
        self._started_at = self._filled_at = self._wait_spent = 0.0

    def put(self, lookup: Lookup) -> None:
        """Add a lookup."""
        with self._putting:
            self._waiting.append(lookup)

    def get(self) -> Lookup:
        """Return a lookup to be made now; there are as many as were put.

        Raises:
            Cancelled: If the run is cancelled, and none is ready.
        """
        with self._getting:
            if not self._started_at:
                self._started_at = self._filled_at = time.monotonic()
            while not self._batch:
                began = time.monotonic()
                if not self._waiting:
                    self._wait_for_others()
                self._fill_batch(began - self._filled_at)
                self._filled_at = time.monotonic()
                self._wait_spent += self._filled_at - began
                elapsed = self._filled_at - self._started_at
                budget = _WAIT_BUDGET_SECONDS + _WAIT_BUDGET_SHARE * elapsed
                if self._run.cancelled.is_set() and not self._batch:
                    raise Cancelled("cancelled")
                if self._wait_spent > budget:
                    self._coordinating = False
            return self._batch.pop()

    def _fill_batch(self, last_took: float) -> None:
        """Claim some lookups, and defer those that another run has claimed."""
        groups: dict[tuple[BoundClient, Target], dict[str, Lookup]] = {}
        for lookup in self._sample():
            group = groups.setdefault((lookup.client, lookup.target), {})
            if lookup.repository in group:  # it was listed twice
                self._batch.append(group[lookup.repository])
            group[lookup.repository] = lookup
        seconds = min(max(_CLAIM_SECONDS, _CLAIM_FACTOR * last_took), _MAX_CLAIM_SECONDS)
        for (client, target), group in groups.items():
            claimed = _claim(client, target, group, seconds) if self._coordinating else ()
            for repository, lookup in group.items():
                (self._deferred if repository in claimed else self._batch).append(lookup)

    def _sample(self) -> list[Lookup]:
        from random import randrange

        with self._putting:
            waiting = self._waiting
            return [
                waiting.pop(randrange(len(waiting)))  # noqa: S311 - no secret
                for _ in range(min(self._batch_size, len(waiting)))
            ]

    def _wait_for_others(self) -> None:
        if self._coordinating:
            self._run.cancelled.wait(_PAUSE_SECONDS)
        with self._putting:
            self._waiting += self._deferred
        self._deferred = []


def _claim(
    client: BoundClient, target: Target, lookups: dict[str, Lookup], seconds: float
) -> Collection[str]:
    """Claim lookups; return the repositories that another run has claimed already."""
    listed = {repository: lookup.listed for repository, lookup in lookups.items()}
    try:
        return set(client.claim(target.namespace, target.tag, listed, seconds=seconds))
    except Exception as error:  # noqa: BLE001 - whatever it is, the lookups are made
        LOG.info("%s cannot be claimed: %s", target.namespace, type(error).__name__)
        return ()
