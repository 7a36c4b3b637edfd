"""The values that the layers exchange: immutable, and without I/O.

They are named tuples: a run makes thousands of some of them, in a third of the time that a data
class takes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple


class Unknown(enum.Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


MAX_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999, in seconds UTC: the latest that `datetime` can show."""

UNKNOWN: Final = Unknown.UNKNOWN
"""The `last_modified` of a row without that key. Unlike null, it proves nothing."""

LastModified = int | None | Literal[Unknown.UNKNOWN]
"""A repository's ``last_modified``: the newest start of any alive tag, in seconds UTC.

None means that the repository has no alive tag.
"""


class Repository(NamedTuple):
    """One row of a namespace's listing."""

    name: str
    last_modified: LastModified


class Tag(NamedTuple):
    """An alive tag of a repository; times are seconds UTC.

    Attributes:
        name: The name of the tag.
        manifest_digest: The digest that the tag points at, ``sha256:...``.
        start_ts: When the tag was set to this digest.
        end_ts: When the tag will expire; None if it does not expire.
    """

    name: str
    manifest_digest: str
    start_ts: int
    end_ts: int | None


class Provenance(enum.Enum):
    """Where an answer came from; the values are the names of counters in `Stats`."""

    FRESH = "fresh"
    VALIDATED = "validated"
    PROVEN = "proven"
    FETCHED = "fetched"
    STALE = "stale"


class ListingPage(NamedTuple):
    """One page of a namespace's listing.

    Attributes:
        number: The number of the page, counted from 1.
        repositories: The rows of the page, in the server's order.
        last: Whether this is the last page of the listing.
        checked_at: Lower bound on when the server generated the page, in server time (seconds
            UTC): its Date minus the request's duration; None if the server sent no usable Date.
        provenance: FETCHED if it was requested now, else FRESH or STALE, from the store.
    """

    number: int
    repositories: tuple[Repository, ...]
    last: bool
    checked_at: float | None
    provenance: Provenance = Provenance.FETCHED


class Listed(NamedTuple):
    """A repository's ``last_modified`` in the current listing, with the time of its page."""

    last_modified: LastModified
    checked_at: float | None
    provenance: Provenance = Provenance.FETCHED


class StoredAnswer(NamedTuple):
    """An answer as it is stored between runs.

    Attributes:
        tag: The tag, or None if the repository did not carry it.
        checked_at: Lower bound on when the server generated the answer, in server time (seconds
            UTC).
        stored_at: When the answer was stored, seconds UTC by the local clock.
    """

    tag: Tag | None
    checked_at: float
    stored_at: float


class StoredListing(NamedTuple):
    """A complete listing of a namespace as it is stored between runs.

    Attributes:
        repositories: Maps a name to its ``last_modified``, in the server's order; never empty.
        checked_at, stored_at: As in `StoredAnswer`, for the first page of the listing.
    """

    repositories: Mapping[str, LastModified]
    checked_at: float
    stored_at: float


class TagAnswer(NamedTuple):
    """The answer for one tag of one repository.

    Attributes:
        tag: The tag, or None if the repository does not carry it.
        checked_at: Lower bound on when the server generated the answer, in server time (seconds
            UTC); None if the server sent no usable Date.
        provenance: Where the answer came from.
        is_listed: False if the repository was refused and is no longer listed: it was deleted, or
            hidden from this identity alone.
    """

    tag: Tag | None
    checked_at: float | None
    provenance: Provenance
    is_listed: bool = True


class Image(NamedTuple):
    """A repository that carries the tag.

    Attributes:
        registry: The host and any non-default port, such as ``quay.io``.
        repository: ``namespace/repository``.
        tag: The name of the tag.
        digest: The manifest digest, ``sha256:...``.
        start_ts: When the tag was set to this digest, seconds UTC.
        checked_at: Lower bound on when the server generated the answer, in server time (seconds
            UTC); None if the server sent no usable Date.
        stale: Whether the answer is past its freshness lifetime, and was served because the server
            failed or the run was offline.
    """

    registry: str
    repository: str
    tag: str
    digest: str
    start_ts: int
    checked_at: float | None
    stale: bool


class Failure(NamedTuple):
    """A lookup or a listing that failed.

    Attributes:
        repository: ``namespace/repository``, or the namespace alone if its listing failed.
        error: The reason, in one line.
    """

    repository: str
    error: str


class Usage(NamedTuple):
    """The network usage of a run.

    Attributes:
        requests: HTTP requests sent, including retries.
        listing_pages: Pages of listings received.
        retries: Requests that repeated a failed one.
        rate_limited: Responses with status 429.
        connections: Connections opened.
    """

    requests: int = 0
    listing_pages: int = 0
    retries: int = 0
    rate_limited: int = 0
    connections: int = 0


class Stats(NamedTuple):
    """The statistics of a resolve. A lookup is one tag of one repository.

    Attributes:
        repositories: Repositories in the listings.
        found: Images in the result.
        fresh, validated, proven, fetched, stale: Lookups by the provenance of their answer.
        failed: Lookups without an answer.
        usage: The network usage.
        elapsed_s: Elapsed time in seconds.
    """

    repositories: int = 0
    found: int = 0
    fresh: int = 0
    validated: int = 0
    proven: int = 0
    fetched: int = 0
    stale: int = 0
    failed: int = 0
    usage: Usage = Usage()
    elapsed_s: float = 0.0

    @property
    def matched(self) -> int:
        """Lookups that the patterns and ``since`` selected: the sum of the six counters."""
        return self.fresh + self.validated + self.proven + self.fetched + self.stale + self.failed

    def as_dict(self) -> dict[str, int | float]:
        """Return the counters as one flat dict, in a fixed order, ready for JSON."""
        return {
            "repositories": self.repositories,
            "matched": self.matched,
            "found": self.found,
            "requests": self.usage.requests,
            "listing_pages": self.usage.listing_pages,
            "fresh": self.fresh,
            "validated": self.validated,
            "proven": self.proven,
            "fetched": self.fetched,
            "stale": self.stale,
            "failed": self.failed,
            "retries": self.usage.retries,
            "rate_limited": self.usage.rate_limited,
            "connections": self.usage.connections,
            "elapsed_s": round(self.elapsed_s, 3),
        }


class Resolution(NamedTuple):
    """The result of `quaycache.resolve`.

    Attributes:
        images: The images, without duplicates, ordered by repository and tag.
        failures: The failures, ordered by repository; always empty without ``keep_going``.
        stats: The statistics of the run.
        oldest_checked_at: The smallest `checked_at` of all answers, including those that a tag is
            absent, in server time (seconds UTC); None if no answer has one.
    """

    images: tuple[Image, ...]
    failures: tuple[Failure, ...]
    stats: Stats
    oldest_checked_at: float | None = None
