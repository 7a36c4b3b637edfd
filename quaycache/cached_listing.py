"""The listings of one run of a cached client: stored ones, and walks that are then stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache.errors import NotStoredError
from quaycache.flights import Flights
from quaycache.freshness import Mode
from quaycache.lazy_logger import LazyLogger
from quaycache.model import LastModified, Listed, ListingPage, Provenance, Repository, StoredListing
from quaycache.run_state import FAILURES, REFUSALS, RunState, refused_at
from quaycache.store.keys import ListingKey, Scope

if TYPE_CHECKING:
    from quaycache.client import QuayClient
    from quaycache.flights import Flight
    from quaycache.freshness import Policy
    from quaycache.run import Run
    from quaycache.shared_answers import SharedAnswers

LOG = LazyLogger(__name__)


class CachedListing:
    """Part of a `quaycache.cached_run.CachedRun`, and made of the same."""

    def __init__(
        self,
        client: QuayClient,
        run: Run,
        shared: SharedAnswers,
        policy: Policy,
        state: RunState,
    ) -> None:
        self._client = client
        self._run = run
        self._shared = shared
        self._policy = policy
        self._state = state
        self._listings: dict[str, StoredListing | None] = {}
        self._anew: dict[str, set[str]] = {}
        self._anew_lock = threading.Lock()

    def pages(self, namespace: str, *, together: bool) -> Iterator[ListingPage]:
        """The stored listing if it serves, else a walk; whole, that is stored.

        Args:
            namespace: whose repositories.
            together: one walk for all runs of this process that ask at the same time; then the
                pages must be drained or closed, because others wait for them.
        """
        scope = self._scope(namespace)
        page = self._serving_page(scope)
        if page is not None:
            yield page
        elif self._policy.mode is Mode.OFFLINE:
            raise NotStoredError(f"listing of {namespace}: not in the cache")
        elif together:
            yield from self._walk_together(scope)
        else:
            yield from self._walk(scope, Flights().board(scope)[0])

    def stored(
        self, namespace: str, repository: str, *, after_error: bool = False
    ) -> Listed | None:
        """A repository that was asked for by its full name, in the stored listing if that serves.

        That it is not there proves nothing: the listing may be older than the repository.

        Args:
            after_error: whether the server has failed.
        """
        if namespace not in self._listings:
            self._listings[namespace] = self._shared.load_listing(self._scope(namespace))
        listing = self._listings[namespace]
        if listing is None or repository not in listing.repositories:
            return None
        provenance = self._serves_as(listing, after_error=after_error)
        if provenance is None:
            return None
        return Listed(listing.repositories[repository], listing.checked_at, provenance)

    def lists_anew(self, namespace: str, repository: str, listed: Listed) -> bool:
        """Whether a newer listing than the stored one that said `listed` still shows a repository.

        Raises:
            QuayAPIError: no listing could be had.
        """
        with self._anew_lock:
            if namespace not in self._anew:
                if listed.checked_at is not None:
                    self._shared.remove(ListingKey(self._scope(namespace)), listed.checked_at)
                pages = self.pages(namespace, together=True)
                self._anew[namespace] = {row.name for page in pages for row in page.repositories}
            return repository in self._anew[namespace]

    def _serving_page(self, scope: Scope) -> ListingPage | None:
        """The stored listing as one page, if it serves without a walk."""
        listing = self._shared.load_listing(scope)
        provenance = None if listing is None else self._serves_as(listing)
        if listing is None or provenance is None:
            return None
        return _whole(listing.repositories, listing.checked_at, provenance)

    def _serves_as(self, listing: StoredListing, *, after_error: bool = False) -> Provenance | None:
        """Whether a stored listing serves without a walk, and as what."""
        policy, now = self._policy, self._state.now
        if policy.mode is Mode.REFRESH:
            return None
        if freshness.listing_is_fresh(listing, policy, now):
            # Under a token, it was stored because the server had accepted that.
            self._state.accepted = True
            return Provenance.FRESH
        if policy.mode is Mode.OFFLINE:
            usable = freshness.listing_usable_offline(listing, policy, now)
        else:
            usable = after_error and freshness.listing_usable_after_error(listing, policy, now)
        return Provenance.STALE if usable else None

    def _walk_together(self, scope: Scope) -> Iterator[ListingPage]:
        while True:
            flight, leads = self._shared.walks.board(scope)
            if leads:
                with flight:
                    # Somebody may have stored one since this run looked.
                    page = self._serving_page(scope)
                    if page is None:
                        yield from self._walk(scope, flight)
                    else:
                        flight.land(page)
                        yield page
                return
            page = flight.wait(self._run)
            if page is not None:
                self._state.accepted = True
                if page.provenance is Provenance.FETCHED:
                    self._state.saw(page.checked_at)
                yield page
                return

    def _walk(self, scope: Scope, flight: Flight[ListingPage]) -> Iterator[ListingPage]:
        """The pages as they arrive, all with the time of the first; whole, they are stored."""
        began = self._state.now.local
        repositories: dict[str, LastModified] = {}
        number, checked_at, dated = 0, None, True
        try:
            for page in self._client.list_pages(scope.namespace):
                if page.number == 1:
                    checked_at = page.checked_at
                number = page.number
                dated = dated and page.checked_at is not None
                self._state.accepted = True
                self._state.saw(page.checked_at)
                repositories.update((row.name, row.last_modified) for row in page.repositories)
                if page.last:
                    if repositories and dated and checked_at is not None:
                        self._keep(scope, StoredListing(repositories, checked_at, began))
                    flight.land(_whole(repositories, checked_at, Provenance.FETCHED))
                yield page._replace(checked_at=checked_at)
        except FAILURES as error:
            stored = self._shared.load_listing(scope)
            if stored is None or self._serves_as(stored, after_error=True) is None:
                raise
            LOG.warning("%s; the stored listing serves, which may be out of date", error)
            rest = {
                name: last_modified
                for name, last_modified in stored.repositories.items()
                if name not in repositories
            }
            whole = {**stored.repositories, **repositories}
            flight.land(_whole(whole, stored.checked_at, Provenance.STALE))
            yield _whole(rest, stored.checked_at, Provenance.STALE, number + 1)
        except REFUSALS as error:
            until = refused_at(error, self._shared.load_listing(scope))
            if until is not None:
                self._shared.remove(ListingKey(scope), until)
            raise

    def _keep(self, scope: Scope, listing: StoredListing) -> None:
        """Store a completed walk, and void what is known of repositories that it does not show."""
        self._shared.keep(ListingKey(scope), listing)
        self._shared.keep_listed(scope, listing.repositories.keys(), listing.checked_at)

    def _scope(self, namespace: str) -> Scope:
        return Scope(self._client.api_url, self._client.identity, namespace)


def _whole(
    repositories: Mapping[str, LastModified],
    checked_at: float | None,
    provenance: Provenance,
    number: int = 1,
) -> ListingPage:
    """A listing as one page, the last."""
    rows = tuple(starmap(Repository, repositories.items()))
    return ListingPage(number, rows, True, checked_at, provenance)
