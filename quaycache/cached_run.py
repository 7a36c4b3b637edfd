"""One run of a cached client: the rules of `freshness`, applied to a listing and a store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache.cached_listing import CachedListing
from quaycache.errors import (
    NotStoredError,
    QuayAPIError,
)
from quaycache.freshness import Mode
from quaycache.lazy_logger import LazyLogger
from quaycache.model import (
    Listed,
    ListingPage,
    Provenance,
    Repository,
    StoredAnswer,
    TagAnswer,
)
from quaycache.run_state import FAILURES, REFUSALS, RunState, refused_at
from quaycache.store.keys import ANONYMOUS, AnswerKey, Scope

if TYPE_CHECKING:
    from quaycache.answers_view import AnswersView
    from quaycache.client import QuayClient
    from quaycache.freshness import Moment, Policy
    from quaycache.run import Run
    from quaycache.shared_answers import SharedAnswers

LOG = LazyLogger(__name__)


class CachedRun:
    """What `CachedQuayClient.bound` returns. Thread-safe.

    Args:
        client: bound to the same run and identity.
        run: of the resolve.
        shared: the store, and what other runs of this process have under way.
        policy: how old an answer may be.
    """

    def __init__(self, client: QuayClient, run: Run, shared: SharedAnswers, policy: Policy) -> None:
        self._client = client
        self._run = run
        self._shared = shared
        self._policy = policy
        self._turn = shared.begin()
        self._state = RunState(run, accepted=client.identity == ANONYMOUS)
        self._listing = CachedListing(client, run, shared, policy, self._state)
        self._views: dict[tuple[str, str], AnswersView] = {}
        self._loaded: set[tuple[str, str]] = set()

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """The stored listing if it serves, else a walk that all runs of this process share.

        Drain it, or close it: others wait for it.
        """
        return self._listing.pages(namespace, together=True)

    def walk_alone(self, namespace: str) -> Iterator[ListingPage]:
        """As `list_pages`, for a reader that may pause: nobody waits for it."""
        return self._listing.pages(namespace, together=False)

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """The answer for a repository that nobody listed, if it needs no request, else None."""
        listed = self._listing.stored(namespace, repository)
        return self._judge(self._stored(namespace, repository, tag), listed, self._state.now)

    def known_answers(
        self, namespace: str, tag: str, repositories: Iterable[Repository], page: ListingPage
    ) -> dict[str, TagAnswer]:
        """The answers for repositories of a page that need no request, by name."""
        stored = self._view(namespace, tag, load=True).stored
        if self._policy.mode is Mode.REFRESH:
            stored = {}
        checked_at, provenance, now = page.checked_at, page.provenance, self._state.now
        found: dict[str, TagAnswer] = {}
        for name, last_modified in repositories:
            listed = Listed(last_modified, checked_at, provenance)
            answer = self._judge(stored.get(name), listed, now)
            if answer is not None:
                found[name] = answer
        return found

    def claim(
        self,
        namespace: str,
        tag: str,
        repositories: Mapping[str, Listed | None],
        *,
        seconds: float,
    ) -> Collection[str]:
        """Those that another process is about to ask about; what it has stored is taken over.

        None if its answers would be no use here, or ours none to others.
        """
        if self._policy.mode is not Mode.NORMAL or not self._state.accepted:
            return ()
        if not self._policy.ttl or not self._policy.max_age:
            return ()
        view = self._view(namespace, tag, load=False)
        others = self._shared.claim(view, repositories, seconds)
        return [name for name in others if self._learned(view, name, repositories[name]) is None]

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """The answer, by a request unless somebody else has just made it.

        Raises:
            NotStoredError: offline.
            QuayAPIError: as `QuayClient.tag_answer`.
        """
        by_name = listed is None
        view = self._view(namespace, tag, load=not by_name)
        listed = listed or self._listing.stored(namespace, repository)
        if self._policy.mode is Mode.OFFLINE:
            stored = self._stored(namespace, repository, tag)
            answer = self._judge(stored, listed, self._state.now)
            if answer is not None:
                return answer
            raise NotStoredError(f"{namespace}/{repository}:{tag}: not in the cache")
        key = AnswerKey(self._scope(namespace), tag, repository)
        while True:
            # Of a repository that is listed, a 404 is not yet an answer.
            flight, leads = self._shared.answers.board((key, listed is None))
            if leads:
                with flight:
                    answer = self._learned(view, repository, listed)
                    answer = answer or self._ask(key, view, listed, by_name=by_name)
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
            return freshness.known(
                view.stored.get(repository), listed, self._policy, self._state.now
            )
        return answer

    def _ask(
        self, key: AnswerKey, view: AnswersView, listed: Listed | None, *, by_name: bool
    ) -> TagAnswer:
        turn = self._shared.turn()
        began = self._state.now.local
        namespace, repository = key.scope.namespace, key.repository
        if self._state.server_fails:
            stale = self._stale(key, listed)
            if stale is not None:
                return stale
        try:
            answer = self._client.tag_answer(namespace, repository, key.tag, listed=listed)
        except FAILURES as error:
            self._state.failed()
            stale = self._stale(key, listed)
            if stale is None:
                raise
            LOG.info("%s; the stored answer serves", error)
            return stale
        except REFUSALS as error:
            self._forget(key, view, error)
            if not by_name and listed is not None and self._is_no_longer_listed(key, listed):
                return TagAnswer(None, error.checked_at, Provenance.FETCHED)
            raise
        self._state.answered()
        stored = None
        if answer.checked_at is not None:
            self._state.saw(answer.checked_at)
            if self._state.accepted:
                stored = StoredAnswer(answer.tag, answer.checked_at, began)
                self._shared.keep(key, stored)
        view.learn(repository, answer, stored, turn)
        return answer

    def _stale(self, key: AnswerKey, listed: Listed | None) -> TagAnswer | None:
        """What may serve because the server failed."""
        namespace, repository = key.scope.namespace, key.repository
        listed = listed or self._listing.stored(namespace, repository, after_error=True)
        stored, now = self._stored(namespace, repository, key.tag), self._state.now
        return self._judge(stored, listed, now) or freshness.usable_after_error(
            stored, listed, self._policy, now
        )

    def _forget(self, key: AnswerKey, view: AnswersView, error: QuayAPIError) -> None:
        stored = view.stored.get(key.repository) or self._shared.load_answer(key)
        until = refused_at(error, stored)
        if until is not None:
            view.forget((key.repository,), until)
            self._shared.remove(key, until)

    def _is_no_longer_listed(self, key: AnswerKey, listed: Listed) -> bool:
        """Whether a repository was refused because the stored listing that shows it is outdated.

        Without a cache it would not have been asked about: the job is not to fail for it.
        """
        if listed.provenance is not Provenance.FRESH:
            return False
        try:
            return not self._listing.lists_anew(key.scope.namespace, key.repository, listed)
        except QuayAPIError as error:
            LOG.info("%s", error)
            return False

    def _judge(
        self, stored: StoredAnswer | None, listed: Listed | None, now: Moment
    ) -> TagAnswer | None:
        if self._policy.mode is Mode.OFFLINE:
            return freshness.usable_offline(stored, listed, self._policy, now)
        answer = freshness.known(stored, listed, self._policy, now)
        if answer is None and listed is not None and listed.provenance is Provenance.STALE:
            # The server has just failed to list: it is not asked for every tag as well.
            return freshness.usable_after_error(stored, listed, self._policy, now)
        return answer

    def _stored(self, namespace: str, repository: str, tag: str) -> StoredAnswer | None:
        """One answer, from those of its tag if they have been loaded."""
        if self._policy.mode is Mode.REFRESH:
            return None
        if (namespace, tag) in self._loaded:
            return self._views[namespace, tag].stored.get(repository)
        return self._shared.load_answer(AnswerKey(self._scope(namespace), tag, repository))

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

    def _scope(self, namespace: str) -> Scope:
        return Scope(self._client.api_url, self._client.identity, namespace)
