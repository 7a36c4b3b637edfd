"""The rules that decide which answers need no request. Pure: no I/O and no clock.

The terms are RFC 9111's: an answer is *fresh* within its freshness lifetime, *stale* after it, and
*validated* when a listing proves that it still holds. The validator is Quay's ``last_modified`` of
a repository: the newest start of any alive tag, floored to seconds; null if no tag is alive.

- A null proves that every tag is absent.
- A value older than an answer proves that nothing was pushed since. An absent tag is still absent,
  and a present tag has the same digest if it still exists. The value never proves that it exists,
  because deleting a tag other than the newest does not change it. An age limit bounds that error.
- A value that is merely unchanged proves nothing: deleting the newest tag moves it back, and two
  pushes may share a second.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from quaycache.errors import SettingsError
from quaycache.model import UNKNOWN, Provenance, TagAnswer

if TYPE_CHECKING:
    from quaycache.model import LastModified, Listed, StoredAnswer, StoredListing

_DAY: Final = 86400.0


class Mode(enum.Enum):
    """How a resolve uses a store."""

    NORMAL = "normal"
    REFRESH = "refresh"
    OFFLINE = "offline"


class _PolicyFields(NamedTuple):
    ttl: float
    max_age: float
    margin: float
    stale_if_error: float
    retention: float
    mode: Mode


class Policy(_PolicyFields):
    """How old an answer may be. All durations are in seconds.

    Attributes:
        ttl: The freshness lifetime: within it, an answer or a listing costs no request.
        max_age: The age from which a present tag is requested again, even if the listing shows no
            change.
        margin: The allowance for the lag of clocks, replicas and commits. An answer that was
            checked less than this after a push to its repository cannot be validated.
        stale_if_error: How long past its freshness lifetime an answer is served if the server
            fails.
        retention: The age after which an answer counts as never stored.
        mode: NORMAL; REFRESH, which ignores stored answers and stores new ones; or OFFLINE, which
            sends no request and serves stored answers up to `retention`.

    Raises:
        SettingsError: If a duration is not a number, negative or not finite; or if `mode` is not a
            `Mode`.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - documented by the class
        cls,
        ttl: float = 300.0,
        max_age: float = _DAY,
        margin: float = 120.0,
        stale_if_error: float = 0.0,
        retention: float = 30 * _DAY,
        mode: Mode = Mode.NORMAL,
    ) -> Policy:
        policy = super().__new__(cls, ttl, max_age, margin, stale_if_error, retention, mode)
        for name, seconds in zip(cls._fields[:-1], policy, strict=False):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise SettingsError(f"{name} must be a number of seconds")
            if not 0 <= seconds < math.inf:
                raise SettingsError(f"{name} must be 0 seconds or more, and finite")
        if not isinstance(mode, Mode):
            raise SettingsError("mode must be a member of quaycache.Mode")
        return policy

    def _replace(self, **changes: Any) -> Policy:
        return Policy(**{**self._asdict(), **changes})


class Moment(NamedTuple):
    """The time of a decision, seconds UTC.

    Attributes:
        local: Local time; apart from `store`, it serves only to recognise impossible times.
        server: The latest time that the server has stated in this run; None if it has stated none.
        store: The store's clock, which counts the age of an entry; None means local time.
    """

    local: float
    server: float | None = None
    store: float | None = None

    def age(self, entry: StoredAnswer | StoredListing) -> float:
        """Return the seconds since an entry was requested; negative if the clock was set back."""
        return (self.local if self.store is None else self.store) - entry.stored_at


def latest_possible(policy: Policy, now: Moment) -> float:
    """Return the latest ``checked_at`` that can be true.

    A later one means that a clock was wrong or the entry was forged. It would never age, and would
    win every merge.
    """
    if now.server is not None:
        return now.server + policy.margin
    # Either clock may have been wrong when it was read.
    return max(now.local, now.local if now.store is None else now.store) + _DAY


