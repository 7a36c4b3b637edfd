"""What was asked, what came of it, and the one ordered `Resolution` of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from quaycache.model import Failure, Image, Provenance, Resolution, Stats

if TYPE_CHECKING:
    from quaycache.errors import QuayAPIError
    from quaycache.model import Tag, TagAnswer, Usage
    from quaycache.query import Query


class Identity(NamedTuple):
    """Whose view of a namespace; None is the client's own."""

    token: str | None
    namespace: str

    def __repr__(self) -> str:
        whose = "the client's own" if self.token is None else "a token's"
        return f"<Identity {whose} in {self.namespace}>"


class Asked(NamedTuple):
    """What is asked of each of many repositories: whether it carries a tag."""

    identity: Identity
    tag: str


class Question(NamedTuple):
    """Whether one repository carries one tag."""

    asked: Asked
    repository: str

    @property
    def path(self) -> str:
        """``namespace/repository``."""
        return f"{self.asked.identity.namespace}/{self.repository}"


class Check:
    """A question's way to its answer.

    Attributes:
        queries: who asks; each filters the answer by its own `since`.
        turn: counts how often it was asked: of a repository that is listed twice, the last wins.
        answer, error: what came of it; both None as long as nothing has.
    """

    __slots__ = ("answer", "error", "queries", "turn")

    def __init__(
        self, queries: tuple[Query, ...], turn: int = 0, answer: TagAnswer | None = None
    ) -> None:
        self.queries = queries
        self.turn = turn
        self.answer = answer
        self.error: QuayAPIError | None = None


def account(
    checks: Mapping[Asked, Mapping[str, Check]],
    failed_listings: Iterable[Failure],
    *,
    registry: str,
    repositories: int,
    usage: Usage,
    elapsed_s: float,
) -> Resolution:
    """The result of a resolve; a question without answer or error does not count.

    Args:
        checks: every question that was asked: by whom and what, then by repository.
        failed_listings: of whole namespaces.
        registry: in the images.
        repositories, usage, elapsed_s: as in `Stats`.
    """
    images: dict[tuple[str, str], Image] = {}
    failures = list(failed_listings)
    answered: list[Provenance] = []
    times: list[float] = []
    failed = 0
    for (identity, tag), by_repository in checks.items():
        for repository, check in by_repository.items():
            path = f"{identity.namespace}/{repository}"
            if check.error is not None:
                failed += 1
                failures.append(Failure(path, str(check.error)))
            elif check.answer is not None:
                found, checked_at, provenance = check.answer
                answered.append(provenance)
                if checked_at is not None:
                    times.append(checked_at)
                if found is not None and _is_wanted(found, check.queries):
                    stale = provenance is Provenance.STALE
                    images[path, tag] = Image(
                        registry,
                        path,
                        tag,
                        found.manifest_digest,
                        found.start_ts,
                        checked_at,
                        stale,
                    )
    counts = {kind.value: answered.count(kind) for kind in Provenance}
    return Resolution(
        images=tuple(sorted(images.values())),
        failures=tuple(sorted(failures, key=lambda failure: failure.repository)),
        stats=Stats(
            repositories=repositories,
            found=len(images),
            usage=usage,
            elapsed_s=elapsed_s,
            failed=failed,
            **counts,
        ),
        oldest_checked_at=min(times, default=None),
    )


def _is_wanted(tag: Tag, queries: Iterable[Query]) -> bool:
    return any(query.since is None or tag.start_ts >= query.since for query in queries)
