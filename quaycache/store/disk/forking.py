"""Forks: every store closes its files first, so that a child inherits no open database.

SQLite keeps a process's locks on a database in memory. A child takes its parent's locks for its
own: it then loses what it writes, and can damage the file.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from typing import Protocol

    class Forkable(Protocol):
        """An object with open files."""

        def _close_before_fork(self) -> bool:
            """Close the files and block their use; return whether that succeeded."""

        def _resume_after_fork(self) -> None:
            """Allow the use of the files again, in the parent."""

        def _reset_after_fork(self) -> None:
            """Forget the parent's files and locks, in the child."""


class _Closed(threading.local):
    """The stores that the forking thread has closed."""

    def __init__(self) -> None:
        self.stores: list[Forkable] = []


_closed: Final = _Closed()
_stores: Final[WeakValueDictionary[int, Forkable]] = WeakValueDictionary()


def close_at_fork(store: Forkable) -> None:
    """Have the store close its files before each fork, for as long as it exists."""
    _stores[id(store)] = store


def _existing() -> list[Forkable]:
    # One atomic copy: other threads may register stores at the same time.
    return [store for reference in _stores.valuerefs() if (store := reference()) is not None]


def _before() -> None:
    # Sorted, so that two threads that fork at the same time do not block each other.
    stores = sorted(_existing(), key=id)
    _closed.stores = [store for store in stores if store._close_before_fork()]


def _after_in_parent() -> None:
    stores, _closed.stores = _closed.stores, []
    for store in stores:
        store._resume_after_fork()


def _after_in_child() -> None:
    _closed.stores = []
    for store in _existing():
        store._reset_after_fork()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