def fresh_or_validated(
    stored: StoredAnswer | None, listed: Listed | None, policy: Policy, now: Moment
) -> TagAnswer | None:
    """Return the answer if it needs no request, else None.

    Args:
        stored: None if nothing is stored.
        listed: The repository's row in the current listing; None without a listing or a row.
        policy: How old an answer may be; its mode is up to the caller.
        now: The time of the decision.
    """
    if stored is not None and stored.checked_at <= latest_possible(policy, now):
        age = age_of(stored, listed, now)
        if age is not None and age <= policy.retention and _may_exist(stored, age, policy):
            if age < policy.ttl and not contradicts(listed, stored):
                return TagAnswer(stored.tag, stored.checked_at, Provenance.FRESH)
            if listed is not None and _validates(listed, stored, policy):
                provenance = _downgrade_if_stale(listed, Provenance.VALIDATED)
                return TagAnswer(stored.tag, stored.checked_at, provenance)
        if not _listing_newer(listed, stored):
            return None
    if listed is not None and listed.last_modified is None:
        return TagAnswer(None, listed.checked_at, _downgrade_if_stale(listed, Provenance.PROVEN))
    return None


def usable_if_error(
    stored: StoredAnswer | None, listed: Listed | None, policy: Policy, now: Moment
) -> TagAnswer | None:
    """Return the stale answer that may be served because the server failed (RFC 5861, section 4).

    `Policy.stale_if_error` counts from the end of the freshness lifetime: from `Policy.ttl`, or
    from `Policy.max_age` if a listing validates the answer apart from its age.
    """
    if (
        stored is None
        or not policy.stale_if_error
        or stored.checked_at > latest_possible(policy, now)
        or _tag_deleted(listed, stored)
    ):
        return None
    age = age_of(stored, listed, now)
    if age is None or has_expired(stored, age):
        return None
    lifetime = policy.ttl
    if listed is not None and _validates(listed, stored, policy):
        lifetime = max(lifetime, policy.max_age)
    if age >= min(lifetime + policy.stale_if_error, policy.retention):
        return None
    return TagAnswer(stored.tag, stored.checked_at, Provenance.STALE)


def usable_offline(
    stored: StoredAnswer | None, listed: Listed | None, policy: Policy, now: Moment
) -> TagAnswer | None:
    """Return the answer that may be served offline, else None."""
    answer = fresh_or_validated(stored, listed, policy, now)
    if (
        answer is not None
        or stored is None
        or stored.checked_at > latest_possible(policy, now)
        or _tag_deleted(listed, stored)
    ):
        return answer
    age = max(0.0, now.age(stored))
    if age > policy.retention or has_expired(stored, age):
        return None
    return TagAnswer(stored.tag, stored.checked_at, Provenance.STALE)


def listing_is_fresh(listing: StoredListing, policy: Policy, now: Moment) -> bool:
    """Return whether a stored listing may replace a walk."""
    return _listing_age_below(policy.ttl, listing, policy, now)


def listing_usable_if_error(listing: StoredListing, policy: Policy, now: Moment) -> bool:
    """Return whether a stored listing may be used because the server failed."""
    if not policy.stale_if_error:
        return False
    return _listing_age_below(policy.ttl + policy.stale_if_error, listing, policy, now)


def listing_usable_offline(listing: StoredListing, policy: Policy, now: Moment) -> bool:
    """Return whether a stored listing may be used offline."""
    is_possible = listing.checked_at <= latest_possible(policy, now)
    return is_possible and now.age(listing) <= policy.retention


def worth_keeping(entry: StoredAnswer | StoredListing, policy: Policy, now: Moment) -> bool:
    """Return whether an entry may still be used: within retention, with possible times."""
    age = now.age(entry)
    return -_DAY <= age <= policy.retention and entry.checked_at <= latest_possible(policy, now)


