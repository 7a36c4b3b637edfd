"""Drops what was stored longer ago than the retention, a slice of the rows at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from quaycache.store.plans import Changes

if TYPE_CHECKING:
    from quaycache.store.reader import Reader

# Ten rows are looked at for each that is written, so that what is too old gets less and less; a
# hundred writes take longer than a look at a thousand rows.
_WRITES_PER_SLICE: Final = 100
_SLICE: Final = 1000


class Expiry:
    """Plans what to drop. A database of up to a slice is looked at as a whole.

    In a larger one each session begins somewhere else: short runs, too, get everywhere in time.

    Args:
        retention: seconds.
    """

    def __init__(self, retention: float) -> None:
        self._retention = retention
        self._after: int | None = None
        self._writes = _WRITES_PER_SLICE

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next slice; it is before the first write."""
        return self._writes >= _WRITES_PER_SLICE

    def count(self, writes: int) -> None:
        """Note that so many rows were written."""
        self._writes += writes

    def plan(self, reader: Reader) -> Changes:
        """Return what to drop of the next slice."""
        self._writes = 0
        if self._after is None:
            self._after = reader.random_place(_SLICE)
        moment = time.time() - self._retention
        keys, self._after = reader.stored_before(moment, self._after, _SLICE)
        return Changes(drop=keys)
