"""One request until it is answered or given up: maps each status to an error, and retries."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from quaycache._lazy import LazyLogger
from quaycache.after_fork import reset_in_children
from quaycache.errors import (
    AuthenticationError,
    BadRequestError,
    Cancelled,
    NotFoundError,
    PermissionDeniedError,
    QuayAPIError,
    RateLimitedError,
    ServerError,
    SettingsError,
    TransportError,
    UnexpectedStatusError,
)
from quaycache.names import printable
from quaycache.quay.pacing import MAX_PAUSE, MIN_RATE_LIMIT, Pacer, PatienceExhaustedError
from quaycache.quay.payload import parse_error_text, parse_http_date, parse_retry_after

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tenacity import RetryCallState

    from quaycache.api_base import ApiBase
    from quaycache.quay.transport import Response, Transport
    from quaycache.run import Run

LOG = LazyLogger(__name__)

DEFAULT_RETRIES: Final = 3
DEFAULT_TIMEOUT: Final = 300.0

_FIRST_WAIT: Final = 0.5
_MAX_WAIT: Final = 10.0
# The exponent beyond which a wait is at its maximum anyway.
_MAX_DOUBLINGS: Final = 10

# Seconds without progress after which the user is told why.
_WARN_AFTER: Final = 5.0

# The parent's connections: to close one in the child would send the server a farewell.
_LEAKED_ON_PURPOSE: Final[list[object]] = []

_ERRORS: Final[dict[int, type[QuayAPIError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}


class RetryingTransport:
    """A `Transport` that paces requests, repeats them, and raises on any status but 200.

    Thread-safe. Nothing is imported or opened before the first request.

    Args:
        api_base: The API to connect to.
        retries: How often one request is repeated after a failure that may be temporary. Refusals
            with 429 do not count: they are repeated until `timeout`.
        timeout: Seconds for which the server may refuse every request, with 429 or 503, before
            the requests that wait are given up.
        rate_limit: Requests a second over all threads; None means no limit.
        ssl_context: How to verify the server; None means the environment's authorities.

    Raises:
        SettingsError: If a number is out of bounds.
    """

    def __init__(
        self,
        api_base: ApiBase,
        *,
        retries: int = DEFAULT_RETRIES,
        timeout: float = DEFAULT_TIMEOUT,
        rate_limit: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not _is_number(retries, 0, whole=True):
            raise SettingsError("retries must be a whole number, 0 or more")
        if not _is_number(timeout, 0):
            raise SettingsError("timeout must be 0 seconds or more, and finite")
        if rate_limit is not None and not _is_number(rate_limit, MIN_RATE_LIMIT):
            raise SettingsError(f"rate_limit must be {MIN_RATE_LIMIT} or more, and finite")
        self._api_base = api_base
        self._retries = retries
        self._timeout = timeout
        self._ssl_context = ssl_context
        self._pacer = Pacer(rate_limit, patience=timeout)
        self._last_refusal: QuayAPIError = RateLimitedError("HTTP 429", status=429)
        self._warned = False
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        reset_in_children(self)

    def get(
        self,
        target: str,
        headers: list[tuple[bytes, bytes]],
        run: Run,
        *,
        subject: str,
        retry_not_found: bool = False,
    ) -> Response:
        """Return the answer with status 200 to one GET.

        Args:
            target: Path and query, percent-encoded.
            headers: All headers except Host.
            run: Counts the requests, and can cancel them.
            subject: What the request is about, for messages.
            retry_not_found: Whether to retry a 404, because a lagging replica may not know a new
                repository yet.

        Raises:
            QuayAPIError: If every attempt fails; the message states the number of attempts, and why
                each one failed.
            Cancelled: If the run is cancelled.
        """
        policy = _RetryPolicy(self._retries, self._pacer, retry_not_found)
        outcomes = self._outcomes(target, headers, run, subject, policy)
        try:
            outcome = next(outcomes)
            if isinstance(outcome, QuayAPIError):
                outcome = _retry(outcome, outcomes, policy, run)
        except PatienceExhaustedError:
            outcome = self._last_refusal
        if not isinstance(outcome, QuayAPIError):
            return outcome
        if run.cancelled.is_set():
            raise Cancelled("cancelled")
        error = policy.summary(subject) if policy.failures else self._not_sent(subject)
        raise error from error.__cause__

    def _outcomes(
        self,
        target: str,
        headers: list[tuple[bytes, bytes]],
        run: Run,
        subject: str,
        policy: _RetryPolicy,
    ) -> Iterator[Response | QuayAPIError]:
        """Yield the outcome of each attempt; an attempt is made when its outcome is requested."""
        transport = self._open()
        while True:
            sent_at = self._pacer.acquire(run.cancelled)
            if policy.failures:
                run.count("retries")
            try:
                response = transport.get(target, headers, run, fresh=policy.connection_failed())
                if response.status != 200:
                    raise _status_error(response)
            except QuayAPIError as error:
                if error.status in (429, 503):
                    self._last_refusal = error
                    self._pacer.refused(sent_at, error.retry_after)
                if error.status == 429:
                    run.count("rate_limited")
                    self._warn_of_refusals()
                policy.failures.append(error)
                LOG.debug("%s: %s", subject, error)
                yield error
            else:
                self._pacer.succeeded()
                yield response

    def _not_sent(self, subject: str) -> QuayAPIError:
        """Return the error for a request that was given up before its first attempt."""
        return self._last_refusal.with_message(
            f"{subject}: not sent: the server has refused every request"
            f" for {self._pacer.refused_seconds():.0f} s: {self._last_refusal}"
        )

    def _warn_of_refusals(self) -> None:
        """Warn once that the server refuses every request."""
        seconds = self._pacer.refused_seconds()
        if seconds > _WARN_AFTER and not self._warned:
            self._warned = True
            LOG.warning(
                "%s has refused every request for %.0f s; quaycache gives up after %.0f s",
                self._api_base.registry,
                seconds,
                self._timeout,
            )

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def reset_after_fork(self) -> None:
        """Leave the connections to the parent: one of its answers might come to the child."""
        _LEAKED_ON_PURPOSE.append(self._transport)
        self._transport = None
        self._lock = threading.Lock()
        self._pacer.reset_after_fork()

    def _open(self) -> Transport:
        with self._lock:
            if self._transport is None:
                from quaycache.quay.transport import (
                    Transport,  # imports ssl: only if something is sent
                )

                self._transport = Transport(self._api_base, ssl_context=self._ssl_context)
            return self._transport


class _RetryPolicy:
    """Which failures of one request are retried, and when; in the shape of tenacity's callbacks.

    Attributes:
        failures: The failures of all attempts so far.
    """

    def __init__(self, retries: int, pacer: Pacer, retry_not_found: bool) -> None:
        self.failures: list[QuayAPIError] = []
        self._retries = retries
        self._pacer = pacer
        self._retry_not_found = retry_not_found

    def connection_failed(self) -> bool:
        """Return whether the last attempt got no complete answer."""
        return bool(self.failures) and isinstance(self.failures[-1], TransportError)

    def is_retryable(self, state: RetryCallState) -> bool:
        """Return whether the outcome is a failure that may be temporary."""
        if state.outcome is None or state.outcome.failed:  # cancelled, or out of patience
            return False
        outcome = state.outcome.result()
        return isinstance(outcome, TransportError | ServerError | RateLimitedError) or (
            isinstance(outcome, NotFoundError) and self._retry_not_found
        )

    def out_of_attempts(self, _state: RetryCallState) -> bool:
        """Return whether the request is to be given up."""
        if isinstance(self.failures[-1], RateLimitedError):
            return self._pacer.patience_exhausted()
        return len(self._counted()) > self._retries

    def delay(self, _state: RetryCallState) -> float:
        """Return the seconds to wait before the next attempt."""
        error = self.failures[-1]
        if error.status in (429, 503):
            return 0.0  # the pacer holds all requests back, this one too
        failures = len(self._counted())
        if isinstance(error, TransportError) and failures == 1:
            # Most likely the server had closed the connection, after 1,000 requests or 5 s.
            return 0.0
        backoff = min(_MAX_WAIT, _FIRST_WAIT * 2.0 ** min(_MAX_DOUBLINGS, failures - 1))
        wanted = min(MAX_PAUSE, error.retry_after or 0.0)
        from random import uniform

        return max(wanted, backoff * uniform(0.5, 1.0))  # noqa: S311 - no secret

    def summary(self, subject: str) -> QuayAPIError:
        """Return the last failure, with a message that names all of them."""
        error = self.failures[-1]
        if len(self.failures) == 1:
            return error.with_message(f"{subject}: {error}")
        reasons = Counter(str(failure) for failure in self.failures)
        each = "; ".join(
            reason if times in (1, len(self.failures)) else f"{reason} ({times} times)"
            for reason, times in reasons.items()
        )
        return error.with_message(f"{subject}: gave up after {len(self.failures)} tries: {each}")

    def _counted(self) -> list[QuayAPIError]:
        return [error for error in self.failures if not isinstance(error, RateLimitedError)]


def _retry(
    failure: QuayAPIError,
    outcomes: Iterator[Response | QuayAPIError],
    policy: _RetryPolicy,
    run: Run,
) -> Response | QuayAPIError:
    """Return the first outcome that the policy does not retry, or the last that it allows.

    Most requests succeed at once, and importing tenacity takes as long as a request. So the first
    attempt is made without it.
    """
    import tenacity

    return tenacity.Retrying(
        retry=policy.is_retryable,
        wait=policy.delay,
        stop=lambda state: run.cancelled.is_set() or policy.out_of_attempts(state),
        sleep=tenacity.sleep_using_event(run.cancelled),
        retry_error_callback=lambda _: policy.failures[-1],
    )(itertools.chain([failure], outcomes).__next__)


def _is_number(value: object, minimum: float, *, whole: bool = False) -> bool:
    if not isinstance(value, int if whole else int | float):
        return False
    # The greatest float, not infinity: an integer may be too large for arithmetic with floats.
    return minimum <= value <= sys.float_info.max


def checked_at_of(response: Response) -> float | None:
    """Return a lower bound on when the server generated an answer, seconds UTC.

    It is the answer's Date minus the request's duration (RFC 9111, 4.2.3); None without a Date.
    """
    date = parse_http_date(response.headers.get(b"date"))
    return None if date is None else date - response.elapsed


def _status_error(response: Response) -> QuayAPIError:
    status = response.status
    kind = _ERRORS.get(status, ServerError if 500 <= status <= 599 else UnexpectedStatusError)
    text = f"HTTP {status}"
    if 300 <= status <= 399 and (location := response.headers.get(b"location")):
        text += f" to {printable(location.decode('latin-1'), 120)}"
    elif detail := parse_error_text(response.body):
        text += f" ({detail})"
    date = parse_http_date(response.headers.get(b"date"))
    return kind(
        text,
        status=status,
        retry_after=parse_retry_after(response.headers.get(b"retry-after"), date),
        checked_at=checked_at_of(response),
    )
