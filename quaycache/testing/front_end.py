"""The answer to a request: nginx and Quay's web application in front of a registry.

This module does no I/O; a request carries what is known about its connection. Rate limits use the
monotonic clock, everything else uses the registry's clock.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from quaycache.testing.answers import Answer, QuayApi
from quaycache.testing.corruption import apply_fault
from quaycache.testing.documents import error_document
from quaycache.testing.faults import FaultPlan
from quaycache.testing.limits import Limiter
from quaycache.testing.registry import Registry
from quaycache.testing.replies import (
    HTML,
    Headers,
    Outcome,
    Reply,
    encoded,
    html_reply,
    whole_reply,
)
from quaycache.testing.routing import Endpoint, Route, route
from quaycache.testing.settings import Settings
from quaycache.testing.tally import Tally

# Words by which Quay's user agent parser recognizes a browser.
_BROWSER = re.compile(
    rb"chrome|firefox|safari|msie|trident|opera|konqueror|lynx|links|seamonkey|netscape|webkit",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that determine its answer.

    Attributes:
        method: The HTTP method.
        target: The path and query.
        host: The host that the request names.
        fields: The headers, with names in lower case.
        http2: Whether the request came over HTTP/2, as opposed to HTTP/1.1.
        connection: The number of the connection.
        address: The IP address of the client.
    """

    method: bytes
    target: str
    host: str
    fields: Mapping[bytes, bytes]
    http2: bool
    connection: int
    address: str


class FrontEnd:
    """The behaviour of one Quay: a registry, its settings and its counters."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Restore the initial state: an empty registry, default settings, counters at zero."""
        self.registry = Registry()
        self.api = QuayApi(self.registry)
        self.tally = Tally()
        self.settings = Settings()
        self._start_faults()
        self._limiter = Limiter(self.settings.rate_limit)
        self._date_second = -1
        self._date = b""

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change settings; see `Settings.changed`."""
        self.settings = self.settings.changed(changes)
        if "faults" in changes or "seed" in changes:
            self._start_faults()
        if "rate_limit" in changes:
            self._limiter = Limiter(self.settings.rate_limit)

    def _start_faults(self) -> None:
        self._random = random.Random(self.settings.seed)  # noqa: S311 - reproducible, not secret
        self._faults = FaultPlan(self.settings.faults, self._random)

    def reset_counters(self) -> None:
        """Set the counters to zero; requests in flight stay in flight."""
        self.tally = Tally(self.tally.in_flight)

    def date(self) -> bytes | None:
        """Return the current value of the ``date`` header, or None if it is switched off."""
        if not self.settings.date:
            return None
        second = int(self.registry.now() + self.settings.date_skew)
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def handle(self, request: Request) -> tuple[float, Outcome]:
        """Return the delay in seconds and the outcome of a request that has just arrived."""
        matched = route(request.target)
        token = self._token(request)
        self.tally.count_request(matched.endpoint, authenticated=self.api.user(token) is not None)
        if request.target.startswith("/api/") and not self._admits(request):
            return 0.0, html_reply(429, self._retry_after())
        delay = self._delay(matched.endpoint)
        if matched.endpoint is Endpoint.UNKNOWN:
            return delay, html_reply(404)
        if matched.endpoint is Endpoint.MISSING_SLASH:
            return delay, _redirect(request)
        if request.method != b"GET":
            return delay, html_reply(405)
        answer = self._answer(request, matched, token)
        fault = self._faults.draw(matched.endpoint, request.target)
        if fault is None:
            return delay, whole_reply(answer.status, encoded(answer.document))
        return delay, apply_fault(fault, answer, self._retry_after())

    def _admits(self, request: Request) -> bool:
        return self._limiter.admit(
            http2=request.http2,
            connection=request.connection,
            address=request.address,
            now_ms=int(time.monotonic() * 1000),
        )

    def _retry_after(self) -> Headers:
        value = self.settings.retry_after
        return () if value is None else ((b"retry-after", value.encode()),)

    def _token(self, request: Request) -> str | None:
        """Return the bearer token; Quay ignores other kinds of credentials."""
        scheme, _, token = request.fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or self.settings.ignore_tokens:
            return None
        return token.decode("latin-1")

    def _delay(self, endpoint: Endpoint) -> float:
        settings = self.settings
        delay = None
        if endpoint is Endpoint.TAGS:
            delay = settings.tag_latency
        elif endpoint is Endpoint.LISTING:
            delay = settings.listing_latency
        if delay is None:
            delay = settings.latency
        return delay + settings.jitter * self._random.random() if settings.jitter else delay

    def _answer(self, request: Request, matched: Route, token: str | None) -> Answer:
        fields = request.fields
        if b"x-requested-with" not in fields and _BROWSER.search(fields.get(b"user-agent", b"")):
            return _NOT_FOR_BROWSERS
        query = matched.query
        if matched.endpoint is Endpoint.LISTING:
            ignored = {
                "next_page": self.settings.repeat_first_page,
                "last_modified": not self.settings.last_modified,
            }
            query = {name: query[name] for name in query if not ignored.get(name)}
            return self.api.listing(query, token)
        namespace, repository = matched.namespace, matched.repository
        if matched.endpoint is Endpoint.TAGS:
            lag = self.settings.replica_lag
            return self.api.tags(namespace, repository, query, token, replica_lag=lag)
        return self.api.repository(namespace, repository, query, token)


def _redirect(request: Request) -> Reply:
    path, mark, query = request.target.partition("?")
    location = f"https://{request.host}{path}/{mark}{query}"
    body = b"<!doctype html>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n"
    return whole_reply(308, body, HTML, ((b"location", location.encode()),))


_NOT_FOR_BROWSERS = Answer(
    400,
    error_document(
        400,
        "invalid_request",
        "API calls must be invoked with an X-Requested-With header if called from a browser",
    ),
)
