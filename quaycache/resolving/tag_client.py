"""The interface between a resolve and a client, with or without a cache."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quaycache.model import Listed, ListingPage, Repository, TagAnswer
    from quaycache.run import Run


class BoundClient(Protocol):
    """A client within one run and for one identity. Thread-safe."""

    @property
    def identity(self) -> str:
        """The identity of the caller; two clients with the same identity get the same answers."""

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield the repositories of a namespace, page by page as they arrive."""

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """Return the answer for a repository that was not listed, if it needs no request."""

    def known_answers(
        self, namespace: str, tag: str, repositories: Iterable[Repository], page: ListingPage
    ) -> dict[str, TagAnswer]:
        """Return the answers for repositories of a page that need no request, by repository."""

    def claim(
        self,
        namespace: str,
        tag: str,
        repositories: Mapping[str, Listed | None],
        *,
        seconds: float,
    ) -> Collection[str]:
        """Claim repositories that are about to be looked up.

        Returns:
            The repositories that another run has claimed. It is better to look them up a little
            later, when their answers may be stored.

        Args:
            namespace: The repositories' namespace.
            tag: The tag to look up.
            repositories: The repositories, and how each was listed; None if it was not listed.
            seconds: How long the lookups may take.
        """

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return whether a repository carries a tag."""


class TagClient(Protocol):
    """The type of the client that `quaycache.resolve` takes."""

    @property
    def registry(self) -> str:
        """The registry's name in an image reference."""

    def bound(self, run: Run, token: str | None = None) -> BoundClient:
        """Return this client within a run; *token*, if given, is sent instead of its own."""
