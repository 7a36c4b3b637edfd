"""Explains why an answer is requested. Pure; `quaycache.freshness` makes the decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache.freshness import age_of, contradicts, has_expired, latest_possible
from quaycache.model import UNKNOWN

if TYPE_CHECKING:
    from quaycache.freshness import Moment, Policy
    from quaycache.model import Listed, StoredAnswer


def reason_for_request(
    stored: StoredAnswer | None, listed: Listed | None, policy: Policy, now: Moment
) -> str:
    """Return why `quaycache.freshness.fresh_or_validated` returns None for the same arguments.

    If several rules reject the stored answer, the first of them is named.
    """
    if stored is None:
        return "nothing is stored"
    age = age_of(stored, listed, now)
    if stored.checked_at > latest_possible(policy, now):
        return "the stored answer is from the future"
    if age is None:
        return "the local clock was set back since the answer was stored"
    if age > policy.retention:
        return f"the stored answer is past retention (age {age:.0f} s)"
    if contradicts(listed, stored):
        return "the repository has changed since the stored answer was checked"
    if has_expired(stored, age):
        return "the tag has expired since the stored answer was checked"
    if stored.tag is not None and age >= policy.max_age:
        return f"the stored answer is past max-age (age {age:.0f} s, limit {policy.max_age:.0f} s)"
    return f"the stored answer is past the ttl (age {age:.0f} s), and {_not_validated(listed)}"


def _not_validated(listed: Listed | None) -> str:
    if listed is None:
        return "no listing is available"
    if listed.last_modified is UNKNOWN:
        return "the listing does not state last_modified"
    return "the repository changed inside the margin before it was checked"
