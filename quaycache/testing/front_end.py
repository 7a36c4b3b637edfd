"""One request -> what goes back and when: nginx and Quay's web application in front of a registry.

No I/O: what it knows of the connection comes in with the request. Rate limits go by the
monotonic clock, everything else by the registry's.
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
from quaycache.testing.corruption import outcome_of
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

# The families of browsers that Quay's user agent parser knows by these words.
_BROWSER = re.compile(
    rb"chrome|firefox|safari|msie|trident|opera|konqueror|lynx|links|seamonkey|netscape|webkit",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What the front end needs to know of a request.

    Attributes:
        method: of HTTP.
        target: path and query.
        host: to which it was sent.
        fields: the headers, names in lower case.
        http2: whether it came over HTTP/2, not HTTP/1.1.
        connection: the number of its connection.
        address: of the client.
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
        """Starts over: an empty registry, the default settings, counters at zero."""
        self.registry = Registry()
        self.api = QuayApi(self.registry)
        self.tally = Tally()
        self.settings = Settings()
        self._start_faults()
        self._limiter = Limiter(self.settings.rate_limit)
        self._date_second = -1
        self._date = b""

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Changes settings; see `Settings.changed`."""
        self.settings = self.settings.changed(changes)
        if "faults" in changes or "seed" in changes:
            self._start_faults()
        if "rate_limit" in changes:
            self._limiter = Limiter(self.settings.rate_limit)

    def _start_faults(self) -> None:
        self._random = random.Random(self.settings.seed)  # noqa: S311 - it must repeat
        self._faults = FaultPlan(self.settings.faults, self._random)

    def reset_counters(self) -> None:
        """Sets the counters to zero; what is in flight stays in flight."""
        self.tally = Tally(self.tally.in_flight)

    def date(self) -> bytes | None:
        """The value of ``date`` at this moment; None if it is switched off."""
        if not self.settings.date:
            return None
        second = int(self.registry.now() + self.settings.date_skew)
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def handle(self, request: Request) -> tuple[float, Outcome]:
        """The outcome of a request that has just arrived, and after how many seconds it is due."""
        asked = route(request.target)
        token = self._token(request)
        self.tally.arrived(asked.endpoint, authenticated=self.api.user(token) is not None)
        if request.target.startswith("/api/") and not self._admits(request):
            return 0.0, html_reply(429, self._retry_after())
        delay = self._delay(asked.endpoint)
        if asked.endpoint is Endpoint.NOTHING:
            return delay, html_reply(404)
        if asked.endpoint is Endpoint.MISSING_SLASH:
            return delay, _redirect(request)
        if request.method != b"GET":
            return delay, html_reply(405)
        answer = self._answer(request, asked, token)
        fault = self._faults.draw(asked.endpoint, request.target)
        if fault is None:
            return delay, whole_reply(answer.status, encoded(answer.document))
        return delay, outcome_of(fault, answer, self._retry_after())

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
        """The bearer token; Basic and everything else is as good as none."""
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

    def _answer(self, request: Request, asked: Route, token: str | None) -> Answer:
        fields = request.fields
        if b"x-requested-with" not in fields and _BROWSER.search(fields.get(b"user-agent", b"")):
            return _NOT_FOR_BROWSERS
        query = asked.query
        if asked.endpoint is Endpoint.LISTING:
            ignored = {
                "next_page": self.settings.repeat_first_page,
                "last_modified": not self.settings.last_modified,
            }
            query = {name: query[name] for name in query if not ignored.get(name)}
            return self.api.listing(query, token)
        if asked.endpoint is Endpoint.TAGS:
            lag = self.settings.replica_lag
            return self.api.tags(asked.namespace, asked.repository, query, token, replica_lag=lag)
        return self.api.repository(asked.namespace, asked.repository, query, token)


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
