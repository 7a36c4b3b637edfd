"""The choice of a fault for a request."""

from __future__ import annotations

import random
from collections.abc import Iterable

from quaycache.testing.routing import Endpoint
from quaycache.testing.settings import Fault


class FaultPlan:
    """The configured faults, with the remaining `times` of each."""

    def __init__(self, faults: Iterable[Fault], rng: random.Random) -> None:
        self._faults = [(fault, [fault.times]) for fault in faults]
        self._rng = rng

    def draw(self, endpoint: Endpoint, target: str) -> Fault | None:
        """Return the fault that happens to a request, or None; count it against its `times`."""
        for fault, left in self._faults:
            if fault.endpoint not in (None, endpoint.value) or fault.match not in target:
                continue
            if left[0] == 0 or not self._happens(fault):
                continue
            if left[0] is not None:
                left[0] -= 1
            return fault
        return None

    def _happens(self, fault: Fault) -> bool:
        return fault.probability == 1 or self._rng.random() < fault.probability
