"""Everything that can be set on the embedded Quay while it runs."""

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
    """Something that goes wrong with requests; the first fault that applies is the one that does.

    Requests of the API's three endpoints only, and none that a rate limit has refused.

    What each kind does:

    - ``status``: `status`, in HTML from the front end (429, 502, 503, 504) or in JSON from the
      application (any other).
    - ``reset``: RST_STREAM instead of an answer; over HTTP/1.1 a dropped connection.
    - ``drop``: the connection is dropped instead of an answer.
    - ``hang``: never an answer.
    - ``trickle``: the answer, one byte every `interval` seconds.
    - ``truncate``: half of the body, although ``content-length`` promises all of it.
    - ``truncate_unsized``: half of the body, without ``content-length``, as if it was complete.
    - ``huge``: a body of `size` bytes, made as it is sent.
    - ``html``: an HTML page with status 200.
    - ``invalid_json``: a body that is not JSON.
    - ``nested``: `size` nested lists.
    - ``list``: the document in a list.
    - ``null``: ``tags`` or ``repositories`` is null.
    - ``text_time``: ``start_ts`` or ``last_modified`` is text.
    - ``number_name``: ``name`` is a number.
    - ``no_digest``: no ``manifest_digest``.
    - ``other_name``: another ``name`` than was asked for.
    - ``number_next_page``: ``next_page`` is a number.

    Attributes:
        kind: what happens.
        match: only to requests whose path with query contains this text.
        endpoint: only to requests of this endpoint; None is any.
        times: only to the first so many requests it would apply to; None is always.
        probability: of applying, from 0 to 1; drawn from a generator seeded with
            `Settings.seed`, so that runs repeat.
        status: of kind ``status``.
        interval: of kind ``trickle``, in seconds.
        size: of kinds ``huge`` (default 1 GB) and ``nested`` (default 100,000).
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
        _check(self.kind in get_args(FaultKind), f"no fault kind {self.kind!r}")
        _check(
            self.endpoint in (None, "listing", "tag", "repository"),
            f"no endpoint {self.endpoint!r}",
        )
        _check(0 <= self.probability <= 1, "a probability is from 0 to 1")
        _check(self.times is None or self.times >= 0, "times cannot be negative")
        _check(400 <= self.status <= 599, "the status of a fault is from 400 to 599")
        _check_seconds("interval", self.interval)
        _check(self.size is None or self.size > 0, "size must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A limit as nginx's ``limit_req`` with ``burst`` and ``nodelay`` has it.

    Attributes:
        rate: requests a second.
        burst: requests beyond the rate before one is refused.
        key: what has a bucket of its own: each connection, or each client IP address.
    """

    rate: float
    burst: int
    key: Literal["connection", "ip"]

    def __post_init__(self) -> None:
        _check(self.rate > 0, "rate must be positive")
        _check(self.burst >= 0, "burst cannot be negative")
        _check(self.key in ("connection", "ip"), f"no rate limit key {self.key!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the embedded Quay behaves; the defaults are Quay's, without limits, delays or faults.

    Attributes:
        latency: seconds from a request to its answer; a 429 comes at once. The registry is read
            when the request arrives and ``date`` when the answer leaves: the least favourable
            order for a cache.
        listing_latency: instead of `latency`, for the listing.
        tag_latency: instead of `latency`, for the tag endpoint.
        jitter: up to so many seconds more, drawn evenly from the seeded generator.
        http2: whether HTTP/2 is offered to connections made from now on.
        connection_requests: a connection ends after so many requests; None is never.
        idle_timeout: a connection ends after so many seconds without a request; None is never.
        close_http1: whether every HTTP/1.1 answer under ``/api/`` ends its connection.
        rate_limit: "quay" is Quay's own: for HTTP/2 50 requests a second and a burst of 100 for
            each connection, for HTTP/1.1 5 a second and a burst of 25 for each client address.
        retry_after: sent with every 429 and 503, as it is; None sends none, like Quay.
        date: whether answers have a ``date``.
        date_skew: seconds that ``date`` is ahead of the registry's clock.
        last_modified: whether the listing says it when asked; other servers and old ones do not.
        replica_lag: seconds that the database behind the tag endpoint is behind.
        repeat_first_page: whether the listing takes every page token for a bad one.
        ignore_tokens: whether every bearer token is taken for a bad one.
        faults: see `Fault`; naming them again starts their `times` and the generator afresh.
        seed: of the generator behind `jitter` and `Fault.probability`.
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
            "rate_limit is 'quay', a RateLimit or None",
        )

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some of them changed.

        Args:
            changes: by the name of a setting. A `Fault` or `RateLimit` may be given as a mapping
                of its fields, which is what travels to the server.

        Raises:
            TypeError: there is no setting, or no field, of that name.
            ValueError: a value is out of range.
        """
        made = dict(changes)
        if isinstance(made.get("rate_limit"), Mapping):
            made["rate_limit"] = RateLimit(**made["rate_limit"])
        if "faults" in made:
            made["faults"] = tuple(
                fault if isinstance(fault, Fault) else Fault(**fault) for fault in made["faults"]
            )
        return dataclasses.replace(self, **made)


def _check(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


def _check_seconds(name: str, value: float | None) -> None:
    _check(
        value is None or (math.isfinite(value) and value >= 0),
        f"{name} is a number of seconds, not {value!r}",
    )
