"""The events that a resolve sends to a listener while it runs.

The listener is called in the thread that called `quaycache.resolve`, with one event at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from quaycache._lazy import LazyLogger
    from quaycache.model import TagAnswer


class PageListed(NamedTuple):
    """A page of a namespace's listing has arrived.

    Attributes:
        namespace: The namespace of the listing.
        page: The number of the page, counted from 1.
        repositories: The number of repositories on this page.
        last: Whether this is the last page of the listing.
    """

    namespace: str
    page: int
    repositories: int
    last: bool


class ChecksPlanned(NamedTuple):
    """The number of planned lookups has changed.

    Attributes:
        total: Lookups planned so far, including completed ones.
        complete: Whether every listing has been read, so that `total` is final.
    """

    total: int
    complete: bool


class Checked(NamedTuple):
    """A lookup has been completed.

    Attributes:
        repository: ``namespace/repository``.
        tag: The name of the tag.
        answer: The answer, or None if the lookup failed.
    """

    repository: str
    tag: str
    answer: TagAnswer | None


Event = PageListed | ChecksPlanned | Checked


class Listener(Protocol):
    """A callable that receives each event. An exception that it raises ends the resolve."""

    def __call__(self, event: Event, /) -> None:
        """Handle one event; the resolve continues when this returns."""


def logged(listener: Listener, logger: LazyLogger) -> Listener:
    """Return a listener that logs each completed lookup and then calls *listener*."""

    def listen(event: Event, /) -> None:
        if isinstance(event, Checked):
            logger.debug("%s:%s: %s", event.repository, event.tag, _format(event.answer))
        listener(event)

    return listen


def _format(answer: TagAnswer | None) -> str:
    if answer is None:
        return "no answer"
    result = "absent" if answer.tag is None else answer.tag.manifest_digest
    return f"{result} ({answer.provenance.value})"
