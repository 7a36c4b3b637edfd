"""One request until it is answered or given up: status -> error, tenacity's policy over both."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

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
from quaycache.lazy_logger import LazyLogger
from quaycache.names import printable
from quaycache.pacing import MAX_PAUSE, MIN_RATE_LIMIT, Pacer, PatienceExhaustedError
from quaycache.payload import parse_error_text, parse_http_date, parse_retry_after

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tenacity import RetryCallState

    from quaycache.api_base import ApiBase
    from quaycache.run import Run
    from quaycache.transport import Response, Transport

LOG = LazyLogger(__name__)

DEFAULT_RETRIES: Final = 3
DEFAULT_TIMEOUT: Final = 300.0

_FIRST_WAIT: Final = 0.5
_MAX_WAIT: Final = 10.0
# The exponent beyond which a wait is at its maximum anyway.
_MAX_DOUBLINGS: Final = 10

# A user who sees nothing for longer wonders.
_SILENT_SECONDS: Final = 5.0

_ERRORS: Final[dict[int, type[QuayAPIError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}


class RetryingTransport:
    """A `Transport` that paces, repeats what is worth repeating, and raises on any status but 200.

    Thread-safe. Nothing is imported or opened before the first request.

    Args:
        api_base: where to connect.
        retries: how often one request is repeated after a failure that may pass. Refusals with
            429 do not count: they are repeated until `timeout`.
        timeout: seconds for which the server may refuse every request, with 429 or 503, before
            the requests that wait are given up.
        rate_limit: requests a second over all threads; None means as fast as the server takes.
        ssl_context: how to verify the server; None means the environment's authorities.

    Raises:
        SettingsError: a number cannot be used.
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

    def get(
        self,
        target: str,
        headers: list[tuple[bytes, bytes]],
        run: Run,
        *,
        subject: str,
        retry_not_found: bool = False,
    ) -> Response:
        """The answer with status 200 to one GET.

        Args:
            target: path and query, percent-encoded.
            headers: beside Host.
            run: counts what is sent, and can cancel it.
            subject: what the request is about, for messages.
            retry_not_found: whether a 404 may pass: a replica that lags does not know a new
                repository yet.

        Raises:
            QuayAPIError: the answer was another, or there was none; the message says how often
                it was tried, and why each time.
            Cancelled: the run was cancelled.
        """
        transport = self._open()
        tries = _Tries(self._retries, self._pacer, retry_not_found)

        def attempt() -> Response:
            sent_at = self._pacer.acquire(run.cancelled)
            if tries.failures:
                run.count("retries")
            try:
                response = transport.get(target, headers, run, fresh=tries.broke())
                if response.status != 200:
                    raise _status_error(response)
            except QuayAPIError as error:
                if error.status in (429, 503):
                    self._last_refusal = error
                    self._pacer.refused(sent_at, error.retry_after)
                if error.status == 429:
                    run.count("rate_limited")
                    self._warn_of_refusals()
                tries.failures.append(error)
                LOG.debug("%s: %s", subject, error)
                raise
            self._pacer.succeeded()
            return response

        try:
            try:
                return attempt()
            except QuayAPIError as error:
                return self._again(attempt, error, tries, run)
        except (QuayAPIError, PatienceExhaustedError):
            if run.cancelled.is_set():
                raise Cancelled("cancelled") from None
            failure = tries.summary(subject) if tries.failures else self._not_sent(subject)
            raise failure from failure.__cause__

    def _again(
        self, attempt: Callable[[], Response], failure: QuayAPIError, tries: _Tries, run: Run
    ) -> Response:
        """Repeat what has failed once, as long as it is worth it."""
        import tenacity  # imports asyncio; and most requests do not fail

        failures = [failure]

        def attempt_again() -> Response:
            if failures:
                raise failures.pop()
            return attempt()

        return tenacity.Retrying(
            retry=tries.may_pass,
            wait=tries.wait,
            stop=lambda state: run.cancelled.is_set() or tries.exhausted(state),
            sleep=tenacity.sleep_using_event(run.cancelled),
            reraise=True,
        )(attempt_again)

    def _not_sent(self, subject: str) -> QuayAPIError:
        """Return the error for a request that was given up before its first attempt."""
        return self._last_refusal.with_message(
            f"{subject}: not sent: the server has refused every request"
            f" for {self._pacer.silence():.0f} s: {self._last_refusal}"
        )

    def _warn_of_refusals(self) -> None:
        """Explain once why nothing seems to happen."""
        if self._pacer.silence() > _SILENT_SECONDS and not self._warned:
            self._warned = True
            LOG.warning(
                "%s has refused every request for %.0f s; quaycache gives up after %.0f s",
                self._api_base.registry,
                self._pacer.silence(),
                self._timeout,
            )

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _open(self) -> Transport:
        with self._lock:
            if self._transport is None:
                from quaycache.transport import Transport  # ssl, for those who ask something

                self._transport = Transport(self._api_base, ssl_context=self._ssl_context)
            return self._transport


