"""What a resolve tells a listener while it runs.

Every event reaches the listener in the thread that called `quaycache.resolve`, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quaycache.model import TagAnswer


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page of a namespace's listing has come.

    Attributes:
        page: counted from 1.
        repositories: repositories on this page.
        last: whether the walk is complete.
    """

    namespace: str
    page: int
    repositories: int
    last: bool


@dataclass(frozen=True, slots=True)
class ChecksPlanned:
    """More questions are wanted than before.

    Attributes:
        total: questions so far, decided ones included.
        complete: whether every listing has been read, so that `total` is final.
    """

    total: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """One question is decided.

    Attributes:
        repository: ``namespace/repository``.
        answer: None if it failed.
    """

    repository: str
    tag: str
    answer: TagAnswer | None


Event = PageListed | ChecksPlanned | Checked


class Listener(Protocol):
    """Anything that can be called with an event. What it raises ends the resolve."""

    def __call__(self, event: Event, /) -> None:
        """Take note of one event; the resolve waits meanwhile."""
