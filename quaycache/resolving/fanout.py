"""The fan-out: one sequential listing, j concurrent lookups, and their combined result."""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from quaycache._lazy import LazyLogger
from quaycache.errors import Cancelled, QuayAPIError, ResolveInterrupted
from quaycache.events import Checked, ChecksPlanned, PageListed, logged
from quaycache.freshness import older_than
from quaycache.model import Failure, Listed, ListingPage, Resolution, TagAnswer
from quaycache.resolving.lookup import Lookup, Target
from quaycache.resolving.resolution import build_resolution
from quaycache.resolving.work_queue import WorkQueue
from quaycache.resolving.workers import Workers
from quaycache.run import Run

if TYPE_CHECKING:
    from quaycache.events import Event, Listener
    from quaycache.model import Repository
    from quaycache.query import Query
    from quaycache.resolving.tag_client import BoundClient, TagClient

    # What a worker hands to the caller's thread: its lookup, if it got one; the answer or the
    # error; and whether the error ends the run.
    Outcome = tuple[Lookup | None, TagAnswer | None, BaseException | None, bool]

LOG = LazyLogger(__name__)


class FanOut:
    """One resolve. The caller's thread alone touches its state; workers use the queues.

    Args:
        client: The client to use, with or without a cache.
        max_workers: How many lookups are made at once, in addition to the listing.
        keep_going: Collect failures instead of ending with the first.
        on_event: The listener, called in the caller's thread.
    """

    def __init__(
        self,
        client: TagClient,
        max_workers: int,
        keep_going: bool,
        on_event: Listener | None,
    ) -> None:
        self._client = client
        self._max_workers = max_workers
        self._keep_going = keep_going
        self._emit: Listener = on_event if on_event is not None else _ignore
        if LOG.is_enabled_for_debug():
            self._emit = logged(self._emit, LOG)
        self._run = Run()
        self._workers = Workers(max_workers)
        self._work = WorkQueue(self._run, max_workers)
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._started = time.monotonic()
        self._pending = 0
        self._submitted = 0
        self._identities: dict[str | None, str] = {}
        self._clients: dict[str, BoundClient] = {}
        self._listed = 0
        self._lookups: dict[Target, dict[str, Lookup]] = {}
        self._failed_listings: list[Failure] = []

    def run(self, queries: Iterable[Query]) -> Resolution:
        """Make all lookups, and return the result.

        Raises:
            QuayAPIError: With the `Resolution` so far as ``partial``.
            ResolveInterrupted: Likewise, after Ctrl-C.
        """
        try:
            self._submit_all(queries)
            self._collect()
        except KeyboardInterrupt:
            self._stop()
            raise ResolveInterrupted(self._build_resolution()) from None
        except QuayAPIError as error:
            self._stop()
            error.partial = self._build_resolution()
            raise
        except BaseException:
            self._stop()
            raise
        self._workers.shutdown()
        resolution = self._build_resolution()
        LOG.info(
            "%d of %d repositories carry the tag", resolution.stats.found, resolution.stats.matched
        )
        return resolution

    def _submit_all(self, queries: Iterable[Query]) -> None:
        groups: dict[tuple[str, str], list[Query]] = {}
        for query in queries:
            groups.setdefault((self._bind(query.token), query.namespace), []).append(query)
        walks = {
            key: group for key, group in groups.items() if any(q.repository is None for q in group)
        }
        for (identity, namespace), group in groups.items():
            if (identity, namespace) not in walks:
                self._submit_named(identity, namespace, group)
        for (identity, namespace), group in walks.items():
            listed = self._list_and_submit(identity, namespace, group)
            # The repository may have been created after the listing was taken.
            named = (query for query in group if query.repository is not None)
            unlisted = (query for query in named if query.repository not in listed)
            self._submit_named(identity, namespace, unlisted)

    def _collect(self) -> None:
        """Wait for the outcomes of all lookups."""
        LOG.info(
            "checking %d of %d repositories with %d workers",
            self._submitted,
            self._planned(),
            self._max_workers,
        )
        self._emit(ChecksPlanned(self._planned(), complete=True))
        while self._pending:
            self._record(self._outcomes.get())

    def _submit_named(self, identity: str, namespace: str, queries: Iterable[Query]) -> None:
        """Look up the repositories that the queries name in full, without a listing."""
        client = self._clients[identity]
        for query in queries:
            repository, target = query.pattern, Target(identity, namespace, query.tag)
            lookups = self._lookups.setdefault(target, {})
            if repository in lookups:
                lookups[repository].queries += (query,)
                continue
            answer = client.known_answer(namespace, repository, query.tag)
            lookup = lookups[repository] = Lookup(
                client, target, repository, None, (query,), answer
            )
            if answer is None:
                self._submit(lookup)
            else:
                self._report(lookup)

    def _list_and_submit(self, identity: str, namespace: str, queries: list[Query]) -> set[str]:
        """Look up a namespace's repositories as its pages arrive; return all their names."""
        is_empty = False
        by_tag: dict[str, list[Query]] = {}
        for query in queries:
            by_tag.setdefault(query.tag, []).append(query)
        listed: set[str] = set()
        with (
            self._workers.prestart() as cancel_prestart,
            contextlib.closing(self._pages(identity, namespace)) as pages,
        ):
            for page in pages:
                cancel_prestart()
                for tag, group in by_tag.items():
                    self._submit_page(Target(identity, namespace, tag), group, page, listed)
                before = len(listed)
                listed.update(row.name for row in page.repositories)
                self._listed += len(listed) - before
                is_empty = page.number == 1 and page.last and not page.repositories
                self._emit(PageListed(namespace, page.number, len(page.repositories), page.last))
                self._emit(ChecksPlanned(self._planned(), complete=False))
                self._record_arrived()
        if is_empty:
            registry = self._client.registry.partition(":")[0]
            LOG.warning(
                "%s shows no repository: the namespace is empty, misspelt or wholly private%s",
                namespace,
                "; a URI does not name the registry" if namespace == registry else "",
            )
        return listed

    def _pages(self, identity: str, namespace: str) -> Generator[ListingPage]:
        try:
            yield from self._clients[identity].list_pages(namespace)
        except Cancelled:
            # A worker has failed. Recording its outcome raises the reason.
            self._record_arrived()
            raise
        except QuayAPIError as error:
            error.repository = namespace
            if not self._keep_going:
                raise
            self._failed_listings.append(Failure(namespace, str(error)))

    def _submit_page(
        self, target: Target, queries: list[Query], page: ListingPage, listed: set[str]
    ) -> None:
        """Look up the repositories of a page that the queries select.

        Args:
            target: The target of all the queries.
            queries: The queries for this target.
            page: A page of the listing.
            listed: The names on earlier pages. If a repository is listed twice, its last row
                counts.
        """
        client, lookups = self._clients[target.identity], self._lookups.setdefault(target, {})
        rows = {row.name: row for row in page.repositories}
        wanted: dict[str, tuple[Query, ...]] = {}
        for query in queries:
            wanted |= {name: (*wanted.get(name, ()), query) for name in query.matching(rows)}
        known = client.known_answers(
            target.namespace, target.tag, map(rows.__getitem__, wanted), page
        )
        if any(query.since is not None for query in queries):
            wanted = {
                name: selecting
                for name, group in wanted.items()
                if (selecting := _selecting(group, rows[name], known.get(name)))
            }
        for name in listed.intersection(rows).difference(wanted):
            if name in lookups:
                lookups.pop(name).superseded = True
        for name, group in wanted.items():
            row = rows[name]
            listed_as = Listed(row.last_modified, page.checked_at, page.provenance)
            lookup = Lookup(client, target, name, listed_as, group, known.get(name))
            before = lookups.get(name)
            if before is not None:
                before.superseded = True
                lookup.reported = before.reported
            lookups[name] = lookup
            if lookup.answer is None:
                self._submit(lookup)
            elif self._emit is not _ignore:
                self._report(lookup)

    def _planned(self) -> int:
        """Return how many lookups there are so far."""
        return sum(map(len, self._lookups.values()))

    def _submit(self, lookup: Lookup) -> None:
        """Queue a lookup for the workers."""
        self._pending += 1
        self._submitted += 1
        self._work.put(lookup)
        self._workers.submit(self._run_one)

    def _run_one(self) -> None:
        """Make one of the queued lookups, in a worker's thread."""
        lookup: Lookup | None = None
        answer: TagAnswer | None = None
        failure: BaseException | None = None
        try:
            lookup = self._work.get()
            _, namespace, tag = lookup.target
            if not lookup.superseded:
                answer = lookup.client.tag_answer(
                    namespace, lookup.repository, tag, listed=lookup.listed
                )
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            failure = error
        is_fatal = failure is not None and self._is_fatal(lookup, failure)
        self._outcomes.put((lookup, answer, failure, is_fatal))
        if is_fatal:
            self._run.cancel()

    def _is_fatal(self, lookup: Lookup | None, failure: BaseException) -> bool:
        """Return whether a failure ends the run."""
        if lookup is None or not isinstance(failure, QuayAPIError):
            return True
        return not self._keep_going and not lookup.superseded

    def _record_arrived(self) -> None:
        while not self._outcomes.empty():
            self._record(self._outcomes.get())

    def _record(self, outcome: Outcome) -> None:
        """Record an outcome; raise the failure that ends the run."""
        self._pending -= 1
        lookup, answer, error, is_fatal = outcome
        if isinstance(error, Cancelled):
            return
        if lookup is not None and isinstance(error, QuayAPIError):
            error.repository = lookup.path
        if error is not None and is_fatal:
            raise error
        if lookup is not None and not lookup.superseded:
            lookup.answer = answer
            lookup.error = error if isinstance(error, QuayAPIError) else None
            self._report(lookup)

    def _report(self, lookup: Lookup) -> None:
        """Emit `Checked`, once even if the repository is listed twice."""
        if not lookup.reported:
            lookup.reported = True
            self._emit(Checked(lookup.path, lookup.target.tag, lookup.answer))

    def _stop(self) -> None:
        """Cancel the run, and record the outcomes that have arrived."""
        self._run.cancel()
        self._workers.cancel_pending()
        self._emit = _ignore
        while not self._outcomes.empty():
            with contextlib.suppress(Exception):  # the first failure is the one that counts
                self._record(self._outcomes.get())

    def _build_resolution(self) -> Resolution:
        lookups = (by_repository.values() for by_repository in self._lookups.values())
        return build_resolution(
            itertools.chain.from_iterable(lookups),
            self._failed_listings,
            registry=self._client.registry,
            repositories=self._listed,
            usage=self._run.usage(),
            elapsed_s=time.monotonic() - self._started,
        )

    def _bind(self, token: str | None) -> str:
        """Return the identity of a token, and bind one client to each identity."""
        if token not in self._identities:
            client = self._client.bound(self._run, token)
            self._identities[token] = client.identity
            self._clients.setdefault(client.identity, client)
        return self._identities[token]


def _selecting(
    queries: tuple[Query, ...], row: Repository, answer: TagAnswer | None
) -> tuple[Query, ...]:
    """Return the queries for which a repository is recent enough.

    The known answer may be newer than the listing, and show a later start.
    """
    start_ts = None if answer is None or answer.tag is None else answer.tag.start_ts
    return tuple(
        query
        for query in queries
        if not older_than(row.last_modified, query.since)
        or (start_ts is not None and query.since is not None and start_ts >= query.since)
    )


def _ignore(event: Event, /) -> None:
    """Discard an event."""