def older_than(last_modified: LastModified, since: float | None) -> bool:
    """Return whether no tag of a listed repository can have been set at *since* or later."""
    return (
        since is not None
        and last_modified is not None
        and last_modified is not UNKNOWN
        and last_modified < since
    )


def contradicts(listed: Listed | None, answer: StoredAnswer | TagAnswer) -> bool:
    """Return whether a listing shows that something has happened to a repository since an answer.

    A start later than the answer is proof regardless of the listing's own time, which is only a
    lower bound on when the server generated the listing.
    """
    if listed is None or listed.last_modified is UNKNOWN:
        return False
    if listed.last_modified is not None and answer.checked_at is not None:
        # HTTP dates have a resolution of one second.
        lead = listed.last_modified - answer.checked_at
        if lead >= 0 and (lead > 1 or _listing_newer(listed, answer)):
            return True
    return _tag_deleted(listed, answer)


def age_of(stored: StoredAnswer, listed: Listed | None, now: Moment) -> float | None:
    """Return the age in seconds; None if the local clock was set back to before the storing.

    With a fetched listing, both times are the server's. A later time that the server has stated
    counts as well, so answers also age during a long run.
    """
    if (
        listed is not None
        and listed.provenance is Provenance.FETCHED
        and listed.checked_at is not None
    ):
        # Dates are in whole seconds: an answer may seem newer than a listing fetched after it.
        age = max(0.0, listed.checked_at - stored.checked_at)
    else:
        age = now.age(stored)
        if age < 0:
            return None
    return age if now.server is None else max(age, now.server - stored.checked_at)


def _may_exist(stored: StoredAnswer, age: float, policy: Policy) -> bool:
    """Return whether a present tag may still exist, which no listing ever proves."""
    return stored.tag is None or (age < policy.max_age and not has_expired(stored, age))


def has_expired(stored: StoredAnswer, age: float) -> bool:
    """Return whether a present tag has reached its expiry, which may have been changed since."""
    return (
        stored.tag is not None
        and stored.tag.end_ts is not None
        and stored.checked_at + age >= stored.tag.end_ts
    )


def _listing_newer(listed: Listed | None, answer: StoredAnswer | TagAnswer) -> bool:
    """Return whether a listing is newer by more than the resolution of HTTP dates."""
    return listed is not None and (
        listed.checked_at is None
        or (answer.checked_at is not None and listed.checked_at > answer.checked_at + 1)
    )


def _tag_deleted(listed: Listed | None, answer: StoredAnswer | TagAnswer) -> bool:
    """Return whether a newer listing shows that a tag was deleted: all alive tags are older."""
    return (
        listed is not None
        and answer.tag is not None
        and listed.last_modified is not UNKNOWN
        and (listed.last_modified is None or listed.last_modified < answer.tag.start_ts)
        and _listing_newer(listed, answer)
    )


def _validates(listed: Listed, stored: StoredAnswer, policy: Policy) -> bool:
    """Return whether a listing validates an answer; it never proves that a tag still exists."""
    if listed.checked_at is not None:
        # During a walk, an answer may be somewhat newer than the page that validates it.
        slack = policy.margin if listed.provenance is Provenance.FETCHED else 0.0
        if listed.checked_at < stored.checked_at - slack:
            return False
    last_modified = listed.last_modified
    if last_modified is None:
        return stored.tag is None
    return (
        last_modified is not UNKNOWN
        and last_modified < stored.checked_at - policy.margin
        and (stored.tag is None or stored.tag.start_ts <= last_modified)
    )


def _downgrade_if_stale(listed: Listed, provenance: Provenance) -> Provenance:
    """Return the provenance of a proof; a proof by a stale listing is stale."""
    return Provenance.STALE if listed.provenance is Provenance.STALE else provenance


def _listing_age_below(limit: float, listing: StoredListing, policy: Policy, now: Moment) -> bool:
    is_possible = listing.checked_at <= latest_possible(policy, now)
    return is_possible and 0 <= now.age(listing) < min(limit, policy.retention)
