"""The fan-out: one sequential listing beside j checks, and the account of what they found."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from quaycache.errors import Cancelled, QuayAPIError, ResolveInterrupted
from quaycache.events import Checked, ChecksPlanned, PageListed
from quaycache.freshness import older_than, proven_absent
from quaycache.model import (
    Failure,
    Image,
    ListingPage,
    Provenance,
    Repository,
    Resolution,
    Stats,
    TagAnswer,
)
from quaycache.run import Run

if TYPE_CHECKING:
    from quaycache.events import Event, Listener
    from quaycache.query import Query

LOG = logging.getLogger(__name__)


class TagClient(Protocol):
    """What a resolve needs of a client; with or without a cache, it cannot tell."""

    @property
    def registry(self) -> str:
        """The registry's name in an image reference."""

    def bound(self, run: Run, token: str | None = None) -> TagClient:
        """This client within `run`, asking in the name of `token` if that is given."""

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """The namespace's repositories, page by page as they arrive."""

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: bool = False
    ) -> TagAnswer:
        """Whether a repository carries a tag."""

    def close(self) -> None:
        """Let go of everything it holds."""


class _Identity(NamedTuple):
    """Whose view of a namespace; None is the client's own."""

    token: str | None
    namespace: str


class _Question(NamedTuple):
    identity: _Identity
    repository: str
    tag: str


@dataclass(slots=True)
class _Check:
    """A question's way to its answer.

    Attributes:
        queries: who asks; each filters the answer by its own `since`.
        turn: counts how often it was asked: of a repository that is listed twice, the last wins.
    """

    queries: list[Query]
    turn: int = 0
    answer: TagAnswer | None = None
    error: QuayAPIError | None = None


