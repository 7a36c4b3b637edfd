"""The contents of a store for users: names of entries, globs, sums by namespace. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from quaycache.api_base import parse_api_base
from quaycache.freshness import worth_keeping
from quaycache.model import StoredAnswer, StoredListing
from quaycache.store.keys import AnswerKey

if TYPE_CHECKING:
    from quaycache.freshness import Moment, Policy
    from quaycache.store.keys import Key, Scope
    from quaycache.store.protocol import Row


class NamespaceSummary(NamedTuple):
    """A summary of what is stored for one namespace and identity.

    Attributes:
        identity: ``anon``, or the digest of a token.
        repositories: The number of repositories in the stored listing; None without a listing.
        answers: The number of stored answers.
        present: The number of answers with a tag.
        size: The size of keys and values, in bytes.
        oldest, newest: The range of ``checked_at``, in seconds UTC; None if no entry is valid.
    """

    registry: str
    namespace: str
    identity: str
    repositories: int | None
    answers: int
    present: int
    size: int
    oldest: float | None
    newest: float | None


def entry_name(key: Key) -> str:
    """Return ``quay.io/kolla/nova-api:v1`` for an answer, ``quay.io/kolla`` for a listing."""
    name = f"{registry_of(key.scope)}/{key.scope.namespace}"
    return f"{name}/{key.repository}:{key.tag}" if isinstance(key, AnswerKey) else name


def registry_of(scope: Scope) -> str:
    """Return the registry's name in an image reference."""
    return parse_api_base(scope.api_base).registry


def matches(key: Key, glob: str) -> bool:
    """Return whether an entry's name matches with or without its registry; ``*`` crosses ``/``."""
    name = entry_name(key)
    without_registry = name.removeprefix(f"{registry_of(key.scope)}/")
    return fnmatchcase(name, glob) or fnmatchcase(without_registry, glob)


def summarize(rows: Iterable[Row]) -> list[NamespaceSummary]:
    """Return a summary for each namespace and identity, in the order of the keys."""
    groups: dict[Scope, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key.scope, []).append(row)
    return [_summary(scope, group) for scope, group in groups.items()]


def keep_predicate(
    rows: Iterable[Row], policy: Policy, now: Moment, *, strict: bool
) -> Callable[[Row], bool]:
    """Return a predicate for the rows that a prune keeps: valid ones within the retention.

    Args:
        rows: All rows of the store.
        policy: The policy with the retention and, for `strict`, the ``max_age``.
        now: The current time; the local clock suffices.
        strict: Whether to drop present answers past ``max_age`` as well, and the answers of
            repositories that a newer listing of their namespace does not contain.
    """
    listings = {row.key.scope: row.entry for row in rows if isinstance(row.entry, StoredListing)}

    def keep(row: Row) -> bool:
        entry = row.entry
        if entry is None or not worth_keeping(entry, policy, now):
            return False
        if not strict or not isinstance(entry, StoredAnswer) or not isinstance(row.key, AnswerKey):
            return True
        if entry.tag is not None and now.age(entry) >= policy.max_age:
            return False
        listing = listings.get(row.key.scope)
        return (
            listing is None
            or row.key.repository in listing.repositories
            or entry.checked_at > listing.checked_at
        )

    return keep


def _summary(scope: Scope, rows: list[Row]) -> NamespaceSummary:
    entries = [row.entry for row in rows if row.entry is not None]
    answers = [entry for entry in entries if isinstance(entry, StoredAnswer)]
    listings = [entry for entry in entries if isinstance(entry, StoredListing)]
    times = [entry.checked_at for entry in entries]
    return NamespaceSummary(
        registry=registry_of(scope),
        namespace=scope.namespace,
        identity=scope.identity,
        repositories=len(listings[0].repositories) if listings else None,
        answers=len(answers),
        present=sum(answer.tag is not None for answer in answers),
        size=sum(row.size for row in rows),
        oldest=min(times, default=None),
        newest=max(times, default=None),
    )
