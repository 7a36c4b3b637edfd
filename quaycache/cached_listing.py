"""The listings of one run of a cached client: stored ones, and walks that are then stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache.errors import NotStoredError
from quaycache.flights import Flights
from quaycache.freshness import Mode
from quaycache.model import LastModified, Listed, ListingPage, Provenance, Repository, StoredListing
from quaycache.run_state import FAILURES, REFUSALS, RunState, refused_at
from quaycache.store.keys import ListingKey, Scope

if TYPE_CHECKING:
    from quaycache.client import QuayClient
    from quaycache.flights import Flight
    from quaycache.freshness import Policy
    from quaycache.run import Run
    from quaycache.shared_answers import SharedAnswers

LOG = logging.getLogger(__name__)


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
        self._listings: dict[str, tuple[StoredListing, Provenance] | None] = {}

    def pages(self, namespace: str, *, together: bool) -> Iterator[ListingPage]:
        """The stored listing if it serves, else a walk; whole, that is stored.

        Args:
            namespace: whose repositories.
            together: one walk for all runs of this process that ask at the same time; then the
                pages must be drained or closed, because others wait for them.
        """
        scope = self._scope(namespace)
        stored = self._shared.load_listing(scope)
        serving = self._serving(stored)
        if serving is not None:
            yield _whole(serving[0].repositories, serving[0].checked_at, serving[1])
        elif self._policy.mode is Mode.OFFLINE:
            raise NotStoredError(f"listing of {namespace}: not in the cache")
        elif together:
            yield from self._walk_together(scope, stored)
        else:
            yield from self._walk(scope, stored, Flights().board(scope)[0])

    def stored(self, namespace: str, repository: str) -> Listed | None:
        """A repository that was asked for by its full name, in the stored listing if that serves.

        That it is not there proves nothing: the listing may be older than the repository.
        """
        if namespace not in self._listings:
            listing = self._shared.load_listing(self._scope(namespace))
            self._listings[namespace] = self._serving(listing)
        page = self._listings[namespace]
        if page is None or repository not in page[0].repositories:
            return None
        listing, provenance = page
        return Listed(listing.repositories[repository], listing.checked_at, provenance)

    def _serving(self, listing: StoredListing | None) -> tuple[StoredListing, Provenance] | None:
        """A stored listing that serves without a walk, and as what."""
        if listing is None or self._policy.mode is Mode.REFRESH:
            return None
        if freshness.listing_is_fresh(listing, self._policy, self._state.now):
            # Under a token, it was stored because the server had accepted that.
            self._state.accepted = True
            return listing, Provenance.FRESH
        if self._policy.mode is Mode.OFFLINE and freshness.listing_usable_offline(
            listing, self._policy, self._state.now
        ):
            return listing, Provenance.STALE
        return None

    def _walk_together(self, scope: Scope, stored: StoredListing | None) -> Iterator[ListingPage]:
        while True:
            flight, leads = self._shared.walks.board(scope)
            if leads:
                with flight:
                    yield from self._walk(scope, stored, flight)
                return
            page = flight.wait(self._run)
            if page is not None:
                self._state.accepted = True
                self._state.saw(page.checked_at)
                yield page
                return

    def _walk(
        self, scope: Scope, stored: StoredListing | None, flight: Flight[ListingPage]
    ) -> Iterator[ListingPage]:
        """The pages as they arrive, all with the time of the first; whole, they are stored."""
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
                    flight.land(_whole(repositories, checked_at, Provenance.FETCHED))
                    if repositories and dated and checked_at is not None:
                        listing = StoredListing(repositories, checked_at, self._state.now.local)
                        self._keep_listing(scope, listing, stored)
                yield replace(page, checked_at=checked_at)
        except FAILURES as error:
            if (
                stored is None
                or self._policy.mode is Mode.REFRESH
                or not freshness.listing_usable_after_error(stored, self._policy, self._state.now)
            ):
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
            until = refused_at(error, stored)
            if until is not None:
                self._shared.remove(ListingKey(scope), until)
            raise

    def _keep_listing(
        self, scope: Scope, listing: StoredListing, previous: StoredListing | None
    ) -> None:
        """Store a completed walk, and void what is known of repositories that it does not show."""
        self._shared.keep(ListingKey(scope), listing)
        before = self._shared.repositories_in_hand(scope)
        if previous is not None:
            before |= previous.repositories.keys()
        if gone := before - listing.repositories.keys():
            self._shared.remove_repositories(scope, gone, listing.checked_at)

    def _scope(self, namespace: str) -> Scope:
        return Scope(self._client.api_url, self._client.identity, namespace)


def _whole(
    repositories: Mapping[str, LastModified],
    checked_at: float | None,
    provenance: Provenance,
    number: int = 1,
) -> ListingPage:
    """A listing as one page, the last."""
    rows = tuple(Repository(name, last) for name, last in repositories.items())
    return ListingPage(number, rows, True, checked_at, provenance)
