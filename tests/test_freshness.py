"""The rules of freshness, one row each: what is stored, what the listing says, what follows."""

from __future__ import annotations

import math

import pytest

from quaycache.cached.reasons import reason_for_request
from quaycache.errors import SettingsError
from quaycache.freshness import (
    Moment,
    Policy,
    fresh_or_validated,
    latest_possible,
    listing_is_fresh,
    listing_usable_if_error,
    listing_usable_offline,
    older_than,
    usable_if_error,
    usable_offline,
    worth_keeping,
)
from quaycache.model import (
    UNKNOWN,
    LastModified,
    Listed,
    Provenance,
    StoredAnswer,
    StoredListing,
    Tag,
    TagAnswer,
)

# The server's clock is some hours ahead of the local one: a rule that mixes them up is wrong here.
SERVER = 1_795_000_000.0
LOCAL = SERVER - 10_000.0

TTL, MAX_AGE, MARGIN, RETENTION = 300.0, 86_400.0, 120.0, 2_592_000.0
POLICY = Policy(ttl=TTL, max_age=MAX_AGE, margin=MARGIN, retention=RETENTION)

DIGEST = "sha256:" + "a" * 64
START = int(SERVER) - 5_000_000

FRESH, VALIDATED, PROVEN, STALE = (
    Provenance.FRESH,
    Provenance.VALIDATED,
    Provenance.PROVEN,
    Provenance.STALE,
)


def absent(age: float) -> StoredAnswer:
    """An absent answer, checked and stored `age` seconds ago."""
    return StoredAnswer(None, SERVER - age, LOCAL - age)


def present(age: float, end_ts: int | None = None, start_ts: int = START) -> StoredAnswer:
    return StoredAnswer(Tag("v1", DIGEST, start_ts, end_ts), SERVER - age, LOCAL - age)


def fetched(last_modified: LastModified) -> Listed:
    """The repository in a listing that was walked at this moment."""
    return Listed(last_modified, SERVER, Provenance.FETCHED)


def stored(last_modified: LastModified, age: float = 10.0) -> Listed:
    """The repository in a stored listing that is fresh."""
    return Listed(last_modified, SERVER - age, FRESH)


def provenance(answer: TagAnswer | None) -> Provenance | None:
    return None if answer is None else answer.provenance


def before_check(answer: StoredAnswer, seconds: float) -> int:
    """A ``last_modified`` so long before an answer was checked."""
    return int(answer.checked_at - seconds)


A, P = absent, present
OLD = START - 1000  # older than the tag's start
MID = START + 1000  # newer than it, and long before any check below


