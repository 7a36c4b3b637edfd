"""What the parts of one cached run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quaycache import freshness
from quaycache.cached.single_flight import Started
from quaycache.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    PermissionDeniedError,
    QuayAPIError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from quaycache.freshness import Mode, Moment
from quaycache.model import Provenance
from quaycache.names import ANONYMOUS
from quaycache.store.keys import Scope

if TYPE_CHECKING:
    from quaycache.cached.shared import Shared
    from quaycache.freshness import Policy
    from quaycache.model import Listed, StoredAnswer, StoredListing, TagAnswer
    from quaycache.quay.bound import BoundQuayClient
    from quaycache.run import Run

FAILURES: Final = (TransportError, ServerError, RateLimitedError)
"""The server failed to answer: a stored answer may serve instead."""

REFUSALS: Final = (
    AuthenticationError,
    PermissionDeniedError,
    NotFoundError,
    MalformedResponseError,
)
"""The server refused: what is stored must not be served again."""

_FAILURES_IN_A_ROW: Final = 5


class RunContext:
    """The state that the parts of one cached run share. Thread-safe.

    Attributes:
        client: The client without a cache, bound to the same run and identity.
        run: The run.
        shared: What the runs of this process share.
        policy: How old an answer may be.
        run_id: The number of the run.
        token_accepted: Whether the server is known to accept the token; true without a token.
        states_time: Whether every answer so far had a Date.
    """

    def __init__(self, client: BoundQuayClient, run: Run, shared: Shared, policy: Policy) -> None:
        self.client = client
        self.run = run
        self.shared = shared
        self.policy = policy
        self.run_id = shared.start_run()
        self.token_accepted = client.identity == ANONYMOUS
        self.states_time = True
        # Both clocks advance with the monotonic clock, so setting the local clock changes neither.
        self._store_ahead = shared.store.now() - run.now()
        self._consecutive_failures = 0
        self._server_time: float | None = None

    @property
    def now(self) -> Moment:
        """The current time, by each clock that a decision uses."""
        local = self.run.now()
        return Moment(local, self._server_time, local + self._store_ahead)

    @property
    def server_is_down(self) -> bool:
        """Whether enough consecutive requests have failed to prefer stored answers to a request.

        A single failure is not enough: one repository may fail while others do not.
        """
        return self._consecutive_failures >= _FAILURES_IN_A_ROW

    @property
    def shares_answers(self) -> bool:
        """Whether this run and other runs can use each other's answers."""
        policy = self.policy
        if policy.mode is not Mode.NORMAL or not policy.ttl or not policy.max_age:
            return False
        return self.token_accepted and self.states_time

    def scope(self, namespace: str) -> Scope:
        """Return the scope under which the entries of a namespace are stored."""
        return Scope(self.client.api_url, self.client.identity, namespace)

    def started(self) -> Started:
        """Return the present moment, for work that other runs may join."""
        return Started(self.shared.latest_run(), self.run.now() + self._store_ahead)

    def may_join(self, started: Started) -> bool:
        """Return whether work that began at a moment is as good as work that begins now.

        Work that began during this run is. Earlier work is only while its answer would be fresh,
        whether the tag is absent or present.
        """
        if started.run_id >= self.run_id:
            return True
        age = self.started().stored_at - started.stored_at
        policy = self.policy
        return policy.mode is Mode.NORMAL and 0 <= age < min(policy.ttl, policy.max_age)

    def note_server_time(self, checked_at: float | None) -> None:
        """Record the latest time that the server has stated."""
        # Two threads may race here, but their times differ by less than any rule can distinguish.
        if checked_at is not None and (self._server_time is None or checked_at > self._server_time):
            self._server_time = checked_at

    def record_failure(self) -> None:
        """Count a failed request."""
        self._consecutive_failures += 1

    def record_success(self) -> None:
        """Reset the count of consecutive failures."""
        self._consecutive_failures = 0

    def reusable(
        self, stored: StoredAnswer | None, listed: Listed | None, now: Moment
    ) -> TagAnswer | None:
        """Return the answer if it needs no request, else None."""
        if self.policy.mode is Mode.OFFLINE:
            return freshness.usable_offline(stored, listed, self.policy, now)
        answer = freshness.fresh_or_validated(stored, listed, self.policy, now)
        if answer is None and listed is not None and listed.provenance is Provenance.STALE:
            # The server has just failed to list, so it is not asked for every tag either.
            return freshness.usable_if_error(stored, listed, self.policy, now)
        return answer


def refused_at(error: QuayAPIError, stored: StoredAnswer | StoredListing | None) -> float | None:
    """Return the latest ``checked_at`` that a refusal invalidates; None if it invalidates nothing.

    A refusal is later than the entry stored before it, even if its Date, in whole seconds and minus
    the request's duration, seems earlier. An ignored token or an empty namespace is not a refusal:
    it does not contradict what was seen before.
    """
    if isinstance(error, AuthenticationError) and error.status is None:
        return None
    times = [error.checked_at, None if stored is None else stored.checked_at]
    return max((time for time in times if time is not None), default=None)
