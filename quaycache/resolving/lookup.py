"""The lookups of one resolve: one record for each tag of each repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quaycache.errors import QuayAPIError
    from quaycache.model import Listed, TagAnswer
    from quaycache.query import Query
    from quaycache.resolving.tag_client import BoundClient


class Target(NamedTuple):
    """The part of a lookup that many repositories share.

    Attributes:
        identity: The identity of the client, as in `BoundClient.identity`.
        namespace: The namespace of the repositories.
        tag: The tag to look up.
    """

    identity: str
    namespace: str
    tag: str


class Lookup:
    """The lookup of one tag in one repository, and its outcome.

    Only the thread that called `quaycache.resolve` writes to it.

    Attributes:
        client: The client that makes the lookup.
        target: The identity, the namespace and the tag.
        repository: The name within the namespace.
        listed: The repository's row in the listing; None if it was not listed.
        queries: The queries that need the answer; each filters it by its own `since`.
        answer: The answer; None until it arrives.
        error: The failure; None unless the lookup has failed.
        reported: Whether `Checked` was emitted for the repository.
        superseded: Whether the repository was listed again, so that this lookup no longer counts.
    """

    __slots__ = (
        "answer",
        "client",
        "error",
        "listed",
        "queries",
        "reported",
        "repository",
        "superseded",
        "target",
    )

    def __init__(
        self,
        client: BoundClient,
        target: Target,
        repository: str,
        listed: Listed | None,
        queries: tuple[Query, ...],
        answer: TagAnswer | None,
    ) -> None:
        self.client = client
        self.target = target
        self.repository = repository
        self.listed = listed
        self.queries = queries
        self.answer = answer
        self.error: QuayAPIError | None = None
        self.reported = False
        self.superseded = False

    @property
    def path(self) -> str:
        """``namespace/repository``."""
        return f"{self.target.namespace}/{self.repository}"
