"""The fan-out: one sequential listing beside j checks, and the account of what they found."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, NamedTuple

from quaycache.account import Asked, Check, Identity, Question, account
from quaycache.errors import Cancelled, QuayAPIError, ResolveInterrupted
from quaycache.events import Checked, ChecksPlanned, PageListed, logged
from quaycache.freshness import older_than
from quaycache.lazy_logger import LazyLogger
from quaycache.model import Failure, Listed, ListingPage, Resolution, TagAnswer
from quaycache.run import Run
from quaycache.turns import Request, Turns
from quaycache.workers import Workers

if TYPE_CHECKING:
    from quaycache.events import Event, Listener
    from quaycache.query import Query
    from quaycache.tag_client import BoundClient, TagClient

LOG = LazyLogger(__name__)


class _Outcome(NamedTuple):
    question: Question
    turn: int
    answer: TagAnswer | None
    error: Exception | None


class FanOut:
    """One resolve. The caller's thread alone touches its state; workers use the queue.

    Args:
        max_workers: how many tags are checked at once, beside the listing.
        keep_going: collect failures instead of ending with the first.
        on_event: called in the caller's thread.
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
        self._turns = Turns(self._run, max_workers)
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._started = time.monotonic()
        self._under_way = 0
        self._submitted = 0
        self._clients: dict[str | None, BoundClient] = {}
        self._listed = 0
        self._checks: dict[Asked, dict[str, Check]] = {}
        self._failed_listings: list[Failure] = []

    def run(self, queries: Iterable[Query]) -> Resolution:
        """Ask, wait for the answers, and account for them.

        Raises:
            QuayAPIError, ResolveInterrupted: with the `Resolution` so far as ``partial``.
        """
        try:
            self._ask(queries)
        except KeyboardInterrupt:
            self._stop()
            raise ResolveInterrupted(self._account()) from None
        except QuayAPIError as error:
            self._stop()
            error.partial = self._account()
            raise
        except BaseException:
            self._stop()
            raise
        self._workers.finish()
        resolution = self._account()
        LOG.info(
            "%d of %d repositories carry the tag", resolution.stats.found, resolution.stats.matched
        )
        return resolution

    def _ask(self, queries: Iterable[Query]) -> None:
        asking: dict[Identity, list[Query]] = {}
        for query in queries:
            asking.setdefault(Identity(query.token, query.namespace), []).append(query)
        walks = {
            identity: of for identity, of in asking.items() if any(q.repository is None for q in of)
        }
        for identity, of in asking.items():
            if identity not in walks:
                self._ask_by_name(identity, of)
        for identity, of in walks.items():
            listed = self._walk(identity, of)
            # What a listing does not show may be newer than it.
            self._ask_by_name(
                identity, (q for q in of if q.repository is not None and q.repository not in listed)
            )
        LOG.info(
            "%d of %d repositories to be checked, with %d workers",
            self._submitted,
            self._planned(),
            self._max_workers,
        )
        self._emit(ChecksPlanned(self._planned(), complete=True))
        while self._under_way:
            self._take(self._outcomes.get())

    def _ask_by_name(self, identity: Identity, queries: Iterable[Query]) -> None:
        """Ask about repositories without a listing, those that the queries name in full."""
        for query in queries:
            question = Question(Asked(identity, query.tag), query.pattern)
            checks = self._checks.setdefault(question.asked, {})
            if question.repository in checks:
                checks[question.repository].queries += (query,)
                continue
            answer = self._bound(identity).known_answer(
                identity.namespace, question.repository, query.tag
            )
            check = checks[question.repository] = Check((query,), answer=answer)
            if answer is None:
                self._submit(question, check, None)
            else:
                self._emit(Checked(question.path, query.tag, answer))

    def _walk(self, identity: Identity, queries: list[Query]) -> set[str]:
        """Ask about a namespace's repositories as its pages arrive; the names of all of them."""
        empty = False
        by_tag: dict[str, list[Query]] = {}
        for query in queries:
            by_tag.setdefault(query.tag, []).append(query)
        listed: set[str] = set()
        with self._workers.ahead() as begin, contextlib.closing(self._pages(identity)) as pages:
            for page in pages:
                begin()
                for tag, asking in by_tag.items():
                    self._plan(Asked(identity, tag), asking, page, listed)
                before = len(listed)
                listed.update(row.name for row in page.repositories)
                self._listed += len(listed) - before
                empty = page.number == 1 and page.last and not page.repositories
                self._emit(
                    PageListed(identity.namespace, page.number, len(page.repositories), page.last)
                )
                self._emit(ChecksPlanned(self._planned(), complete=False))
                self._take_what_has_come()
        if empty:
            registry = self._client.registry.partition(":")[0]
            LOG.warning(
                "%s shows no repository: the namespace is empty, misspelt or wholly private%s",
                identity.namespace,
                "; a URI does not name the registry" if identity.namespace == registry else "",
            )
        return listed

    def _pages(self, identity: Identity) -> Generator[ListingPage]:
        try:
            yield from self._bound(identity).list_pages(identity.namespace)
        except Cancelled:
            # Because a worker has failed: its outcome, which says why, is raised here.
            self._take_what_has_come()
            raise
        except QuayAPIError as error:
            error.repository = identity.namespace
            if not self._keep_going:
                raise
            self._failed_listings.append(Failure(identity.namespace, str(error)))

    def _plan(
        self, asked: Asked, queries: list[Query], page: ListingPage, listed: set[str]
    ) -> None:
        """Ask what the queries want to know of the repositories of a page.

        Args:
            asked: whose listing it is, and the tag that all the queries ask for.
            queries: those of this identity.
            page: of the listing.
            listed: on pages before. Of a repository that is listed twice, the last time counts.
        """
        (identity, tag), checks = asked, self._checks.setdefault(asked, {})
        rows = {row.name: row for row in page.repositories}
        wanted: dict[str, tuple[Query, ...]] = {}
        for query in queries:
            names = query.matching(rows)
            if query.since is not None:
                names = [n for n in names if not older_than(rows[n].last_modified, query.since)]
            wanted |= {name: (*wanted.get(name, ()), query) for name in names}
        for name in listed.intersection(rows).difference(wanted):
            checks.pop(name, None)
        client = self._bound(identity)
        known = client.known_answers(identity.namespace, tag, map(rows.__getitem__, wanted), page)
        for name, wanting in wanted.items():
            before = checks.get(name)
            turn = 0 if before is None else before.turn + 1
            check = checks[name] = Check(wanting, turn, known.get(name))
            if check.answer is None:
                row = rows[name]
                listed_as = Listed(row.last_modified, page.checked_at, page.provenance)
                self._submit(Question(asked, name), check, listed_as)
            elif self._emit is not _ignore:
                self._emit(Checked(f"{identity.namespace}/{name}", tag, check.answer))

    def _planned(self) -> int:
        """How many questions there are so far."""
        return sum(map(len, self._checks.values()))

    def _submit(self, question: Question, check: Check, listed: Listed | None) -> None:
        """Have a worker ask."""
        self._under_way += 1
        self._submitted += 1
        client = self._bound(question.asked.identity)
        self._turns.add(Request(client, question, check.turn, listed))
        self._workers.submit(self._ask_one)

    def _ask_one(self) -> None:
        """Answer one question that waits, in a worker's thread."""
        request = self._turns.take()
        identity, tag = request.question.asked
        answer: TagAnswer | None = None
        failure: Exception | None = None
        try:
            answer = request.client.tag_answer(
                identity.namespace, request.question.repository, tag, listed=request.listed
            )
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread
            failure = error
        self._outcomes.put(_Outcome(request.question, request.turn, answer, failure))
        if failure is not None and not (self._keep_going and isinstance(failure, QuayAPIError)):
            self._run.cancel()

    def _take_what_has_come(self) -> None:
        while not self._outcomes.empty():
            self._take(self._outcomes.get())

    def _take(self, outcome: _Outcome) -> None:
        """Note an outcome; raise the failure that ends the run."""
        self._under_way -= 1
        question, error = outcome.question, outcome.error
        if isinstance(error, Cancelled):
            return
        if isinstance(error, QuayAPIError):
            error.repository = question.path
        if error is not None and not (self._keep_going and isinstance(error, QuayAPIError)):
            raise error
        check = self._checks[question.asked].get(question.repository)
        if check is not None and check.turn == outcome.turn:
            check.answer, check.error = outcome.answer, error
            self._emit(Checked(question.path, question.asked.tag, outcome.answer))

    def _stop(self) -> None:
        """End what is under way, and keep what has been learned."""
        self._run.cancel()
        self._workers.abandon()
        self._emit = _ignore
        while not self._outcomes.empty():
            with contextlib.suppress(Exception):  # the first failure is the one that counts
                self._take(self._outcomes.get())

    def _account(self) -> Resolution:
        return account(
            self._checks,
            self._failed_listings,
            registry=self._client.registry,
            repositories=self._listed,
            usage=self._run.usage(),
            elapsed_s=time.monotonic() - self._started,
        )

    def _bound(self, identity: Identity) -> BoundClient:
        if identity.token not in self._clients:
            self._clients[identity.token] = self._client.bound(self._run, identity.token)
        return self._clients[identity.token]


def _ignore(event: Event, /) -> None:
    """Take no note."""