@pytest.mark.parametrize(
    ("answer", "listed", "expected"),
    [
        # Nothing stored: only null proves anything, and a missing key is not null.
        (None, None, None),
        (None, fetched(None), PROVEN),
        (None, stored(None), PROVEN),
        (None, fetched(MID), None),
        (None, fetched(UNKNOWN), None),
        # Fresh, by the age alone or beside a listing that does not contradict.
        (A(TTL - 1), None, FRESH),
        (A(TTL), None, None),
        (P(TTL - 1), None, FRESH),
        (P(TTL), None, None),
        (A(TTL - 1), fetched(UNKNOWN), FRESH),
        (A(TTL), fetched(UNKNOWN), None),
        (P(TTL - 1), fetched(MID), FRESH),
        # A newer listing contradicts: something was pushed at the check or after it...
        (A(100), fetched(before_check(A(100), 0)), None),
        (A(100), fetched(before_check(A(100), -50)), None),
        (P(100), fetched(before_check(P(100), 0)), None),
        # ... but not within a second of it, which an HTTP date cannot tell.
        (A(0.5), fetched(before_check(A(0.5), -1)), FRESH),
        # ... or before it by less than the margin, which a fresh answer survives.
        (A(100), fetched(before_check(A(100), 1)), FRESH),
        # ... or the tag is gone: what is alive is older, or nothing is.
        (P(100), fetched(OLD), None),
        (P(100), fetched(None), PROVEN),
        # A listing that is older than the answer contradicts nothing.
        (P(5), stored(None, age=10), FRESH),
        (P(5), stored(OLD, age=10), FRESH),
        # Absent, validated: null, or older than the check by more than the margin; at any age.
        (A(TTL), fetched(None), VALIDATED),
        (A(TTL), fetched(MID), VALIDATED),
        (A(RETENTION), fetched(MID), VALIDATED),
        (A(1000), fetched(before_check(A(1000), MARGIN + 1)), VALIDATED),
        (A(1000), fetched(before_check(A(1000), MARGIN)), None),
        (A(1000), fetched(before_check(A(1000), 1)), None),
        (A(1000), fetched(before_check(A(1000), -1)), None),
        (A(RETENTION + 1), fetched(0), None),
        # Present, validated: and not older than the tag, nor past max_age, nor past its expiry.
        (P(TTL), fetched(MID), VALIDATED),
        (P(TTL), fetched(START), VALIDATED),
        (P(TTL), fetched(OLD), None),
        (P(1000), fetched(before_check(P(1000), MARGIN)), None),
        (P(MAX_AGE - 1), fetched(MID), VALIDATED),
        (P(MAX_AGE), fetched(MID), None),
        (P(1000, end_ts=int(SERVER) + 1), fetched(MID), VALIDATED),
        (P(1000, end_ts=int(SERVER)), fetched(MID), None),
        (P(10, end_ts=int(SERVER) + 1), None, FRESH),
        (P(10, end_ts=int(SERVER)), None, None),
        # A stored listing that is fresh validates too, but not what was checked after it.
        (A(TTL), stored(MID), VALIDATED),
        (P(TTL), stored(MID), VALIDATED),
        (A(10)._replace(stored_at=LOCAL - TTL), stored(MID, age=20), None),
        # Nor does its null say anything of what was checked after it.
        (P(10)._replace(stored_at=LOCAL - TTL), stored(None, age=20), None),
        # A listing of an unknown time was walked at this moment; ages are the local clock's.
        (A(TTL - 1), Listed(MID, None), FRESH),
        (A(TTL), Listed(MID, None), VALIDATED),
        (A(100), Listed(before_check(A(100), 0), None), None),
        (P(MAX_AGE), Listed(MID, None), None),
        # Through a stale listing, a proof is stale.
        (None, Listed(None, SERVER - 400, STALE), STALE),
        (A(500), Listed(MID, SERVER - 400, STALE), STALE),
        (A(100), Listed(MID, SERVER - 400, STALE), FRESH),
    ],
)
def test_fresh_or_validated(
    answer: StoredAnswer | None, listed: Listed | None, expected: Provenance | None
) -> None:
    server = SERVER if listed is not None and listed.provenance is Provenance.FETCHED else None
    found = fresh_or_validated(answer, listed, POLICY, Moment(LOCAL, server))
    assert provenance(found) is expected
    if found is not None and answer is not None and expected is not PROVEN:
        assert (found.tag, found.checked_at) == (answer.tag, answer.checked_at)
    if found is not None and (answer is None or expected is PROVEN):
        assert listed is not None
        assert (found.tag, found.checked_at) == (None, listed.checked_at)


