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
"""The server could not say: what is stored may serve instead."""

REFUSALS: Final = (
    AuthenticationError,
    PermissionDeniedError,
    NotFoundError,
    MalformedResponseError,
)
"""The server will not say: what is stored is not to be shown again."""

_FAILURES_IN_A_ROW: Final = 5


class RunContext:
    """A run of a cached client, and what its threads have seen of the server. Thread-safe.

    Attributes:
        client: Bound to the same run and identity.
        run: The run.
        shared: What other runs of this process share with it.
        policy: How old an answer may be.
        run_id: The number of the run.
        token_accepted: Whether the server was seen to accept the token, if there is one.
        states_time: Whether every answer so far had a time.
    """

    def __init__(self, client: BoundQuayClient, run: Run, shared: Shared, policy: Policy) -> None:
        self.client = client
        self.run = run
        self.shared = shared
        self.policy = policy
        self.run_id = shared.start_run()
        self.token_accepted = client.identity == ANONYMOUS
        self.states_time = True
        # Both clocks go on by the monotonic one: a local clock that is set changes neither.
        self._store_ahead = shared.store.now() - run.now()
        self._consecutive_failures = 0
        self._server_time: float | None = None

    @property
    def now(self) -> Moment:
        """The time by each of the clocks that count."""
        local = self.run.now()
        return Moment(local, self._server_time, local + self._store_ahead)

    @property
    def server_is_down(self) -> bool:
        """Whether so many requests in a row have failed that stored answers come first.

        One repository may fail while others do not.
        """
        return self._consecutive_failures >= _FAILURES_IN_A_ROW

    @property
    def shares_answers(self) -> bool:
        """Whether answers of other runs are of use to this one, and its own to others."""
        policy = self.policy
        if policy.mode is not Mode.NORMAL or not policy.ttl or not policy.max_age:
            return False
        return self.token_accepted and self.states_time

    def scope(self, namespace: str) -> Scope:
        """Return whose view of which namespace it is."""
        return Scope(self.client.api_url, self.client.identity, namespace)

    def started(self) -> Started:
        """Return the present moment, for work that other runs may join."""
        return Started(self.shared.latest_run(), self.run.now() + self._store_ahead)

    def may_join(self, started: Started) -> bool:
        """Return whether work that began at a moment is as good as work that begins now.

        It is if it began in this run. What began before may be as old as an answer that is fresh,
        whether the tag is absent or present.
        """
        if started.run_id >= self.run_id:
            return True
        age = self.started().stored_at - started.stored_at
        policy = self.policy
        return policy.mode is Mode.NORMAL and 0 <= age < min(policy.ttl, policy.max_age)

    def note_server_time(self, checked_at: float | None) -> None:
        """Note that the server's clock has come this far."""
        # Two threads may overtake each other here, by moments that no rule can tell apart.
        if checked_at is not None and (self._server_time is None or checked_at > self._server_time):
            self._server_time = checked_at

    def record_failure(self) -> None:
        """Count a request that got no answer."""
        self._consecutive_failures += 1

    def record_success(self) -> None:
        """Note that a request got an answer."""
        self._consecutive_failures = 0

    def reusable(
        self, stored: StoredAnswer | None, listed: Listed | None, now: Moment
    ) -> TagAnswer | None:
        """Return the answer if it needs no request, else None."""
        if self.policy.mode is Mode.OFFLINE:
            return freshness.usable_offline(stored, listed, self.policy, now)
        answer = freshness.fresh_or_validated(stored, listed, self.policy, now)
        if answer is None and listed is not None and listed.provenance is Provenance.STALE:
            # The server has just failed to list: it is not asked for every tag as well.
            return freshness.usable_if_error(stored, listed, self.policy, now)
        return answer


def refused_at(error: QuayAPIError, stored: StoredAnswer | StoredListing | None) -> float | None:
    """Return until when an entry must have been checked to be void after a refusal, or None.

    The refusal is later than what was stored before it, even where a date, in whole seconds less
    the time on the way, does not show it. That a token was ignored, or that a namespace is empty,
    is no refusal: it says nothing about what was seen before.
    """
    if isinstance(error, AuthenticationError) and error.status is None:
        return None
    times = [error.checked_at, None if stored is None else stored.checked_at]
    return max((time for time in times if time is not None), default=None)
