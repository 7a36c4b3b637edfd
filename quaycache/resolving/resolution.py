"""Builds one ordered `Resolution` from many lookups. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from quaycache.model import Failure, Image, Provenance, Resolution, Stats

if TYPE_CHECKING:
    from quaycache.model import Tag, Usage
    from quaycache.resolving.lookup import Lookup


def build_resolution(
    lookups: Iterable[Lookup],
    failed_listings: Iterable[Failure],
    *,
    registry: str,
    repositories: int,
    usage: Usage,
    elapsed_s: float,
) -> Resolution:
    """Return the result of a resolve; a lookup without an answer or an error does not count.

    Args:
        lookups: Every lookup, one for each target and repository.
        failed_listings: Failures of whole namespaces.
        registry: The registry's name in an image reference.
        repositories: As in `Stats`.
        usage: As in `Stats`.
        elapsed_s: As in `Stats`.
    """
    best: dict[tuple[str, str], Lookup] = {}
    duplicates: dict[tuple[str, str], list[Lookup]] = {}
    failures = list(failed_listings)
    answered: list[Provenance] = []
    times: list[float] = []
    failed = 0
    for lookup in lookups:
        if lookup.error is not None:
            failed += 1
            failures.append(Failure(lookup.path, str(lookup.error)))
        elif (answer := lookup.answer) is not None:
            answered.append(answer.provenance)
            if answer.checked_at is not None:
                times.append(answer.checked_at)
            name = (lookup.path, lookup.target.tag)
            before = best.setdefault(name, lookup)
            if before is not lookup:
                # Several identities see the same repository, and so the same tag.
                best[name] = max(before, lookup, key=_rank)
                duplicates.setdefault(name, [before]).append(lookup)
    images = [
        Image(
            registry,
            name[0],
            name[1],
            lookup.answer.tag.manifest_digest,
            lookup.answer.tag.start_ts,
            lookup.answer.checked_at,
            lookup.answer.provenance is Provenance.STALE,
        )
        for name, lookup in best.items()
        if lookup.answer is not None
        and lookup.answer.tag is not None
        and _is_wanted(lookup.answer.tag, duplicates.get(name, (lookup,)))
    ]
    counts = {kind.value: answered.count(kind) for kind in Provenance}
    return Resolution(
        images=tuple(sorted(images)),
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


def _rank(lookup: Lookup) -> tuple[bool, bool, float]:
    """Return what orders two identities' answers for one tag.

    An identity that may not see the repository says nothing about its tags. Of the others, a stale
    answer never wins, then the newer one does.
    """
    answer = lookup.answer
    # Without a Date from the server, an answer has no time; it was requested in this run.
    checked_at = math.inf if answer is None or answer.checked_at is None else answer.checked_at
    is_listed = answer is not None and answer.is_listed
    is_current = answer is not None and answer.provenance is not Provenance.STALE
    return is_listed, is_current, checked_at


def _is_wanted(tag: Tag, lookups: Iterable[Lookup]) -> bool:
    for lookup in lookups:
        for query in lookup.queries:
            if query.since is None or tag.start_ts >= query.since:
                return True
    return False