class TestClocks:
    def test_local_clock_set_back_behind_the_time_of_storing(self) -> None:
        answer = absent(10)
        assert fresh_or_validated(answer, None, POLICY, Moment(answer.stored_at)) is not None
        assert fresh_or_validated(answer, None, POLICY, Moment(answer.stored_at - 1)) is None
        assert fresh_or_validated(answer, stored(MID), POLICY, Moment(answer.stored_at - 1)) is None

    def test_a_fetched_listing_makes_the_local_clock_irrelevant(self) -> None:
        answer = absent(1000)._replace(stored_at=LOCAL + 5_000_000)
        for local in (0.0, LOCAL, LOCAL * 2):
            moment = Moment(local, SERVER)
            assert provenance(fresh_or_validated(answer, fetched(MID), POLICY, moment)) is VALIDATED

    def test_checked_in_the_future_without_a_request(self) -> None:
        answer = absent(10)._replace(checked_at=LOCAL + 86_400)
        assert fresh_or_validated(answer, None, POLICY, Moment(LOCAL)) is not None
        later = answer._replace(checked_at=LOCAL + 86_401)
        assert fresh_or_validated(later, None, POLICY, Moment(LOCAL)) is None

    def test_checked_later_than_the_server_says_it_is(self) -> None:
        answer = absent(10)._replace(checked_at=SERVER + MARGIN)
        assert fresh_or_validated(answer, fetched(MID), POLICY, Moment(LOCAL, SERVER)) is not None
        later = answer._replace(checked_at=SERVER + MARGIN + 1)
        assert fresh_or_validated(later, fetched(MID), POLICY, Moment(LOCAL, SERVER)) is None
        assert (
            provenance(fresh_or_validated(later, fetched(None), POLICY, Moment(LOCAL, SERVER)))
            is PROVEN
        )

    def test_the_server_may_have_gone_on_since_the_listing(self) -> None:
        answer = absent(10)._replace(checked_at=SERVER + 1000)
        assert (
            fresh_or_validated(answer, fetched(MID), POLICY, Moment(LOCAL, SERVER + 900))
            is not None
        )

    def test_ages_go_on_by_the_server_s_clock_after_the_listing(self) -> None:
        later = Moment(LOCAL, SERVER + MAX_AGE)
        assert fresh_or_validated(present(10), fetched(MID), POLICY, later) is None
        assert provenance(fresh_or_validated(absent(10), fetched(MID), POLICY, later)) is VALIDATED
        earlier = Moment(LOCAL, SERVER + TTL)
        assert (
            provenance(fresh_or_validated(absent(1000), fetched(MID), POLICY, earlier)) is VALIDATED
        )
        assert fresh_or_validated(present(10), None, POLICY, earlier) is None

    def test_a_start_after_the_answer_contradicts_it_whatever_the_time_of_the_listing(self) -> None:
        answer = absent(10)
        early = Listed(int(answer.checked_at) + 2, answer.checked_at - 5)
        assert fresh_or_validated(answer, early, POLICY, Moment(LOCAL, SERVER)) is None
        within_a_second = early._replace(last_modified=int(answer.checked_at) + 1)
        assert (
            fresh_or_validated(answer, within_a_second, POLICY, Moment(LOCAL, SERVER)) is not None
        )

    def test_latest_possible(self) -> None:
        assert latest_possible(POLICY, Moment(LOCAL)) == LOCAL + 86_400
        assert latest_possible(POLICY, Moment(LOCAL, SERVER)) == SERVER + MARGIN


class TestAfterError:
    NOW = Moment(LOCAL)

    def policy(self, seconds: float) -> Policy:
        return POLICY._replace(stale_if_error=seconds)

    @pytest.mark.parametrize(
        ("answer", "listed", "seconds", "served"),
        [
            (A(TTL + 99), None, 100, True),
            (A(TTL + 100), None, 100, False),
            (A(TTL + 99), None, 0, False),
            (P(TTL + 99), None, 100, True),
            (A(100), fetched(int(SERVER) - 100), 0, False),
            (A(100), fetched(int(SERVER) - 100), 100, True),
            # What a listing validates but for its age was usable until max_age.
            (P(MAX_AGE + 99), fetched(MID), 100, True),
            (P(MAX_AGE + 100), fetched(MID), 100, False),
            (P(MAX_AGE + 99), None, 100, False),
            # What is known to be gone, or may have expired, is not served.
            (P(TTL + 10), fetched(OLD), 100, False),
            (P(TTL + 10), fetched(None), 100, False),
            (P(TTL + 10, end_ts=int(SERVER)), None, 100, False),
            (None, None, 100, False),
            (A(TTL + 10)._replace(stored_at=LOCAL + 1), None, 100, False),
            (A(TTL + 10)._replace(checked_at=SERVER + 1e6), None, 100, False),
            (A(RETENTION), None, 1e9, False),
        ],
    )
    def test_answer(
        self, answer: StoredAnswer | None, listed: Listed | None, seconds: float, served: bool
    ) -> None:
        found = usable_if_error(answer, listed, self.policy(seconds), self.NOW)
        assert provenance(found) is (STALE if served else None)

    def test_listing(self) -> None:
        listing = StoredListing({"a": 1}, SERVER - 399, LOCAL - 399)
        assert listing_usable_if_error(listing, self.policy(100), self.NOW)
        assert not listing_usable_if_error(listing, self.policy(99), self.NOW)
        fresh = StoredListing({"a": 1}, SERVER - 10, LOCAL - 10)
        assert not listing_usable_if_error(fresh, self.policy(0), self.NOW)