class _Tries:
    """The policy for one request, in the shape of tenacity's callbacks."""

    def __init__(self, retries: int, pacer: Pacer, retry_not_found: bool) -> None:
        self.failures: list[QuayAPIError] = []
        self._retries = retries
        self._pacer = pacer
        self._retry_not_found = retry_not_found

    def broke(self) -> bool:
        """Whether the last failure was the connection's."""
        return bool(self.failures) and isinstance(self.failures[-1], TransportError)

    def may_pass(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, TransportError | ServerError | RateLimitedError) or (
            isinstance(error, NotFoundError) and self._retry_not_found
        )

    def exhausted(self, _state: RetryCallState) -> bool:
        if isinstance(self.failures[-1], RateLimitedError):
            return self._pacer.patience_exhausted()
        return len(self._counted()) > self._retries

    def wait(self, _state: RetryCallState) -> float:
        error = self.failures[-1]
        if error.status in (429, 503):
            return 0.0  # the pacer holds everybody back, this request too
        if isinstance(error, TransportError) and len(self._counted()) == 1:
            return 0.0  # most likely a connection that the server had closed: 1,000 requests, 5 s
        doublings = min(_MAX_DOUBLINGS, len(self._counted()) - 1)
        backoff = min(_MAX_WAIT, _FIRST_WAIT * 2.0**doublings)
        wanted = min(MAX_PAUSE, error.retry_after or 0.0)
        from random import uniform

        return max(wanted, backoff * uniform(0.5, 1.0))  # noqa: S311 - no secret

    def summary(self, subject: str) -> QuayAPIError:
        error = self.failures[-1]
        reasons = Counter(str(failure) for failure in self.failures)
        text = f"{subject}: {error}"
        if len(self.failures) > 1:
            each = "; ".join(
                reason if times in (1, len(self.failures)) else f"{reason} ({times} times)"
                for reason, times in reasons.items()
            )
            text = f"{subject}: gave up after {len(self.failures)} tries: {each}"
        return error.with_message(text)

    def _counted(self) -> list[QuayAPIError]:
        return [error for error in self.failures if not isinstance(error, RateLimitedError)]


def _is_number(value: object, minimum: float, *, whole: bool = False) -> bool:
    if not isinstance(value, int if whole else int | float):
        return False
    # The greatest float, not infinity: an integer may be too large for arithmetic with floats.
    return minimum <= value <= sys.float_info.max


def checked_at_of(response: Response) -> float | None:
    """The earliest moment an answer can be true of, seconds UTC (RFC 9111, section 4.2.3)."""
    date = parse_http_date(response.headers.get(b"date"))
    return None if date is None else date - response.elapsed


def _status_error(response: Response) -> QuayAPIError:
    status = response.status
    kind = _ERRORS.get(status, ServerError if 500 <= status <= 599 else UnexpectedStatusError)
    text = f"HTTP {status}"
    if 300 <= status <= 399 and (location := response.headers.get(b"location")):
        text += f" to {printable(location.decode('latin-1'), 120)}"
    elif said := parse_error_text(response.body):
        text += f" ({said})"
    date = parse_http_date(response.headers.get(b"date"))
    return kind(
        text,
        status=status,
        retry_after=parse_retry_after(response.headers.get(b"retry-after"), date),
        checked_at=checked_at_of(response),
    )
