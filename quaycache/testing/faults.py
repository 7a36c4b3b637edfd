"""Which fault befalls which request."""

from __future__ import annotations

import random
from collections.abc import Iterable

from quaycache.testing.routing import Endpoint
from quaycache.testing.settings import Fault


class FaultPlan:
    """The faults that are set, and how often each has still to happen."""

    def __init__(self, faults: Iterable[Fault], chance: random.Random) -> None:
        self._faults = [(fault, [fault.times]) for fault in faults]
        self._chance = chance

    def draw(self, endpoint: Endpoint, target: str) -> Fault | None:
        """The fault of a request to `target`, or None; a drawn fault has happened once."""
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
        return fault.probability == 1 or self._chance.random() < fault.probability