@pytest.mark.parametrize(
    ("answer", "listed", "expected"),
    [
        (None, None, None),
        (None, stored(None), PROVEN),
        (A(10), None, FRESH),
        (A(TTL), None, STALE),
        (A(RETENTION), None, STALE),
        (A(RETENTION + 1), None, None),
        (P(RETENTION), stored(MID), STALE),
        (P(TTL), stored(MID), VALIDATED),
        (P(TTL), stored(OLD), None),
        (P(TTL), stored(None), PROVEN),
        (P(TTL, end_ts=int(SERVER) + 1), None, STALE),
        (P(TTL, end_ts=int(SERVER)), None, None),
        (A(-10), None, STALE),
    ],
)
def test_offline(
    answer: StoredAnswer | None, listed: Listed | None, expected: Provenance | None
) -> None:
    assert provenance(usable_offline(answer, listed, POLICY, Moment(LOCAL))) is expected


class TestListing:
    def listing(self, age: float) -> StoredListing:
        return StoredListing({"a": 1}, SERVER - age, LOCAL - age)

    def test_fresh(self) -> None:
        now = Moment(LOCAL)
        assert listing_is_fresh(self.listing(0), POLICY, now)
        assert listing_is_fresh(self.listing(TTL - 1), POLICY, now)
        assert not listing_is_fresh(self.listing(TTL), POLICY, now)

    def test_clock_set_back(self) -> None:
        assert not listing_is_fresh(self.listing(-1), POLICY, Moment(LOCAL))

    def test_from_the_future(self) -> None:
        listing = self.listing(1)._replace(checked_at=LOCAL + 86_401)
        assert not listing_is_fresh(listing, POLICY, Moment(LOCAL))

    def test_offline(self) -> None:
        assert listing_usable_offline(self.listing(RETENTION), POLICY, Moment(LOCAL))
        assert not listing_usable_offline(self.listing(RETENTION + 1), POLICY, Moment(LOCAL))


@pytest.mark.parametrize(
    ("age", "kept"), [(0, True), (RETENTION, True), (RETENTION + 1, False), (-90_000, False)]
)
def test_worth_keeping(age: float, kept: bool) -> None:
    assert worth_keeping(absent(age), POLICY, Moment(LOCAL)) is kept


@pytest.mark.parametrize("name", ["ttl", "max_age", "margin", "stale_if_error", "retention"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_policy_refuses(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        Policy(**{name: value})  # type: ignore[arg-type]  # the names are those of durations


@pytest.mark.parametrize("value", [True, "5m", None])
def test_policy_refuses_a_value_that_is_not_a_number(value: object) -> None:
    with pytest.raises(SettingsError, match="ttl must be a number of seconds"):
        Policy(value)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize(
    ("last_modified", "since", "older"),
    [(1, 2, True), (2, 2, False), (None, 2, False), (UNKNOWN, 2, False), (1, None, False)],
)
def test_older_than(last_modified: LastModified, since: float | None, older: bool) -> None:
    assert older_than(last_modified, since) is older


@pytest.mark.parametrize(
    ("answer", "listed", "reason"),
    [
        (None, fetched(MID), "nothing is stored"),
        (A(10)._replace(checked_at=SERVER + 1e6), None, "from the future"),
        (A(10)._replace(stored_at=LOCAL + 1), None, "clock was set back"),
        (A(RETENTION + 1), fetched(MID), "past retention"),
        (A(1000), fetched(int(SERVER) - 500), "has changed since"),
        (P(100), fetched(OLD), "has changed since"),
        (P(1000, end_ts=int(SERVER)), fetched(MID), "has expired"),
        (P(MAX_AGE), fetched(MID), "past max-age"),
        (A(TTL), None, "past the ttl (age 300 s), and no listing is available"),
        (A(TTL), fetched(UNKNOWN), "does not state last_modified"),
        (A(1000), fetched(before_check(A(1000), MARGIN)), "inside the margin"),
    ],
)
def test_reason_for_request(
    answer: StoredAnswer | None, listed: Listed | None, reason: str
) -> None:
    now = Moment(LOCAL)
    assert fresh_or_validated(answer, listed, POLICY, now) is None
    assert reason in reason_for_request(answer, listed, POLICY, now)
