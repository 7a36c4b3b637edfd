"""The listings of one run of a cached client: stored ones, and walks, stored when complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache._lazy import LazyLogger
from quaycache.cached.context import FAILURES, REFUSALS, refused_at
from quaycache.cached.walk import Walk
from quaycache.errors import NotStoredError
from quaycache.freshness import Mode
from quaycache.model import LastModified, Listed, ListingPage, Provenance, Repository, StoredListing
from quaycache.store.keys import ListingKey, Scope

if TYPE_CHECKING:
    from quaycache.cached.context import RunContext
    from quaycache.cached.single_flight import Started
    from quaycache.quay.bound import ListingCursor

LOG = LazyLogger(__name__)


class CachedListings:
    """The listings that one run reads. Thread-safe."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._client = context.client
        self._policy = context.policy
        self._shared = context.shared
        self._stored: dict[str, StoredListing | None] = {}

    def pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield the stored listing as one page if it serves, else the pages of a walk.

        Raises:
            NotStoredError: If the run is offline, and no listing is stored.
            QuayAPIError: If a page cannot be fetched.
        """
        scope = self._context.scope(namespace)
        page = self._stored_page(scope)
        if page is None and self._policy.mode is Mode.OFFLINE:
            raise NotStoredError(f"listing of {namespace}: not in the cache")
        if page is None:
            walk = self._shared.walks.join(scope, self._context.started(), self._context.may_join)
            # Another run may have completed a walk since the store was read.
            page = self._stored_page(scope)
        if page is not None:
            yield page
            return
        try:
            yield from self._read(walk, scope)
        except FAILURES as error:
            stored = self._shared.store.load_listing(scope)
            if stored is None or self._provenance(stored, after_error=True) is None:
                raise
            LOG.warning("%s; using the stored listing, which may be out of date", error)
            shown = {row.name for page in walk.pages for row in page.repositories}
            rest = {
                name: last_modified
                for name, last_modified in stored.repositories.items()
                if name not in shown
            }
            yield _one_page(rest, stored.checked_at, Provenance.STALE, len(walk.pages) + 1)

    def pages_requested_now(self, namespace: str) -> Iterator[ListingPage]:
        """Yield the pages of a walk that begins now, regardless of what is stored."""
        scope = self._context.scope(namespace)
        walk = self._shared.walks.join(scope, self._context.started(), _never)
        return self._read(walk, scope)

    def stored(
        self, namespace: str, repository: str, *, after_error: bool = False
    ) -> Listed | None:
        """Return a repository's row in the stored listing; None if the listing is unusable.

        Also None if the row is missing. That proves nothing: the repository may be newer than the
        listing.

        Args:
            namespace: The repository's namespace.
            repository: The name of a repository that a query names in full.
            after_error: Whether the server has failed.
        """
        if namespace not in self._stored:
            scope = self._context.scope(namespace)
            self._stored[namespace] = self._shared.store.load_listing(scope)
        listing = self._stored[namespace]
        if listing is None or repository not in listing.repositories:
            return None
        provenance = self._provenance(listing, after_error=after_error)
        if provenance is None:
            return None
        return Listed(listing.repositories[repository], listing.checked_at, provenance)

    def _stored_page(self, scope: Scope) -> ListingPage | None:
        """Return the stored listing as one page, if it serves without a walk."""
        listing = self._shared.store.load_listing(scope)
        provenance = None if listing is None else self._provenance(listing)
        if listing is None or provenance is None:
            return None
        return _one_page(listing.repositories, listing.checked_at, provenance)

    def _provenance(
        self, listing: StoredListing, *, after_error: bool = False
    ) -> Provenance | None:
        """Return the provenance of a stored listing that replaces a walk; None if it cannot."""
        policy, now = self._policy, self._context.now
        if policy.mode is Mode.REFRESH:
            return None
        if freshness.listing_is_fresh(listing, policy, now):
            # A listing is stored only if the server has accepted the token.
            self._context.token_accepted = True
            return Provenance.FRESH
        if policy.mode is Mode.OFFLINE:
            usable = freshness.listing_usable_offline(listing, policy, now)
        else:
            usable = after_error and freshness.listing_usable_if_error(listing, policy, now)
        return Provenance.STALE if usable else None

    def _read(self, walk: Walk, scope: Scope) -> Iterator[ListingPage]:
        """Yield the pages of a walk as they arrive, each with its own time.

        A page that was requested before this run began serves like a stored one: its time is not
        the present, by which this run may count the age of answers.
        """

        def fetch(cursor: ListingCursor | None) -> tuple[ListingPage, ListingCursor | None]:
            try:
                page, following = self._client.fetch_page(scope.namespace, cursor)
            except REFUSALS as error:
                until = refused_at(error, self._shared.store.load_listing(scope))
                if until is not None:
                    self._shared.store.remove_if_not_newer({ListingKey(scope): until})
                raise
            if page.last:
                self._store(scope, [*walk.pages, page], walk.started.stored_at)
            return page, following

        context, index = self._context, 0
        while True:
            page = walk.page(index, context.run, context.started().run_id, fetch)
            if page is None:
                return
            context.token_accepted = True
            if walk.requested_in[index] >= context.run_id:
                context.note_server_time(page.checked_at)
            else:
                page = page._replace(provenance=Provenance.FRESH)
            yield page
            index += 1

    def _store(self, scope: Scope, pages: list[ListingPage], began: float) -> None:
        """Store a completed walk, and discard the answers of repositories that it does not list.

        The stored listing has the time of its first page, because it may lack any later push.
        """
        checked_at = pages[0].checked_at
        repositories = {row.name: row.last_modified for page in pages for row in page.repositories}
        if checked_at is None or any(page.checked_at is None for page in pages) or not repositories:
            return
        self._shared.store.add(ListingKey(scope), StoredListing(repositories, checked_at, began))
        self._shared.discard_unlisted(scope, repositories.keys(), checked_at)


def _never(_started: Started) -> bool:
    return False


def _one_page(
    repositories: Mapping[str, LastModified],
    checked_at: float | None,
    provenance: Provenance,
    number: int = 1,
) -> ListingPage:
    """Return a listing as one page, which is the last."""
    rows = tuple(starmap(Repository, repositories.items()))
    return ListingPage(number, rows, True, checked_at, provenance)
