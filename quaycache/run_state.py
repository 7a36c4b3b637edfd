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

FAILURES: Final = (TransportError, ServerError, RateLimitedError)
"""The server could not say: what is stored may serve instead."""

REFUSALS: Final = (
    AuthenticationError,
    PermissionDeniedError,
    NotFoundError,
    MalformedResponseError,
)
"""The server said that it will not say: what is stored is not to be shown again."""


class RunState:
    """Shared by the threads of a run.

    Attributes:
        now: the local clock when the run began, and how far the server's has come since.
        accepted: whether the server was seen to accept the token, if there is one.
    """

    def __init__(self, now: float, *, accepted: bool) -> None:
        self.now = Moment(now)
        self.accepted = accepted

    def saw(self, checked_at: float | None) -> None:
        """Note the time of an answer: the server's clock has come this far."""
        server = self.now.server
        # Two threads may overtake each other here, by moments that no rule can tell apart.
        if checked_at is not None and (server is None or checked_at > server):
            self.now = Moment(self.now.local, checked_at)


def refused_at(error: QuayAPIError, stored: StoredAnswer | StoredListing | None) -> float | None:
    """Until when what is stored was checked before a refusal; None if nobody can say.

    The refusal is later than what was stored before it, even where a date, in whole seconds less
    the time on the way, does not show it.
    """
    times = [error.checked_at, None if stored is None else stored.checked_at]
    return max((time for time in times if time is not None), default=None)