class _Outcome(NamedTuple):
    question: _Question
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
        self._run = Run()
        self._executor = ThreadPoolExecutor(max_workers, thread_name_prefix="quaycache")
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._started = time.monotonic()
        self._under_way = 0
        self._submitted = 0
        self._clients: dict[str | None, TagClient] = {}
        self._listed: set[tuple[_Identity, str]] = set()
        self._checks: dict[_Question, _Check] = {}
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
            raise ResolveInterrupted(self._resolution()) from None
        except QuayAPIError as error:
            self._stop()
            error.partial = self._resolution()
            raise
        except BaseException:
            self._stop()
            raise
        self._executor.shutdown()
        resolution = self._resolution()
        LOG.info(
            "%d of %d repositories carry the tag", resolution.stats.found, resolution.stats.matched
        )
        return resolution

    def _ask(self, queries: Iterable[Query]) -> None:
        walks: dict[_Identity, list[Query]] = {}
        for query in queries:
            identity = _Identity(query.token, query.namespace)
            if query.repository is None:
                walks.setdefault(identity, []).append(query)
            else:
                question = _Question(identity, query.repository, query.tag)
                if question in self._checks:
                    self._checks[question].queries.append(query)
                else:
                    self._checks[question] = _Check([query])
                    self._submit(question, listed=False)
        for identity, asking in walks.items():
            self._walk(identity, asking)
        LOG.info(
            "%d of %d repositories to be checked, with %d workers",
            self._submitted,
            len(self._checks),
            self._max_workers,
        )
        self._emit(ChecksPlanned(len(self._checks), complete=True))
        while self._under_way:
            self._take(self._outcomes.get())

    def _walk(self, identity: _Identity, queries: list[Query]) -> None:
        """Ask about a namespace's repositories as its pages arrive."""
        empty = False
        for page in self._pages(identity):
            for repository in page.repositories:
                again = (identity, repository.name) in self._listed
                self._listed.add((identity, repository.name))
                self._plan(identity, queries, repository, page, again)
            empty = page.number == 1 and page.last and not page.repositories
            self._emit(
                PageListed(identity.namespace, page.number, len(page.repositories), page.last)
            )
            self._emit(ChecksPlanned(len(self._checks), complete=False))
            self._take_what_has_come()
        if empty:
            LOG.warning(
                "%s shows no repository: the namespace is empty, misspelt or wholly private",
                identity.namespace,
            )

    def _pages(self, identity: _Identity) -> Iterator[ListingPage]:
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
        self,
        identity: _Identity,
        queries: list[Query],
        repository: Repository,
        page: ListingPage,
        again: bool,
    ) -> None:
        """Ask what the queries want to know of one listed repository."""
        asking: dict[str, list[Query]] = {}
        for query in queries:
            if query.matches(repository.name):
                question = _Question(identity, repository.name, query.tag)
                if not older_than(repository.last_modified, query.since):
                    asking.setdefault(query.tag, []).append(query)
                elif again and question in self._checks:
                    del self._checks[question]
        for tag, wanting in asking.items():
            question = _Question(identity, repository.name, tag)
            check = self._checks.get(question)
            if check is not None and not again:
                check.queries += wanting  # asked already, by its full name
                continue
            check = self._checks[question] = _Check(wanting, turn=check.turn + 1 if check else 0)
            check.answer = proven_absent(repository.last_modified, page.checked_at)
            if check.answer is None:
                self._submit(question, listed=True)
            else:
                self._emit(Checked(_path(question), tag, check.answer))

    def _submit(self, question: _Question, *, listed: bool) -> None:
        self._under_way += 1
        self._submitted += 1
        turn = self._checks[question].turn
        self._executor.submit(self._check, self._bound(question.identity), question, turn, listed)

    def _check(self, client: TagClient, question: _Question, turn: int, listed: bool) -> None:
        """Answer one question, in a worker's thread."""
        answer: TagAnswer | None = None
        failure: Exception | None = None
        try:
            answer = client.tag_answer(
                question.identity.namespace, question.repository, question.tag, listed=listed
            )
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread
            failure = error
        self._outcomes.put(_Outcome(question, turn, answer, failure))
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
            error.repository = _path(question)
        if error is not None and not (self._keep_going and isinstance(error, QuayAPIError)):
            raise error
        check = self._checks.get(question)
        if check is not None and check.turn == outcome.turn:
            check.answer, check.error = outcome.answer, error
            self._emit(Checked(_path(question), question.tag, outcome.answer))

    def _stop(self) -> None:
        """End what is under way, and keep what has been learned."""
        self._run.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._emit = _ignore
        while not self._outcomes.empty():
            with contextlib.suppress(Exception):  # the first failure is the one that counts
                self._take(self._outcomes.get())

    def _bound(self, identity: _Identity) -> TagClient:
        if identity.token not in self._clients:
            self._clients[identity.token] = self._client.bound(self._run, identity.token)
        return self._clients[identity.token]

    def _resolution(self) -> Resolution:
        images: dict[tuple[str, str], Image] = {}
        failures = list(self._failed_listings)
        counts = dict.fromkeys([*(kind.value for kind in Provenance), "failed"], 0)
        for question, check in self._checks.items():
            path = _path(question)
            if check.error is not None:
                counts["failed"] += 1
                failures.append(Failure(path, str(check.error)))
            elif check.answer is not None:
                counts[check.answer.provenance.value] += 1
                if image := self._image(path, check):
                    images[path, question.tag] = image
        return Resolution(
            images=tuple(images[key] for key in sorted(images)),
            failures=tuple(sorted(failures, key=lambda failure: failure.repository)),
            stats=Stats(
                repositories=len(self._listed),
                found=len(images),
                usage=self._run.usage(),
                elapsed_s=time.monotonic() - self._started,
                **counts,
            ),
        )

    def _image(self, path: str, check: _Check) -> Image | None:
        answer = check.answer
        if answer is None or answer.tag is None:
            return None
        tag = answer.tag
        if not any(query.since is None or tag.start_ts >= query.since for query in check.queries):
            return None
        return Image(
            registry=self._client.registry,
            repository=path,
            tag=tag.name,
            digest=tag.manifest_digest,
            start_ts=tag.start_ts,
            checked_at=answer.checked_at,
            stale=answer.provenance is Provenance.STALE,
        )


def _path(question: _Question) -> str:
    return f"{question.identity.namespace}/{question.repository}"


def _ignore(event: Event, /) -> None:
    """Take no note."""
