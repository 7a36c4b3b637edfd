"""Dropping entries that are past the retention, one slice of the rows at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from quaycache.store.disk.plans import Changes

if TYPE_CHECKING:
    from quaycache.store.disk.reader import Reader

# Ten rows are checked for each row that is written, so that old entries disappear faster than new
# ones come. Checking a thousand rows takes less time than writing a hundred.
_WRITES_PER_SLICE: Final = 100
_SLICE: Final = 1000


class Expiry:
    """Plans what to drop. One slice covers a small database.

    In a large one each session starts at a random row, so that short runs cover everything in time.

    Args:
        retention: Seconds after which an entry is dropped.
    """

    def __init__(self, retention: float) -> None:
        self._retention = retention
        self._after: int | None = None
        self._writes = _WRITES_PER_SLICE

    @property
    def is_due(self) -> bool:
        """Whether the next slice is due; the first one is due before the first write."""
        return self._writes >= _WRITES_PER_SLICE

    def count(self, writes: int) -> None:
        """Count the rows that were written."""
        self._writes += writes

    def plan(self, reader: Reader) -> Changes:
        """Return the old entries of the next slice as rows to drop."""
        self._writes = 0
        if self._after is None:
            self._after = reader.random_place(_SLICE)
        moment = time.time() - self._retention
        keys, self._after = reader.stored_before(moment, self._after, _SLICE)
        return Changes(drop=keys)
