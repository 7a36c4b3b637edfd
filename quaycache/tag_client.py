"""What a resolve needs of a client."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quaycache.model import Listed, ListingPage, Repository, TagAnswer
    from quaycache.run import Run


class BoundClient(Protocol):
    """A client within one run, asking in one name."""

    @property
    def identity(self) -> str:
        """Whose view it is: the same for two clients that get the same answers."""

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """The namespace's repositories, page by page as they arrive."""

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """Whether a repository that nobody listed carries a tag, if that needs no request."""

    def known_answers(
        self, namespace: str, tag: str, repositories: Iterable[Repository], page: ListingPage
    ) -> dict[str, TagAnswer]:
        """Which of a page's repositories carry a tag, by name; those that need no request."""

    def claim(
        self,
        namespace: str,
        tag: str,
        repositories: Mapping[str, Listed | None],
        *,
        seconds: float,
    ) -> Collection[str]:
        """Say that these repositories are about to be asked about.

        Those that somebody else has just said the same of are returned: they are better asked about
        a little later, when the answers may be known.

        Args:
            repositories: and how they were listed; None if they were not.
            seconds: that asking about them may take.
        """

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Whether a repository carries a tag."""


class TagClient(Protocol):
    """What a resolve needs of a client; with or without a cache, it cannot tell."""

    @property
    def registry(self) -> str:
        """The registry's name in an image reference."""

    def bound(self, run: Run, token: str | None = None) -> BoundClient:
        """This client within `run`, asking in the name of `token` if that is given."""
