"""Lookups in, one ordered `Resolution` out."""

from __future__ import annotations

from typing import cast

import pytest

from quaycache import Provenance, Query, Resolution, Usage
from quaycache.model import Tag, TagAnswer
from quaycache.resolving.lookup import Lookup, Target
from quaycache.resolving.resolution import build_resolution
from quaycache.resolving.tag_client import BoundClient

FETCHED, FRESH, STALE = Provenance.FETCHED, Provenance.FRESH, Provenance.STALE


def lookup(identity: str, answer: TagAnswer, since: int | None = None) -> Lookup:
    """Return the lookup of the same tag by one identity."""
    query = Query("kolla", "*", "v1", since)
    target = Target(identity, "kolla", "v1")
    return Lookup(cast("BoundClient", None), target, "a", None, (query,), answer)


def answer(
    digit: str | None, checked_at: float | None, provenance: Provenance = FETCHED
) -> TagAnswer:
    tag = None if digit is None else Tag("v1", "sha256:" + digit * 64, 100, None)
    return TagAnswer(tag, checked_at, provenance)


def resolution_of(*lookups: Lookup) -> Resolution:
    return build_resolution(
        lookups, [], registry="quay.io", repositories=1, usage=Usage(), elapsed_s=0.0
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (answer("1", 10.0), answer("2", 20.0), "2"),
        (answer("1", 10.0, FRESH), answer("2", 20.0, FRESH), "2"),
        # Without a time, the answer was requested just now.
        (answer("1", 10.0, FRESH), answer("2", None), "2"),
        # A stale answer never wins over any other, whatever its time.
        (answer("1", 20.0, STALE), answer("2", 10.0, FRESH), "2"),
        # Both see the same tag: the newer answer says that it is gone.
        (answer("1", 10.0, FRESH), answer(None, 20.0), None),
        (answer(None, 10.0, FRESH), answer("2", 20.0), "2"),
        # One of them no longer sees the repository: it may be hidden, and the tag still there.
        (answer(None, 20.0)._replace(is_listed=False), answer("2", 10.0), "2"),
    ],
)
def test_the_newer_answer_of_two_identities_counts(
    one: TagAnswer, other: TagAnswer, expected: str | None
) -> None:
    for lookups in (
        (lookup("anon", one), lookup("token", other)),
        (lookup("token", other), lookup("anon", one)),
    ):
        resolution = resolution_of(*lookups)
        assert [image.digest[7] for image in resolution.images] == ([expected] if expected else [])
        assert [image.stale for image in resolution.images] == ([False] if expected else [])
        assert (resolution.stats.matched, resolution.stats.found) == (2, 1 if expected else 0)


def test_each_query_filters_by_its_own_since() -> None:
    newer = lookup("token", answer("2", 20.0), since=101)
    assert resolution_of(newer).images == ()
    assert len(resolution_of(newer, lookup("anon", answer("1", 10.0))).images) == 1
