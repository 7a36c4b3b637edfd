"""Objects that start again in a forked child.

A child inherits locks that no thread of its own will ever release, and work in progress that no
thread of its own will ever finish.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from typing import Protocol

    class Resettable(Protocol):
        """An object that a forked child cannot use as it is."""

        def reset_after_fork(self) -> None:
            """Replace the locks, and drop the work that belongs to the parent's threads."""


_OBJECTS: Final[WeakSet[Resettable]] = WeakSet()


def reset_in_children(resettable: Resettable) -> None:
    """Call the object's `reset_after_fork` in every child forked while the object is alive."""
    _OBJECTS.add(resettable)


def _reset_all() -> None:
    for resettable in list(_OBJECTS):
        resettable.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all)
