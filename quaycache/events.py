"""What a resolve tells a listener while it runs.

Every event reaches the listener in the thread that called `quaycache.resolve`, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from quaycache.lazy_logger import LazyLogger
    from quaycache.model import TagAnswer


class PageListed(NamedTuple):
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


class ChecksPlanned(NamedTuple):
    """More questions are wanted than before.

    Attributes:
        total: questions so far, decided ones included.
        complete: whether every listing has been read, so that `total` is final.
    """

    total: int
    complete: bool


class Checked(NamedTuple):
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


def logged(listener: Listener, logger: LazyLogger) -> Listener:
    """`listener`, with a line in the log for each question that is decided."""

    def listen(event: Event, /) -> None:
        if isinstance(event, Checked):
            logger.debug("%s:%s: %s", event.repository, event.tag, _said(event.answer))
        listener(event)

    return listen


def _said(answer: TagAnswer | None) -> str:
    if answer is None:
        return "no answer"
    said = "absent" if answer.tag is None else answer.tag.manifest_digest
    return f"{said} ({answer.provenance.value})"
