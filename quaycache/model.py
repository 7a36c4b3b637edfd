"""The values that travel between the floors: frozen, slotted, without behaviour that does I/O.

Those that a run makes by the thousand are named tuples, which are made in a third of the time.
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
"""The year 9999: what datetime, and so every reader of ours, can still name."""

UNKNOWN: Final = Unknown.UNKNOWN
"""A listing did not say: the key was absent. That is not null, and proves nothing."""

LastModified = int | None | Literal[Unknown.UNKNOWN]
"""A repository's ``last_modified``: the newest start of any alive tag, in seconds UTC.

None says that the repository has no alive tag at all.
"""


class Repository(NamedTuple):
    """One row of a namespace's listing."""

    name: str
    last_modified: LastModified


class Tag(NamedTuple):
    """An alive tag of a repository; times are seconds UTC.

    Attributes:
        start_ts: when the tag came to point at this digest.
        end_ts: when it will expire; None if it has no expiry.
    """

    name: str
    manifest_digest: str
    start_ts: int
    end_ts: int | None


class Provenance(enum.Enum):
    """How an answer was come by; the names of the counters in `Stats`."""

    FRESH = "fresh"
    VALIDATED = "validated"
    PROVEN = "proven"
    FETCHED = "fetched"
    STALE = "stale"


class ListingPage(NamedTuple):
    """One page of a namespace's listing.

    Attributes:
        number: counted from 1.
        repositories: in the server's order.
        last: whether the walk is complete with this page.
        checked_at: the earliest moment it can be true of, seconds UTC by the server's clock; None
            if the server did not say the time.
        provenance: fetched now, or stored: fresh, or stale.
    """

    number: int
    repositories: tuple[Repository, ...]
    last: bool
    checked_at: float | None
    provenance: Provenance = Provenance.FETCHED


class Listed(NamedTuple):
    """What the listing in hand says of one repository; the fields are those of its page."""

    last_modified: LastModified
    checked_at: float | None
    provenance: Provenance = Provenance.FETCHED


class StoredAnswer(NamedTuple):
    """An answer as it is kept between runs.

    Attributes:
        tag: None says that the repository did not carry the tag.
        checked_at: the earliest moment it can be true of, seconds UTC by the server's clock.
        stored_at: when it was stored, seconds UTC by the local clock.
    """

    tag: Tag | None
    checked_at: float
    stored_at: float


class StoredListing(NamedTuple):
    """A completed walk of a namespace's listing as it is kept between runs.

    Attributes:
        repositories: by name, in the server's order; never empty.
        checked_at, stored_at: as in `StoredAnswer`; those of its first page.
    """

    repositories: Mapping[str, LastModified]
    checked_at: float
    stored_at: float


class TagAnswer(NamedTuple):
    """The answer for one tag of one repository.

    Attributes:
        tag: None says that the repository does not carry the tag.
        checked_at: the earliest moment it can be true of, seconds UTC by the server's clock; None
            if the server did not say the time.
    """

    tag: Tag | None
    checked_at: float | None
    provenance: Provenance


class Image(NamedTuple):
    """A repository that carries the tag.

    Attributes:
        registry: the host, and the port unless it is the scheme's own: ``quay.io``.
        repository: ``namespace/repository``.
        digest: of the manifest, ``sha256:...``.
        start_ts: when the tag came to point at this digest, seconds UTC.
        checked_at: the earliest moment the answer can be true of, seconds UTC; None if the server
            did not say the time.
        stale: whether the answer is past its freshness lifetime and served because no better one
            could be had.
    """

    registry: str
    repository: str
    tag: str
    digest: str
    start_ts: int
    checked_at: float | None
    stale: bool


class Failure(NamedTuple):
    """A question without an answer.

    Attributes:
        repository: ``namespace/repository``, or the namespace alone if its listing failed.
        error: one line.
    """

    repository: str
    error: str


class Usage(NamedTuple):
    """What a run cost.

    Attributes:
        requests: HTTP requests sent, repeated ones included.
        listing_pages: pages of listings received.
        retries: requests that repeated a failed one.
        rate_limited: answers with status 429.
        connections: connections opened.
    """

    requests: int = 0
    listing_pages: int = 0
    retries: int = 0
    rate_limited: int = 0
    connections: int = 0


class Stats(NamedTuple):
    """The account of a resolve, one question being one tag of one repository.

    Attributes:
        repositories: repositories seen in listings.
        found: images of the result.
        fresh, validated, proven, fetched, stale: questions by the provenance of their answer.
        failed: questions without an answer.
        usage: what it cost.
        elapsed_s: wall clock, seconds.
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
        """Questions wanted by pattern and ``since``: the sum of the six counters."""
        return self.fresh + self.validated + self.proven + self.fetched + self.stale + self.failed

    def as_dict(self) -> dict[str, int | float]:
        """The counters as one flat object, in a fixed order, ready for JSON."""
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
    """What `quaycache.resolve` returns.

    Attributes:
        images: ordered by repository, then tag; none twice.
        failures: ordered by repository; empty unless the run was told to keep going.
        oldest_checked_at: of all answers, that a tag is absent included, seconds UTC; None if the
            server did not say the time of any.
    """

    images: tuple[Image, ...]
    failures: tuple[Failure, ...]
    stats: Stats
    oldest_checked_at: float | None = None
