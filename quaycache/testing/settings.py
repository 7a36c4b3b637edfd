"""The settings of the embedded Quay, which can change while it runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

FaultKind = Literal[
    "status",
    "reset",
    "drop",
    "hang",
    "trickle",
    "truncate",
    "truncate_unsized",
    "huge",
    "html",
    "invalid_json",
    "nested",
    "list",
    "null",
    "text_time",
    "number_name",
    "no_digest",
    "other_name",
    "number_next_page",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A defect in the answers to some requests.

    If several faults in `Settings.faults` match a request, the first one happens. Faults affect
    only the listing, tag and repository endpoints, and no request that a rate limit refuses.

    The kinds are:

    - ``status``: an error answer with the status `status`; 429, 502, 503 and 504 are HTML from
      the front end, all others JSON from the application.
    - ``reset``: RST_STREAM instead of an answer; over HTTP/1.1, a dropped connection.
    - ``drop``: a dropped connection instead of an answer.
    - ``hang``: no answer, on a connection that stays open.
    - ``trickle``: the correct answer, one byte every `interval` seconds.
    - ``truncate``: the first half of the body; ``content-length`` announces the whole.
    - ``truncate_unsized``: the first half of the body, without ``content-length``.
    - ``huge``: the correct answer, followed by spaces up to `size` bytes.
    - ``html``: an HTML page with status 200.
    - ``invalid_json``: a body that is not JSON, with the content type of JSON.
    - ``nested``: `size` nested lists instead of the document.
    - ``list``: a list with the document as its only element.
    - ``null``: null as the value of ``tags`` or ``repositories``.
    - ``text_time``: text as the value of ``start_ts`` or ``last_modified``.
    - ``number_name``: a number as the value of ``name``.
    - ``no_digest``: tags without ``manifest_digest``.
    - ``other_name``: tags or repositories with a ``name`` that was not requested.
    - ``number_next_page``: a number as the value of ``next_page``.

    The kinds that change tags or repositories leave an answer without a list of them unchanged.

    Attributes:
        kind: The kind of defect.
        match: The text that the request's path and query must contain; empty means any request.
        endpoint: The endpoint that the request must address; None means all three.
        times: How many times the fault happens; None is unlimited.
        probability: The probability, from 0 to 1, that the fault happens to a matching request. The
            random generator starts from `Settings.seed`, so test runs are reproducible.
        status: The HTTP status, from 400 to 599, for kind ``status``.
        interval: The seconds between two bytes, for kind ``trickle``.
        size: The number of bytes for kind ``huge`` (None is 1 GiB), or the depth for kind
            ``nested`` (None is 100,000).

    Raises:
        ValueError: If a value is out of range.
    """

    kind: FaultKind
    match: str = ""
    endpoint: Literal["listing", "tag", "repository"] | None = None
    times: int | None = None
    probability: float = 1.0
    status: int = 500
    interval: float = 0.01
    size: int | None = None

    def __post_init__(self) -> None:
        _check(self.kind in get_args(FaultKind), f"invalid fault kind {self.kind!r}")
        _check(
            self.endpoint in (None, "listing", "tag", "repository"),
            f"invalid endpoint {self.endpoint!r}",
        )
        _check(0 <= self.probability <= 1, "probability must be from 0 to 1")
        _check(self.times is None or self.times >= 0, "times must not be negative")
        _check(400 <= self.status <= 599, "status must be from 400 to 599")
        _check_seconds("interval", self.interval)
        _check(self.size is None or self.size > 0, "size must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A rate limit like nginx's ``limit_req`` with ``burst`` and ``nodelay``.

    It applies to paths under ``/api/``. A request over the limit gets a 429.

    Attributes:
        rate: The number of requests per second.
        burst: The number of requests above the rate that pass immediately.
        key: The unit to which the limit applies: each connection or each client IP address.

    Raises:
        ValueError: If a value is out of range.
    """

    rate: float
    burst: int
    key: Literal["connection", "ip"]

    def __post_init__(self) -> None:
        _check(self.rate > 0, "rate must be positive")
        _check(self.burst >= 0, "burst must not be negative")
        _check(self.key in ("connection", "ip"), f"invalid rate limit key {self.key!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The behaviour of the embedded Quay.

    The defaults are those of a real Quay, without rate limits, delays and faults.

    Attributes:
        latency: The seconds from a request to its answer; a 429 is immediate. The server reads the
            registry when the request arrives, and the time for ``date`` when the answer leaves:
            the worst case for a cache.
        listing_latency: The latency of the listing; None is `latency`.
        tag_latency: The latency of the tag endpoint; None is `latency`.
        jitter: The maximum of a random, evenly distributed addition to each latency, in seconds.
        http2: Whether new connections can negotiate HTTP/2.
        connection_requests: The number of requests after which a connection ends, over HTTP/2 with
            GOAWAY; None is unlimited.
        idle_timeout: The seconds without a request in flight after which a connection ends; None
            is unlimited.
        close_http1: Whether each HTTP/1.1 answer under ``/api/`` ends its connection.
        rate_limit: The limit of requests; None is unlimited. ``"quay"`` sets the limits of a real
            Quay: over HTTP/2 50 requests per second and a burst of 100 per connection, over
            HTTP/1.1 5 per second and a burst of 25 per client IP address. A new limit starts with
            a full burst.
        retry_after: The ``retry-after`` header of each 429 and 503, sent unchanged; None omits it,
            as Quay does.
        date: Whether answers have a ``date`` header.
        date_skew: The seconds by which ``date`` is ahead of the registry's clock.
        last_modified: Whether the listing has ``last_modified`` for a request that asks for it;
            False models a server that does not know this field.
        replica_lag: The seconds by which the tag endpoint's database is behind the listing's.
        repeat_first_page: Whether the listing treats every page token as invalid.
        ignore_tokens: Whether the server treats every bearer token as invalid.
        faults: The faults. Setting `faults` or `seed` restarts `Fault.times` and the random
            generator.
        seed: The seed of the random generator for `jitter` and `Fault.probability`.

    Raises:
        ValueError: If a value is out of range.
    """

    latency: float = 0.0
    listing_latency: float | None = None
    tag_latency: float | None = None
    jitter: float = 0.0
    http2: bool = True
    connection_requests: int | None = 1000
    idle_timeout: float | None = 5.0
    close_http1: bool = True
    rate_limit: Literal["quay"] | RateLimit | None = None
    retry_after: str | None = None
    date: bool = True
    date_skew: float = 0.0
    last_modified: bool = True
    replica_lag: float = 0.0
    repeat_first_page: bool = False
    ignore_tokens: bool = False
    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        _check_seconds("latency", self.latency)
        _check_seconds("listing_latency", self.listing_latency)
        _check_seconds("tag_latency", self.tag_latency)
        _check_seconds("jitter", self.jitter)
        _check_seconds("idle_timeout", self.idle_timeout)
        _check_seconds("replica_lag", self.replica_lag)
        _check(
            self.connection_requests is None or self.connection_requests > 0,
            "connection_requests must be positive",
        )
        _check(
            self.rate_limit is None
            or self.rate_limit == "quay"
            or isinstance(self.rate_limit, RateLimit),
            "rate_limit must be 'quay', a RateLimit or None",
        )

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """Return a copy with changed values.

        Args:
            changes: The new values, by the name of the setting. A mapping of its fields may stand
                for a `Fault` or a `RateLimit`.

        Raises:
            TypeError: If a setting or a field does not exist.
            ValueError: If a value is out of range.
        """
        made = dict(changes)
        if isinstance(made.get("rate_limit"), Mapping):
            made["rate_limit"] = RateLimit(**made["rate_limit"])
        if "faults" in made:
            made["faults"] = tuple(
                fault if isinstance(fault, Fault) else Fault(**fault) for fault in made["faults"]
            )
        return dataclasses.replace(self, **made)


def _check(valid: bool, message: str) -> None:
    if not valid:
        raise ValueError(message)


def _check_seconds(name: str, value: float | None) -> None:
    _check(
        value is None or (math.isfinite(value) and value >= 0),
        f"{name} must be a finite number of seconds, at least 0: {value!r}",
    )
