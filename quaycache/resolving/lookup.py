"""What one resolve asks: one record for each tag of each repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from quaycache.errors import QuayAPIError
    from quaycache.model import Listed, TagAnswer
    from quaycache.query import Query
    from quaycache.resolving.tag_client import BoundClient


class Target(NamedTuple):
    """What is asked of each of many repositories.

    Attributes:
        identity: Whose view it is, as of `BoundClient.identity`.
        namespace: The repositories' namespace.
        tag: The tag that they may carry.
    """

    identity: str
    namespace: str
    tag: str


class Lookup:
    """Whether one repository carries one tag, and what has come of the question.

    Only the thread that called `quaycache.resolve` writes to it.

    Attributes:
        client: Asks in the target's name.
        target: The tag, and whose view it is.
        repository: The name within the namespace.
        listed: What the listing says of the repository; None if it was not listed.
        queries: The queries that want to know; each filters the answer by its own `since`.
        answer: The answer; None as long as there is none.
        error: The failure; None as long as there is none.
        reported: Whether a listener was told that the question is decided.
        superseded: Whether the repository was listed again: another lookup has taken its place.
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
