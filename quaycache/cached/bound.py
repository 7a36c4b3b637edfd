"""One run of a cached client: the rules of freshness, applied to a listing and a store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from quaycache import freshness
from quaycache._lazy import LazyLogger
from quaycache.cached.context import FAILURES, REFUSALS, RunContext, refused_at
from quaycache.cached.listings import CachedListings
from quaycache.errors import NotStoredError, QuayAPIError
from quaycache.freshness import Mode
from quaycache.model import Listed, ListingPage, Provenance, Repository, StoredAnswer, TagAnswer
from quaycache.quay.relisting import Relisting
from quaycache.store.keys import AnswerKey

if TYPE_CHECKING:
    from quaycache.cached.shared import Shared
    from quaycache.cached.single_flight import Started
    from quaycache.cached.tag_cache import TagCache
    from quaycache.freshness import Policy
    from quaycache.quay.bound import BoundQuayClient
    from quaycache.run import Run

LOG = LazyLogger(__name__)


class BoundCachedClient:
    """A `quaycache.resolving.tag_client.BoundClient` with a store in front of it. Thread-safe.

    Args:
        client: The client without a cache, bound to the same run and identity.
        run: The run.
        shared: The store, and what other runs of this process have in progress.
        policy: How old an answer may be.
    """

    def __init__(self, client: BoundQuayClient, run: Run, shared: Shared, policy: Policy) -> None:
        self._context = RunContext(client, run, shared, policy)
        self._shared = shared
        self._policy = policy
        self._listings = CachedListings(self._context)
        self._relisting = Relisting(self._listings.pages_requested_now)
        self._tag_caches: dict[tuple[str, str], TagCache] = {}
        self._loaded: set[tuple[str, str]] = set()
        self._claimed: set[AnswerKey] = set()

    @property
    def identity(self) -> str:
        """``"anon"``, or a one-way hash of the token."""
        return self._context.client.identity

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield the stored listing if it is usable, else a walk shared with concurrent runs."""
        return self._listings.pages(namespace)

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """Return the answer for a repository that was not listed, if it needs no request."""
        listed = self._listings.stored(namespace, repository)
        stored = self._stored(namespace, repository, tag)
        return self._context.reusable(stored, listed, self._context.now)

    def known_answers(
        self, namespace: str, tag: str, repositories: Iterable[Repository], page: ListingPage
    ) -> dict[str, TagAnswer]:
        """Return the answers for repositories of a page that need no request, by repository."""
        entries = self._tag_cache(namespace, tag, load=True).entries
        if self._policy.mode is Mode.REFRESH:
            entries = {}
        checked_at, provenance, now = page.checked_at, page.provenance, self._context.now
        found: dict[str, TagAnswer] = {}
        reusable = self._context.reusable
        for name, last_modified in repositories:
            listed = Listed(last_modified, checked_at, provenance)
            answer = reusable(entries.get(name), listed, now)
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
        """Return the repositories that another process is about to look up.

        The result is empty if this run and other runs cannot use each other's answers.
        """
        if not self._context.shares_answers:
            return ()
        cache = self._tag_cache(namespace, tag, load=False)
        claimed = cache.claim(repositories, seconds)
        scope = self._context.scope(namespace)
        own = repositories.keys() - set(claimed)
        self._claimed.update(AnswerKey(scope, tag, name) for name in own)
        return [name for name in claimed if self._recent(cache, name, repositories[name]) is None]

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return the answer as `look_up` does; a refused listed repository is listed again.

        Raises:
            NotStoredError: If the run is offline, and the answer is not stored.
            QuayAPIError: As `QuayClient.tag_answer`.
        """

        def ask() -> TagAnswer:
            return self.look_up(namespace, repository, tag, listed=listed)

        return ask() if listed is None else self._relisting.decide(namespace, repository, ask)

    def look_up(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return the answer; send a request unless another run has just received it.

        Raises:
            NotStoredError: If the run is offline, and the answer is not stored.
            QuayAPIError: As `QuayClient.tag_answer`.
        """
        cache = self._tag_cache(namespace, tag, load=listed is not None)
        row = listed or self._listings.stored(namespace, repository)
        if self._policy.mode is Mode.OFFLINE:
            stored = self._stored(namespace, repository, tag)
            answer = self._context.reusable(stored, row, self._context.now)
            if answer is None:
                raise NotStoredError(f"{namespace}/{repository}:{tag}: not in the cache")
            return answer
        key = AnswerKey(self._context.scope(namespace), tag, repository)
        return self._fetch_once(key, cache, row)

    def _fetch_once(self, key: AnswerKey, cache: TagCache, listed: Listed | None) -> TagAnswer:
        """Return the answer; concurrent lookups of the same tag share one request."""

        def work() -> TagAnswer:
            recent = self._recent(cache, key.repository, listed)
            return recent if recent is not None else self._fetch_claimed(key, cache, listed)

        def may_join(started: Started) -> bool:
            return not contradicted and self._context.may_join(started)

        # A listed repository's 404 is retried, so the two kinds of lookup must not share a request.
        flight_key, contradicted = (key, listed is None), False
        while True:
            answer, is_shared = self._shared.lookups.do(
                flight_key, work, self._context.run, self._context.started(), may_join
            )
            if not is_shared:
                return answer
            if not freshness.contradicts(listed, answer):
                fetched = answer.provenance is Provenance.FETCHED
                return answer._replace(provenance=Provenance.FRESH) if fetched else answer
            contradicted = True

    def _recent(self, cache: TagCache, repository: str, listed: Listed | None) -> TagAnswer | None:
        """Return an answer that another thread or process has received since the run planned it."""
        learned = cache.learned_in_or_after(repository, self._context.run_id)
        if learned is not None and not freshness.contradicts(listed, learned):
            return learned
        if self._policy.mode is not Mode.NORMAL:
            return None
        entry = cache.entries.get(repository)
        return freshness.fresh_or_validated(entry, listed, self._policy, self._context.now)

    def _fetch_claimed(self, key: AnswerKey, cache: TagCache, listed: Listed | None) -> TagAnswer:
        """Request the answer; if it is not stored, release the claim, so that no run waits."""
        is_claimed = key in self._claimed
        self._claimed.discard(key)
        is_stored = False
        try:
            answer, is_stored = self._fetch(key, cache, listed)
            return answer
        finally:
            if is_claimed and not is_stored:
                self._shared.store.release(key.scope, key.tag, (key.repository,))

    def _fetch(
        self, key: AnswerKey, cache: TagCache, listed: Listed | None
    ) -> tuple[TagAnswer, bool]:
        """Request the answer and record it; return it, and whether it is stored.

        A stale answer may serve if the server fails.
        """
        context, repository = self._context, key.repository
        started = context.started()
        if LOG.is_enabled_for_debug():
            self._explain(key, cache, listed)
        if context.server_is_down:
            stale = self._stale(key, listed)
            if stale is not None:
                return stale, False
        try:
            answer = context.client.fetch_tag(
                key.scope.namespace, repository, key.tag, listed=listed
            )
        except FAILURES as error:
            context.record_failure()
            stale = self._stale(key, listed)
            if stale is None:
                raise
            LOG.info("%s; using the stored answer", error)
            return stale, False
        except REFUSALS as error:
            self._discard(key, cache, error)
            raise
        context.record_success()
        context.note_server_time(answer.checked_at)
        entry = None
        if answer.checked_at is None:
            context.states_time = False
        elif context.token_accepted:
            entry = StoredAnswer(answer.tag, answer.checked_at, started.stored_at)
            self._shared.store.add(key, entry)
        cache.record(repository, answer, entry, started.run_id)
        return answer, entry is not None

    def _explain(self, key: AnswerKey, cache: TagCache, listed: Listed | None) -> None:
        """Log why the answer is requested."""
        from quaycache.cached.reasons import reason_for_request

        context, entry = self._context, cache.entries.get(key.repository)
        reason = "a refresh ignores stored answers"
        if self._policy.mode is not Mode.REFRESH:
            reason = reason_for_request(entry, listed, self._policy, context.now)
        LOG.debug("%s/%s:%s is requested: %s", key.scope.namespace, key.repository, key.tag, reason)

    def _stale(self, key: AnswerKey, listed: Listed | None) -> TagAnswer | None:
        """Return the stored answer that may serve because the server failed, else None."""
        namespace, repository = key.scope.namespace, key.repository
        listed = listed or self._listings.stored(namespace, repository, after_error=True)
        stored, now = self._stored(namespace, repository, key.tag), self._context.now
        return self._context.reusable(stored, listed, now) or freshness.usable_if_error(
            stored, listed, self._policy, now
        )

    def _discard(self, key: AnswerKey, cache: TagCache, error: QuayAPIError) -> None:
        """Remove the answer that was stored before the repository was refused."""
        stored = cache.entries.get(key.repository) or self._shared.store.load_answer(key)
        until = refused_at(error, stored)
        if until is not None:
            self._shared.store.remove_if_not_newer({key: until})
            cache.discard((key.repository,), until)

    def _stored(self, namespace: str, repository: str, tag: str) -> StoredAnswer | None:
        """Return one stored answer, from memory if the answers for its tag have been loaded."""
        if self._policy.mode is Mode.REFRESH:
            return None
        if (namespace, tag) in self._loaded:
            return self._tag_caches[namespace, tag].entries.get(repository)
        scope = self._context.scope(namespace)
        return self._shared.store.load_answer(AnswerKey(scope, tag, repository))

    def _tag_cache(self, namespace: str, tag: str, *, load: bool) -> TagCache:
        """Return the answers for one tag; *load* reads them from the store, once per run."""
        key = (namespace, tag)
        cache = self._tag_caches.get(key)
        if cache is None:
            scope = self._context.scope(namespace)
            cache = self._tag_caches[key] = self._shared.tag_cache(scope, tag)
        if load and key not in self._loaded and self._policy.mode is not Mode.REFRESH:
            cache.refresh()
            self._loaded.add(key)
        return cache
