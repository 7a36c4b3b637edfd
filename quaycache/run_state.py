"""What a run of a cached client has seen of the server, and what becomes of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
from quaycache.freshness import Moment

if TYPE_CHECKING:
    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.run import Run

FAILURES: Final = (TransportError, ServerError, RateLimitedError)
"""The server could not say: what is stored may serve instead."""

REFUSALS: Final = (
    AuthenticationError,
    PermissionDeniedError,
    NotFoundError,
    MalformedResponseError,
)
"""The server said that it will not say: what is stored is not to be shown again."""


_FAILURES_IN_A_ROW: Final = 5


class RunState:
    """Shared by the threads of a run.

    Attributes:
        accepted: whether the server was seen to accept the token, if there is one.
    """

    def __init__(self, run: Run, *, accepted: bool) -> None:
        self.accepted = accepted
        self._run = run
        self._failures = 0
        self._server: float | None = None

    @property
    def now(self) -> Moment:
        """The local time, and the latest that the server has said in this run."""
        return Moment(self._run.now(), self._server)

    @property
    def server_fails(self) -> bool:
        """Whether it has failed so often in a row that it is not worth asking for what is stored.

        One repository may fail and the others not.
        """
        return self._failures >= _FAILURES_IN_A_ROW

    def failed(self) -> None:
        """Note that a question has got no answer."""
        self._failures += 1

    def answered(self) -> None:
        """Note that a question has got an answer."""
        self._failures = 0

    def saw(self, checked_at: float | None) -> None:
        """Note the time of an answer: the server's clock has come this far."""
        # Two threads may overtake each other here, by moments that no rule can tell apart.
        if checked_at is not None and (self._server is None or checked_at > self._server):
            self._server = checked_at


def refused_at(error: QuayAPIError, stored: StoredAnswer | StoredListing | None) -> float | None:
    """Until when what is stored was checked before a refusal; None if it stays.

    The refusal is later than what was stored before it, even where a date, in whole seconds less
    the time on the way, does not show it. That a token was ignored, or a namespace is empty, is no
    refusal: it says nothing of what was seen before.
    """
    if isinstance(error, AuthenticationError) and error.status is None:
        return None
    times = [error.checked_at, None if stored is None else stored.checked_at]
    return max((time for time in times if time is not None), default=None)
