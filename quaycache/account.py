"""What was asked, what came of it, and the one ordered `Resolution` of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


class Question(NamedTuple):
    """Whether one repository carries one tag."""

    identity: Identity
    repository: str
    tag: str

    @property
    def path(self) -> str:
        """``namespace/repository``."""
        return f"{self.identity.namespace}/{self.repository}"


@dataclass(slots=True)
class Check:
    """A question's way to its answer.

    Attributes:
        queries: who asks; each filters the answer by its own `since`.
        turn: counts how often it was asked: of a repository that is listed twice, the last wins.
    """

    queries: list[Query]
    turn: int = 0
    answer: TagAnswer | None = None
    error: QuayAPIError | None = None


def account(
    checks: Mapping[Question, Check],
    failed_listings: Iterable[Failure],
    *,
    registry: str,
    repositories: int,
    usage: Usage,
    elapsed_s: float,
) -> Resolution:
    """The result of a resolve; a question without answer or error does not count.

    Args:
        checks: every question that was asked.
        failed_listings: of whole namespaces.
        registry: in the images.
        repositories, usage, elapsed_s: as in `Stats`.
    """
    images: dict[tuple[str, str], Image] = {}
    failures = list(failed_listings)
    answered: list[Provenance] = []
    times: list[float] = []
    failed = 0
    for question, check in checks.items():
        answer = check.answer
        if check.error is not None:
            failed += 1
            failures.append(Failure(question.path, str(check.error)))
        elif answer is not None:
            answered.append(answer.provenance)
            if answer.checked_at is not None:
                times.append(answer.checked_at)
            if answer.tag is not None and _is_wanted(answer.tag, check.queries):
                path = question.path
                images[path, question.tag] = _image(registry, path, answer.tag, answer)
    counts = {kind.value: answered.count(kind) for kind in Provenance}
    return Resolution(
        images=tuple(images[key] for key in sorted(images)),
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


def _is_wanted(tag: Tag, queries: list[Query]) -> bool:
    return any(query.since is None or tag.start_ts >= query.since for query in queries)


def _image(registry: str, path: str, tag: Tag, answer: TagAnswer) -> Image:
    return Image(
        registry,
        path,
        tag.name,
        tag.manifest_digest,
        tag.start_ts,
        answer.checked_at,
        answer.provenance is Provenance.STALE,
    )
