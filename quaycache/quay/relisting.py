"""What a refusal of a listed repository means: the namespace's next listing decides."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from quaycache._lazy import LazyLogger
from quaycache.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    QuayAPIError,
)
from quaycache.model import Listed, Provenance, TagAnswer

if TYPE_CHECKING:
    from quaycache.model import ListingPage

LOG = LazyLogger(__name__)

MAX_LISTINGS: Final = 5
"""Listings of one namespace in one run. A namespace that changes faster cannot be followed."""

_REFUSALS: Final = (AuthenticationError, PermissionDeniedError, NotFoundError)


class _Listing:
    """A listing that was requested because of a refusal.

    Args:
        requested: Its place in the order of lookups, refusals and listings.
        checked_at: The time of its first page.
        rows: The rows by repository; None if the listing could not be fetched.
    """

    __slots__ = ("checked_at", "requested", "rows")

    def __init__(
        self, requested: int, checked_at: float | None, rows: dict[str, Listed] | None
    ) -> None:
        self.requested = requested
        self.checked_at = checked_at
        self.rows = rows

    def shows_alive(self, repository: str) -> bool:
        """Return whether it shows a repository that may carry a tag."""
        row = None if self.rows is None else self.rows.get(repository)
        return row is not None and row.last_modified is not None


class _Namespace:
    """The listings of one namespace in one run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.listing: _Listing | None = None
        self.left = MAX_LISTINGS


class Relisting:
    """Decides about refusals of listed repositories, for one run and one identity. Thread-safe.

    Between its listing and its lookup, a repository may have been deleted or hidden; and a replica
    may not know a new one yet. Concurrent refusals share one listing.

    Args:
        list_pages: Lists a namespace by requests, regardless of what is stored.
    """

    def __init__(self, list_pages: Callable[[str], Iterable[ListingPage]]) -> None:
        self._list_pages = list_pages
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._namespaces: dict[str, _Namespace] = {}

    def decide(self, namespace: str, repository: str, ask: Callable[[], TagAnswer]) -> TagAnswer:
        """Return the answer for a listed repository, from *ask* or from a newer listing.

        Args:
            namespace: The repository's namespace.
            repository: Its name within the namespace.
            ask: Requests the answer; it is called a second time if the repository is still listed.

        Raises:
            QuayAPIError: If *ask* fails, and no newer listing explains the failure.
        """
        began = next(self._order)
        try:
            return ask()
        except _REFUSALS as error:
            # Without a status, the server ignored the token, whatever the repository.
            if error.status is None:
                raise
            listing = self._newer(namespace, repository, began, next(self._order))
            if listing is None or listing.rows is None:
                raise
            row = listing.rows.get(repository)
            if row is None:
                LOG.info("%s/%s is no longer listed", namespace, repository)
                return TagAnswer(None, listing.checked_at, Provenance.FETCHED, is_listed=False)
            if row.last_modified is None:
                return TagAnswer(None, row.checked_at, Provenance.PROVEN)
        return ask()

    def _newer(self, namespace: str, repository: str, began: int, refused: int) -> _Listing | None:
        """Return a listing that decides about a refusal; None if the run may request no more.

        A listing requested after the refusal decides. A listing requested after the lookup began is
        newer than the row that led to it: if the repository is gone from it, that decides as well.
        """
        with self._lock:
            known = self._namespaces.setdefault(namespace, _Namespace())
        with known.lock:
            listing = known.listing
            if listing is not None and (
                listing.rows is None
                or listing.requested > refused
                or (listing.requested > began and not listing.shows_alive(repository))
            ):
                return listing
            if not known.left:
                return None
            known.left -= 1
            known.listing = self._fetch(namespace)
            return known.listing

    def _fetch(self, namespace: str) -> _Listing:
        requested = next(self._order)
        checked_at: float | None = None
        rows: dict[str, Listed] = {}
        try:
            for page in self._list_pages(namespace):
                if page.number == 1:
                    checked_at = page.checked_at
                for row in page.repositories:
                    rows[row.name] = Listed(row.last_modified, page.checked_at, page.provenance)
        except QuayAPIError as error:
            # The failure is remembered, so the listing is not requested for each repository.
            LOG.info("%s", error)
            return _Listing(requested, None, None)
        return _Listing(requested, checked_at, rows)
