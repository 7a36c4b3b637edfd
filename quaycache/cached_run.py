"""One run of a cached client: the rules of `freshness`, applied to a listing and a store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache.errors import (
    AuthenticationError,
    MalformedResponseError,
    NotFoundError,
    NotStoredError,
    PermissionDeniedError,
    QuayAPIError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from quaycache.flights import Flights
from quaycache.freshness import Mode, Moment
from quaycache.model import (
    LastModified,
    Listed,
    ListingPage,
    Provenance,
    Repository,
    StoredAnswer,
    StoredListing,
)
from quaycache.store.keys import ANONYMOUS, AnswerKey, ListingKey, Scope

if TYPE_CHECKING:
    from quaycache.answers_view import AnswersView
    from quaycache.client import QuayClient
    from quaycache.flights import Flight
    from quaycache.freshness import Policy
    from quaycache.model import TagAnswer
    from quaycache.run import Run
    from quaycache.shared_answers import SharedAnswers

LOG = logging.getLogger(__name__)

# The server could not say: what is stored may serve instead.
_FAILURES = (TransportError, ServerError, RateLimitedError)

# The server said that it will not say: what is stored is not to be shown again.
_REFUSALS = (AuthenticationError, PermissionDeniedError, NotFoundError, MalformedResponseError)


class CachedRun:
    """What `CachedQuayClient.bound` returns. Thread-safe.

    Args:
        client: bound to the same run and identity.
        run: of the resolve.
        shared: the store, and what other runs of this process have under way.
        policy: how old an answer may be.
        now: the local clock, seconds UTC.
    """

    def __init__(
        self, client: QuayClient, run: Run, shared: SharedAnswers, policy: Policy, now: float
    ) -> None:
        self._client = client
        self._run = run
        self._shared = shared
        self._policy = policy
        self._turn = shared.begin()
        self._now = Moment(now)
        self._identity = client.identity
        self._accepted = self._identity == ANONYMOUS
        self._views: dict[tuple[str, str], AnswersView] = {}
        self._loaded: set[tuple[str, str]] = set()
        self._listings: dict[str, tuple[StoredListing, Provenance] | None] = {}

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """The stored listing if it serves, else a walk that all runs of this process share.

        Drain it, or close it: others wait for it.
        """
        return self._pages(namespace, shared=True)

    def walk_alone(self, namespace: str) -> Iterator[ListingPage]:
        """As `list_pages`, for a reader that may pause: nobody waits for it."""
        return self._pages(namespace, shared=False)

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """The answer for a repository that nobody listed, if it needs no request, else None."""
        stored = self._stored(namespace, repository, tag, None)
        answer = self._judge(stored, None)
        if answer is None:
            listed = self._listed_in_store(namespace, repository)
            if listed is not None:
                return self._judge(stored, listed)
        return answer

    def known_answers(
        self, namespace: str, tag: str, repositories: Iterable[Repository], page: ListingPage
    ) -> dict[str, TagAnswer]:
        """The answers for repositories of a page that need no request, by name."""
        stored = self._view(namespace, tag, load=True).stored
        if self._policy.mode is Mode.REFRESH:
            stored = {}
        checked_at, provenance = page.checked_at, page.provenance
        found: dict[str, TagAnswer] = {}
        for row in repositories:
            listed = Listed(row.last_modified, checked_at, provenance)
            answer = self._judge(stored.get(row.name), listed)
            if answer is not None:
                found[row.name] = answer
        return found

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """The answer, by a request unless somebody else has just made it.

        Raises:
            NotStoredError: offline.
            QuayAPIError: as `QuayClient.tag_answer`.
        """
        if self._policy.mode is Mode.OFFLINE:
            answer = self._judge(self._stored(namespace, repository, tag, listed), listed)
            if answer is not None:
                return answer
            raise NotStoredError(f"{namespace}/{repository}:{tag}: not in the cache")
        view = self._view(namespace, tag, load=listed is not None)
        key = AnswerKey(self._scope(namespace), tag, repository)
        while True:
            flight, leads = self._shared.answers.board(key)
            if leads:
                with flight:
                    answer = self._learned(view, repository, listed) or self._ask(key, view, listed)
                    flight.land(answer)
                    return answer
            landed = flight.wait(self._run)
            if landed is not None:
                own = landed.provenance is not Provenance.FETCHED
                return landed if own else landed._replace(provenance=Provenance.FRESH)

    def _learned(
        self, view: AnswersView, repository: str, listed: Listed | None
    ) -> TagAnswer | None:
        """What another thread or process has learned since this run planned to ask."""
        answer = view.learned_since(repository, self._turn)
        if answer is None and self._policy.mode is Mode.NORMAL:
            return freshness.known(view.stored.get(repository), listed, self._policy, self._now)
        return answer

    def _ask(self, key: AnswerKey, view: AnswersView, listed: Listed | None) -> TagAnswer:
        turn = self._shared.turn()
        namespace, repository = key.scope.namespace, key.repository
        try:
            answer = self._client.tag_answer(namespace, repository, key.tag, listed=listed)
        except _FAILURES as error:
            stored = self._stored(namespace, repository, key.tag, listed)
            stale = freshness.usable_after_error(stored, listed, self._policy, self._now)
            if stale is None:
                raise
            LOG.info("%s; the stored answer serves", error)
            return stale
        except _REFUSALS as error:
            self._forget(key, view, error)
            raise
        stored = None
        if answer.checked_at is not None:
            self._saw(answer.checked_at)
            if self._accepted:
                stored = StoredAnswer(answer.tag, answer.checked_at, self._now.local)
                self._shared.keep(key, stored)
        view.learn(repository, answer, stored, turn)
        return answer

    def _forget(self, key: AnswerKey, view: AnswersView, error: QuayAPIError) -> None:
        until = error.checked_at
        if until is None and (stored := view.stored.get(key.repository)):
            until = stored.checked_at
        if until is not None:
            view.forget((key.repository,), until)
            self._shared.remove(key, until)

    def _judge(self, stored: StoredAnswer | None, listed: Listed | None) -> TagAnswer | None:
        if self._policy.mode is Mode.OFFLINE:
            return freshness.usable_offline(stored, listed, self._policy, self._now)
        answer = freshness.known(stored, listed, self._policy, self._now)
        if answer is None and listed is not None and listed.provenance is Provenance.STALE:
            # The server has just failed to list: it is not asked for every tag as well.
            return freshness.usable_after_error(stored, listed, self._policy, self._now)
        return answer

    def _stored(
        self, namespace: str, repository: str, tag: str, listed: Listed | None
    ) -> StoredAnswer | None:
        if self._policy.mode is Mode.REFRESH:
            return None
        if listed is None and (namespace, tag) not in self._loaded:
            return self._shared.load_answer(AnswerKey(self._scope(namespace), tag, repository))
        return self._view(namespace, tag, load=True).stored.get(repository)

    def _view(self, namespace: str, tag: str, *, load: bool) -> AnswersView:
        """The answers for one tag, loaded once in a run, at its first use."""
        view = self._views.get((namespace, tag))
        load = load and self._policy.mode is not Mode.REFRESH
        if view is None or (load and (namespace, tag) not in self._loaded):
            view = self._shared.view(self._scope(namespace), tag, load=load)
            self._views[namespace, tag] = view
            if load:
                self._loaded.add((namespace, tag))
        return view

    def _listed_in_store(self, namespace: str, repository: str) -> Listed | None:
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
        if freshness.listing_is_fresh(listing, self._policy, self._now):
            # Under a token, it was stored because the server had accepted that.
            self._accepted = True
            return listing, Provenance.FRESH
        if self._policy.mode is Mode.OFFLINE and freshness.listing_usable_offline(
            listing, self._policy, self._now
        ):
            return listing, Provenance.STALE
        return None

    def _pages(self, namespace: str, *, shared: bool) -> Iterator[ListingPage]:
        scope = self._scope(namespace)
        stored = self._shared.load_listing(scope)
        serving = self._serving(stored)
        if serving is not None:
            yield _whole(serving[0].repositories, serving[0].checked_at, serving[1])
        elif self._policy.mode is Mode.OFFLINE:
            raise NotStoredError(f"listing of {namespace}: not in the cache")
        elif shared:
            yield from self._walk_together(scope, stored)
        else:
            yield from self._walk(scope, stored, Flights().board(scope)[0])

    def _walk_together(self, scope: Scope, stored: StoredListing | None) -> Iterator[ListingPage]:
        while True:
            flight, leads = self._shared.walks.board(scope)
            if leads:
                with flight:
                    yield from self._walk(scope, stored, flight)
                return
            page = flight.wait(self._run)
            if page is not None:
                self._accepted = True
                self._saw(page.checked_at)
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
                self._accepted = True
                self._saw(page.checked_at)
                repositories.update((row.name, row.last_modified) for row in page.repositories)
                if page.last:
                    flight.land(_whole(repositories, checked_at, Provenance.FETCHED))
                    if repositories and dated and checked_at is not None:
                        listing = StoredListing(repositories, checked_at, self._now.local)
                        self._keep_listing(scope, listing, stored)
                yield replace(page, checked_at=checked_at)
        except _FAILURES as error:
            if (
                stored is None
                or self._policy.mode is Mode.REFRESH
                or not freshness.listing_usable_after_error(stored, self._policy, self._now)
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
        except _REFUSALS as error:
            until = error.checked_at
            if until is None and stored is not None:
                until = stored.checked_at
            if until is not None:
                self._shared.remove(ListingKey(scope), until)
            raise

    def _keep_listing(
        self, scope: Scope, listing: StoredListing, previous: StoredListing | None
    ) -> None:
        """Store a completed walk, and void what is known of repositories that it does not show."""
        self._shared.keep(ListingKey(scope), listing)
        before = set(previous.repositories) if previous is not None else set()
        for (namespace, _), view in self._views.items():
            if namespace == scope.namespace:
                before |= view.stored.keys()
        if gone := before - listing.repositories.keys():
            self._shared.remove_repositories(scope, gone, listing.checked_at)

    def _saw(self, checked_at: float | None) -> None:
        """Note the time of an answer: the server's clock has come this far."""
        server = self._now.server
        if checked_at is not None and (server is None or checked_at > server):
            self._now = Moment(self._now.local, checked_at)

    def _scope(self, namespace: str) -> Scope:
        return Scope(self._client.api_url, self._identity, namespace)


def _whole(
    repositories: Mapping[str, LastModified],
    checked_at: float | None,
    provenance: Provenance,
    number: int = 1,
) -> ListingPage:
    """A listing as one page, the last."""
    rows = tuple(Repository(name, last) for name, last in repositories.items())
    return ListingPage(number, rows, True, checked_at, provenance)
