"""Random histories of a registry with resolves in between: every answer is within its bound.

The registry model is asked in process, through the client's protocol, with the test's own
clocks; the cached client and the store are the real ones. The tests check the promise
of `quaycache.freshness`: an absent answer and a digest are never wrong beyond ttl and margin, a
present answer never beyond max_age, and an answer that a listing contradicts is not served.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, cast
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from quaycache import Query, resolve, run
from quaycache.cached.bound import BoundCachedClient
from quaycache.cached.client import CachedQuayClient
from quaycache.errors import QuayAPIError, TransportError
from quaycache.freshness import Mode, Policy
from quaycache.model import UNKNOWN, Listed, Provenance, StoredAnswer, Tag, TagAnswer
from quaycache.names import ANONYMOUS
from quaycache.quay.bound import BoundQuayClient
from quaycache.quay.client import QuayClient
from quaycache.run import Run
from quaycache.store.disk import store as disk_store
from quaycache.store.disk.store import DiskStore
from quaycache.store.keys import AnswerKey, Scope
from quaycache.store.protocol import Store
from quaycache.store.redis import commands, layout
from quaycache.store.redis.store import RedisStore
from quaycache.testing import answers
from quaycache.testing.errors import RegistryError
from quaycache.testing.registry import Registry
from tests.cached.model_client import ModelClient
from tests.conftest import HANG_GUARD
from tests.redis_server import RedisServer

NAMESPACE, TAGS = "kolla", ("v1", "v2")
REPOSITORIES = ("a", "b", "c")
EVENTS = (
    *("push", "push", "push", "push with an expiry", "push the same again"),
    *("delete", "delete", "restore", "set the expiry", "clear the expiry"),
    *("delete the repository", "hide", "show"),
)
SCOPE = Scope(ModelClient.api_url, ANONYMOUS, NAMESPACE)
BEGIN = 1_795_000_000.0

# The stores' own clocks are not those of the histories: nothing is to be dropped by them.
RETENTION = 1e9

PAUSES = st.sampled_from([0.3, 1.0, 5.0, 30.0, 61.0, 130.0, 301.0, 500.0, 2001.0])

# HTTP dates are in whole seconds, and requests take time.
SLACK = 3.0


class State(NamedTuple):
    """What anonymous readers can see of a tag."""

    digest: str
    start_ts: int
    end_ts: int | None


Truth = dict[tuple[str, str], State | None]


@dataclass
class Resolved:
    """The outcome of one resolve for each listed repository."""

    answers: dict[str, TagAnswer]
    refused: set[str]
    walked: bool
    requests: int


def digest_of(answer: TagAnswer) -> str | None:
    return None if answer.tag is None else answer.tag.manifest_digest


class Histories(RuleBasedStateMachine):
    """One example: a registry, a store, two clocks."""

    @initialize(
        ttl=st.sampled_from([0.0, 60.0, 300.0]),
        margin=st.sampled_from([10.0, 60.0]),
        max_age=st.sampled_from([400.0, 2000.0]),
        lag=st.sampled_from([0.0, 0.0, 5.0, 9.0]),
        offset=st.sampled_from([-50_000.0, 0.0, 50_000.0]),
        elapsed=st.sampled_from([0.0, 0.4]),
        unsteady=st.sampled_from([False, False, True]),
        poisoned=st.sampled_from([False, True]),
        silent=st.sampled_from([False, False, False, True]),
    )
    def begin(
        self,
        ttl: float,
        margin: float,
        max_age: float,
        lag: float,
        offset: float,
        elapsed: float,
        unsteady: bool,
        poisoned: bool,
        silent: bool,
    ) -> None:
        self.time = BEGIN
        self.model = Registry(clock=lambda: self.time)
        self.client = ModelClient(
            self.model, self.pass_time, replica_lag=lag, elapsed=elapsed, last_modified=not silent
        )
        self.policy = Policy(ttl=ttl, margin=margin, max_age=max_age)
        self.offset = offset
        self.set_back = 0.0
        self.walks_break_off = False
        self.unsteady = unsteady
        self.poisoned = poisoned
        self.opened = contextlib.ExitStack()
        clock = SimpleNamespace(time=self.local, monotonic=lambda: self.time)
        for module in (run, disk_store, commands):
            self.opened.enter_context(mock.patch.object(module, "time", clock))
        self.opened.enter_context(mock.patch.object(answers, "PAGE_SIZE", 2))
        self.store = self.open_store()
        self.cached = CachedQuayClient(cast("QuayClient", self.client), self.store, self.policy)
        self.opened.callback(self.cached.close)
        self.history: list[tuple[float, Truth]] = []
        self.handed: dict[tuple[str, str], float] = {}
        for name in REPOSITORIES[:2]:
            self.model.push(NAMESPACE, name, "v1")
        self.record()

    def open_store(self) -> Store:
        self.directory = self.opened.enter_context(tempfile.TemporaryDirectory())
        return DiskStore(self.directory, retention=RETENTION)

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.close()

    # Events in the registry

    @rule(
        event=st.sampled_from(EVENTS),
        name=st.sampled_from(REPOSITORIES),
        tag=st.sampled_from(TAGS),
        seconds=st.integers(1, 900),
        number=st.integers(0, 9),
    )
    def something_happens(self, event: str, name: str, tag: str, seconds: int, number: int) -> None:
        self.record()
        model, record = self.model, self.find(name)
        state = self.visible().get((name, tag))
        with contextlib.suppress(RegistryError):
            match event:
                case "push":
                    model.push(NAMESPACE, name, tag)
                case "push with an expiry":
                    model.push(NAMESPACE, name, tag, lifetime=float(seconds))
                case "push the same again" if state is not None:
                    model.push(NAMESPACE, name, tag, state.digest)
                case "delete":
                    model.delete_tag(NAMESPACE, name, tag)
                case "restore" if record is not None and record.rows:
                    row = record.rows[number % len(record.rows)]
                    model.restore(NAMESPACE, name, tag, row.manifest_digest)
                case "set the expiry":
                    model.set_expiry(NAMESPACE, name, tag, self.time + seconds)
                case "clear the expiry":
                    model.set_expiry(NAMESPACE, name, tag, None)
                case "delete the repository":
                    model.delete_repository(NAMESPACE, name)
                case "hide":
                    model.set_public(NAMESPACE, name, False)
                case "show":
                    model.set_public(NAMESPACE, name, True)

    something_happens_again = something_happens

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        until = self.time + seconds
        ends = [
            lifetime.end_ms / 1000
            for name in REPOSITORIES
            if (record := self.find(name)) is not None
            for lifetime in record.rows
            if lifetime.end_ms is not None
        ]
        for moment in sorted(end for end in ends if self.time < end < until):
            self.time = moment
            self.record()
        self.time = until

    @precondition(lambda self: self.unsteady)
    @rule(seconds=st.sampled_from([1.0, 200.0, 5000.0]))
    def local_clock_is_set_back(self, seconds: float) -> None:
        self.offset -= seconds
        self.set_back += seconds

    @precondition(lambda self: self.unsteady)
    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def local_clock_is_set_back_behind_all_entries(self, tag: str, name: str) -> None:
        """All entries become stale; only a walk can validate them."""
        self.ask_for_one_by_name(tag, name)
        self.ask(self.cached, tag)
        self.local_clock_is_set_back(1.0 + self.time - BEGIN + self.set_back)
        known = self.cached.bound(Run()).known_answer(NAMESPACE, name, tag)
        assert known is None
        assert self.ask(self.cached, tag).walked

    @precondition(lambda self: self.poisoned)
    @rule(
        name=st.sampled_from(REPOSITORIES),
        tag=st.sampled_from(TAGS),
        seconds=st.sampled_from([82_000.0, 90_000.0, 3e6]),
    )
    def an_answer_from_the_future_is_stored(self, name: str, tag: str, seconds: float) -> None:
        """Store a correct answer with a time that no example reaches."""
        state = self.visible().get((name, tag))
        found = state and Tag(tag, *state)
        planted = StoredAnswer(found, self.time + seconds, self.local())
        self.store.put_newer({AnswerKey(SCOPE, tag, name): planted}, max_checked_at=float("inf"))
        self.something_happens("push" if found is None else "delete", name, tag, 1, 0)
        self.time_passes_and_resolve(tag, self.bound())
        self.resolve_twice(tag)

    @precondition(lambda self: self.unsteady)
    @rule(
        tag=st.sampled_from(TAGS),
        name=st.sampled_from(REPOSITORIES),
        requests=st.integers(0, 6),
        seconds=st.sampled_from([-5000.0, -700.0, 700.0, 5000.0]),
        event=st.sampled_from(["push", "delete"]),
    )
    def local_clock_is_set_during_a_resolve(
        self, tag: str, name: str, requests: int, seconds: float, event: str
    ) -> None:
        """Answers stored then must have their true age once the clock has caught up."""
        self.something_happens("push", name, tag, 1, 0)
        self.time_passes(self.bound())
        set_before = self.client.requests + requests
        self.client.before_request[set_before] = lambda: self.set_clock(seconds)
        self.check(tag, self.ask(self.cached, tag))
        if self.client.before_request.pop(set_before, None) is not None:
            # After the last request, and before everything learned is stored.
            self.set_clock(seconds)
        self.something_happens(event, name, tag, 1, 0)
        self.record()
        self.time_passes(abs(seconds) + 1.0)
        # By name first: a walk would contradict what is wrong.
        self.ask_for_one_by_name(tag, name)
        self.check(tag, self.ask(self.cached, tag))
        self.check_as_another_runner(tag)

    @rule(tag=st.sampled_from(TAGS))
    def another_runner_resolves(self, tag: str) -> None:
        self.check_as_another_runner(tag)

    def set_clock(self, seconds: float) -> None:
        """Set the local clock; in a directory, an answer may then look that much younger."""
        self.offset += seconds
        self.set_back += max(0.0, -seconds)

    def check_as_another_runner(self, tag: str) -> None:
        """Resolve on the same machine, in a process that begins now."""
        # What this runner has learned is stored first.
        self.cached.known_answer(NAMESPACE, REPOSITORIES[0], tag)
        with self.another_client() as other:
            self.check(tag, self.ask(other, tag))

    def another_client(self) -> CachedQuayClient:
        store = DiskStore(self.directory, retention=RETENTION)
        return CachedQuayClient(cast("QuayClient", self.client), store, self.policy)

    # Resolves and lookups

    @rule(tag=st.sampled_from(TAGS), seconds=PAUSES)
    def time_passes_and_resolve(self, tag: str, seconds: float) -> None:
        self.time_passes(seconds)
        self.check(tag, self.ask(self.cached, tag))

    @rule(tag=st.sampled_from(TAGS))
    def resolve(self, tag: str) -> None:
        self.check(tag, self.ask(self.cached, tag))

    @rule(
        tag=st.sampled_from(TAGS),
        event=st.sampled_from(["push", "delete", "delete the repository", "hide"]),
        name=st.sampled_from(REPOSITORIES),
        seconds=st.sampled_from([0.3, 2.0, 30.0, 500.0, 2001.0]),
    )
    def resolve_while_rows_change(self, tag: str, event: str, name: str, seconds: float) -> None:
        """Between two rows, another run receives an answer, the tag changes, and time passes."""

        def something_happens() -> None:
            self.ask_for_one_by_name(tag, name)
            self.time_passes(2.0)
            self.something_happens(event, name, tag, 1, 0)
            if event == "delete the repository":
                self.something_happens("push", name, tag, 1, 0)
            self.time_passes(seconds)

        # The model's replica lags in its rows alone: those of a hidden repository would show.
        self.something_happens("show", name, tag, 1, 0)
        for other in TAGS:
            self.something_happens("push", name, other, 1, 0)
            self.time_passes(1.0)
        self.time_passes(self.bound())
        self.ask(self.cached, tag, something_happens)

    @rule()
    def resolve_while_the_newest_tag_on_the_last_page_is_deleted(self) -> None:
        """The last page contradicts an answer received during the walk."""
        for name in REPOSITORIES:
            self.something_happens("push", name, TAGS[1], 1, 0)
        last = max(REPOSITORIES, key=lambda name: self.find(name).id)
        self.resolve_while_rows_change(TAGS[1], "delete", last, 2.0)

    @precondition(lambda self: not self.client.replica_lag)
    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def refresh_beside_a_walk(self, tag: str, name: str) -> None:
        """The walk of another run has shown its first page, and then a repository changes."""
        self.time_passes(self.policy.ttl)
        pages = self.cached.bound(Run()).list_pages(NAMESPACE)
        next(pages, None)
        self.time_passes(2.0)
        self.something_happens("show", name, tag, 1, 0)
        self.something_happens("push", name, tag, 1, 0)
        self.refresh(tag)
        list(pages)

    @precondition(lambda self: not self.client.replica_lag)
    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES), forks=st.booleans())
    def refresh_beside_a_lookup(self, tag: str, name: str, forks: bool) -> None:
        """The answer to another run's lookup is on its way, and then the tag changes.

        A forked child has its own lookups: it waits for no thread of its parent.
        """

        def refresh() -> None:
            self.refresh(tag)

        def resolve_in_a_forked_child() -> None:
            self.go_on_in_a_forked_child()
            self.ask(self.cached, tag)

        def something_happens() -> None:
            self.time_passes(2.0)
            self.something_happens("push", name, tag, 1, 0)
            with ThreadPoolExecutor(1) as threads:
                threads.submit(resolve_in_a_forked_child if forks else refresh).result(HANG_GUARD)

        self.client.on_the_way = something_happens
        with contextlib.suppress(QuayAPIError):
            self.cached.bound(Run()).tag_answer(NAMESPACE, name, tag)
        self.client.on_the_way = None

    def go_on_in_a_forked_child(self) -> None:
        """The child has the memory of its parent, but not the thread that writes."""
        shared = self.cached._shared
        shared.store.flush()
        with shared.store._changed:
            shared.store._closed = True
            shared.store._changed.notify()
        if shared.store._thread is not None:
            shared.store._thread.join()
        shared.store._closed = False
        shared.reset_after_fork()

    def refresh(self, tag: str) -> None:
        """Refresh: no answer is older than the run."""
        policy = self.policy._replace(mode=Mode.REFRESH)
        run, began = Run(), self.time
        client = cast("BoundQuayClient", self.client)
        resolved = self.ask(BoundCachedClient(client, run, self.cached._shared, policy), tag)
        for name in REPOSITORIES:
            since = self.time - began + SLACK
            if name in resolved.answers:
                digest = digest_of(resolved.answers[name])
                states = self.states(name, tag, since)
                assert any(digest == (state and state.digest) for state in states)
            elif name not in resolved.refused:
                assert None in self.states(name, tag, since)

    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def resolve_offline_with_since(self, tag: str, name: str) -> None:
        """A wildcard finds what the full names find, even through an older listing."""
        self.time_passes_and_resolve(tag, self.bound())
        self.time_passes(2.0)
        since = int(self.time)
        self.something_happens("push", name, tag, 1, 0)
        self.ask_for_one_by_name(tag, name)
        listed = self.store.load_listing(SCOPE)
        names = [] if listed is None else [n for n in listed.repositories if n in REPOSITORIES]
        assert self.found_offline(tag, since, "*") == self.found_offline(tag, since, *names)

    def found_offline(self, tag: str, since: int, *globs: str) -> set[str]:
        offline = CachedQuayClient(
            cast("QuayClient", self.client),
            self.store,
            self.policy._replace(mode=Mode.OFFLINE),
        )
        self.cached._shared.store.flush()
        queries = [Query(NAMESPACE, glob, tag, since) for glob in globs]
        resolution = resolve(queries, client=offline, max_workers=1, keep_going=True)
        return {image.repository for image in resolution.images}

    @rule(tag=st.sampled_from(TAGS), pages=st.integers(0, 2))
    def resolve_and_the_walk_breaks_off(self, tag: str, pages: int) -> None:
        self.client.break_after, self.walks_break_off = pages, True
        try:
            resolved = self.ask(self.cached, tag)
        except TransportError:
            return
        finally:
            self.client.break_after, self.walks_break_off = None, False
        self.check(tag, resolved)

    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def resolve_after_a_repository_was_hidden(self, tag: str, name: str) -> None:
        """Its stored answer is invalid, although a later walk lists it again."""
        self.time_passes_and_resolve(tag, 1.0)
        self.something_happens("hide", name, tag, 1, 0)
        self.time_passes_and_resolve(tag, self.policy.ttl)
        self.something_happens("show", name, tag, 1, 0)

    @rule(tag=st.sampled_from(TAGS))
    def resolve_after_a_walk_that_broke_off(self, tag: str) -> None:
        """The walk lists the first of two pages, and then fails."""
        for name in REPOSITORIES:
            self.something_happens("push", name, tag, 1, 0)
        self.time_passes_and_resolve(tag, self.bound())
        self.time_passes(self.policy.ttl)
        self.resolve_and_the_walk_breaks_off(tag, 1)
        self.check(tag, self.ask(self.cached, tag))

    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def ask_for_one_by_name(self, tag: str, name: str) -> None:
        bound = self.cached.bound(Run())
        try:
            answer = bound.known_answer(NAMESPACE, name, tag)
            answer = answer or bound.tag_answer(NAMESPACE, name, tag)
        except QuayAPIError:
            self.check_forgotten(name, tag)
            return
        self.check_answer(name, tag, answer, self.policy.max_age)

    @rule(
        name=st.sampled_from(REPOSITORIES),
        alone=st.booleans(),
        event=st.sampled_from(["push", "delete", "delete"]),
        lifetimes=st.sampled_from([0.6, 1.1]),
    )
    def something_happens_after_it_was_asked_for_by_name(
        self, name: str, alone: bool, event: str, lifetimes: float
    ) -> None:
        """The answer is newer than the stored listing, and outdated soon afterwards."""
        older, newest = TAGS
        self.something_happens("delete" if alone else "push", name, older, 1, 0)
        self.time_passes_and_resolve(older, 1.0)
        self.time_passes(max(self.policy.ttl, self.policy.margin + SLACK))
        self.something_happens("push", name, newest, 1, 0)
        self.ask_for_one_by_name(newest, name)
        self.time_passes(1.5)
        self.something_happens(event, name, newest, 1, 0)
        self.time_passes_and_resolve(newest, lifetimes * self.policy.ttl)

    @rule(name=st.sampled_from(REPOSITORIES))
    def another_tag_than_the_newest_is_deleted(self, name: str) -> None:
        """The listing does not show the deletion."""
        older = TAGS[0]
        for tag in TAGS:
            self.something_happens("push", name, tag, 1, 0)
        self.time_passes_and_resolve(older, self.policy.margin + SLACK)
        self.something_happens("delete", name, older, 1, 0)
        self.time_passes_and_resolve(older, self.policy.ttl)
        self.time_passes_and_resolve(older, self.policy.max_age + self.bound())

    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES), life=st.integers(1, 300))
    def outlive_an_expiry_that_was_cleared(self, tag: str, name: str, life: int) -> None:
        """The stored answer has an outdated expiry, and no listing shows the change."""
        out_of_margin = self.policy.margin + SLACK
        self.something_happens("push with an expiry", name, tag, life + int(out_of_margin), 0)
        self.time_passes_and_resolve(tag, out_of_margin)
        self.something_happens("clear the expiry", name, tag, 0, 0)
        self.time_passes_and_resolve(tag, life + out_of_margin)

    @precondition(lambda self: self.client.replica_lag)
    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def resolve_while_a_push_is_on_its_way_to_the_replica(self, tag: str, name: str) -> None:
        """The answer was outdated when it was sent, and the listing is barely newer."""
        self.something_happens("push", name, tag, 0, 0)
        self.time_passes_and_resolve(tag, 1.5)
        self.time_passes_and_resolve(tag, self.bound())

    @rule(tag=st.sampled_from(TAGS))
    def resolve_twice(self, tag: str) -> None:
        self.ask(self.cached, tag)
        again = self.ask(self.cached, tag)
        # Answers stored within ttl cost nothing. A clock that is set back makes them stale, and an
        # empty listing is not stored.
        if self.policy.ttl > SLACK and not self.set_back and not self.client.elapsed:
            fetched = [a for a in again.answers.values() if a.provenance is Provenance.FETCHED]
            walks = 0 if again.answers or again.refused else again.requests
            assert not fetched
            assert again.walked is (walks > 0)
            # An outdated stored listing may lead to a refusal, which is checked there.
            assert again.refused or again.requests == walks

    @precondition(lambda self: not self.client.replica_lag and not self.client.elapsed)
    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(REPOSITORIES))
    def resolve_through_an_empty_cache(self, tag: str, name: str) -> None:
        for stored_tag in TAGS:
            self.something_happens("delete", name, stored_tag, 1, 0)
        with tempfile.TemporaryDirectory() as directory:
            empty = CachedQuayClient(
                cast("QuayClient", self.client),
                DiskStore(directory, retention=RETENTION),
                self.policy,
            )
            with empty:
                resolved = self.ask(empty, tag)
        truth = self.visible()
        said = {name: digest_of(answer) for name, answer in resolved.answers.items()}
        for name in REPOSITORIES:
            state = truth.get((name, tag))
            assert said.get(name) == (None if state is None else state.digest)
        listed = [record for name in REPOSITORIES if (record := self.find(name)) and record.public]
        asked = [
            record
            for record in listed
            if not self.client.last_modified
            or record.last_modified(int(self.time * 1000)) is not None
        ]
        assert resolved.requests == max(1, -(-len(listed) // 2)) + len(asked)

    @invariant()
    def record(self) -> None:
        if hasattr(self, "history"):
            self.history.append((self.time, self.visible()))

    # Checks

    def ask(
        self,
        client: CachedQuayClient | BoundCachedClient,
        tag: str,
        between_rows: Callable[[], None] | None = None,
    ) -> Resolved:
        before, began = self.client.requests, self.time
        bound = client.bound(Run()) if isinstance(client, CachedQuayClient) else client
        found: dict[str, TagAnswer] = {}
        refused: set[str] = set()
        walked = False
        for page in bound.list_pages(NAMESPACE):
            walked = page.provenance is Provenance.FETCHED
            listed_at = self.client.listed_at
            for row in page.repositories:
                listed = Listed(row.last_modified, page.checked_at, page.provenance)
                answer = bound.known_answers(NAMESPACE, tag, [row], page).get(row.name)
                if answer is None:
                    # As a worker does, before it asks.
                    bound.claim(NAMESPACE, tag, {row.name: listed}, seconds=2.0)
                try:
                    answer = answer or bound.tag_answer(NAMESPACE, row.name, tag, listed=listed)
                except QuayAPIError:  # the replica lags
                    refused.add(row.name)
                    self.check_forgotten(row.name, tag)
                    self.check_refused(row.name)
                    continue
                found[row.name] = answer
                if walked and answer.provenance is not Provenance.FETCHED:
                    self.check_against_listing(row.last_modified, answer, listed_at)
                if between_rows is not None:
                    # An answer received by another run since this one began is as good as its own.
                    lasted = self.time - began
                    self.check_answer(row.name, tag, answer, self.policy.max_age, lasted)
                    between_rows()
        return Resolved(found, refused, walked, self.client.requests - before)

    def check_against_listing(
        self, last_modified: object, answer: TagAnswer, listed_at: float
    ) -> None:
        """An answer that the walk contradicts is not served."""
        assert answer.checked_at is not None
        if last_modified is UNKNOWN or listed_at <= answer.checked_at + 1:
            return
        assert answer.tag is None or isinstance(last_modified, int)
        if isinstance(last_modified, int):
            assert last_modified < answer.checked_at
            assert answer.tag is None or answer.tag.start_ts <= last_modified

    def check(self, tag: str, resolved: Resolved) -> None:
        for name in REPOSITORIES:
            if name in resolved.answers:
                self.check_answer(name, tag, resolved.answers[name], self.policy.max_age)
            elif name not in resolved.refused:
                assert None in self.states(name, tag, self.bound())
                if resolved.walked and resolved.answers:
                    self.check_forgotten(name, tag)

    def check_forgotten(self, name: str, tag: str) -> None:
        """A repository that is no longer listed is not served to the next run either."""
        self.handed.pop((name, tag), None)
        assert self.poisoned or self.cached.bound(Run()).known_answer(NAMESPACE, name, tag) is None

    def check_refused(self, name: str) -> None:
        """A refused repository is a failure only if the next listing shows an alive tag."""
        if self.walks_break_off:
            return
        record = self.find(name)
        assert record is not None
        assert record.public
        if self.client.last_modified:
            assert record.last_modified(int(self.time * 1000)) is not None

    def check_answer(
        self, name: str, tag: str, answer: TagAnswer, max_age: float, lasted: float = 0.0
    ) -> None:
        assert answer.checked_at is not None
        if not self.unsteady and not self.poisoned:
            # Answers never become older, except by the fractions that an HTTP date lacks.
            assert answer.checked_at >= self.handed.get((name, tag), 0.0) - 1
            if answer.provenance is not Provenance.PROVEN:
                # A row proves at its own page's time, and once stored, at that of the first page.
                self.handed[name, tag] = answer.checked_at
        if answer.tag is None:
            assert None in self.states(name, tag, self.bound() + lasted)
            return
        digest = answer.tag.manifest_digest
        lately = self.states(name, tag, self.bound() + lasted)
        # If the tag had other digests all that time, the answer is wrong.
        assert None in lately or any(state and state.digest == digest for state in lately)
        limit = max_age + self.policy.margin + SLACK + self.set_back + lasted
        ever = self.states(name, tag, limit)
        assert any(state and state.digest == digest for state in ever)
        end_ts = answer.tag.end_ts
        if end_ts is not None and not self.set_back:
            assert self.time < end_ts + self.policy.margin + SLACK + lasted

    def bound(self) -> float:
        return self.policy.ttl + self.policy.margin + SLACK + self.set_back

    def states(self, name: str, tag: str, seconds: float) -> set[State | None]:
        """Every state that a tag was in during the last `seconds`."""
        since = self.time - seconds
        found = {self.visible().get((name, tag))}
        for moment, truth in reversed(self.history):
            found.add(truth.get((name, tag)))
            if moment < since:
                break
        return found

    def visible(self) -> Truth:
        now_ms = int(self.time * 1000)
        truth: Truth = {}
        for name in REPOSITORIES:
            record = self.find(name)
            for tag in TAGS:
                row = record.tag(tag, now_ms) if record is not None and record.public else None
                if row is None:
                    truth[name, tag] = None
                    continue
                end_ts = None if row.end_ms is None else row.end_ms // 1000
                truth[name, tag] = State(row.manifest_digest, row.start_ms // 1000, end_ts)
        return truth

    def find(self, name: str) -> Any:
        namespace = self.model.namespaces.get(NAMESPACE)
        return None if namespace is None else namespace.get(name)

    def pass_time(self, seconds: float) -> None:
        self.record()
        self.time += seconds
        self.record()

    def local(self) -> float:
        return self.time + self.offset


class HistoriesOnRedis(Histories):
    """The same histories on Redis; each example starts with an empty server.

    The server has its own clock, and other runners have other local clocks. A wrong local clock
    never makes an answer younger: `set_back` stays 0.
    """

    url: ClassVar[str]
    AHEAD = 20_000.0

    def open_store(self) -> Store:
        def server_time(_: object) -> float:
            return self.time + self.AHEAD

        for module in (layout, commands):
            self.opened.enter_context(mock.patch.object(module, "seconds_of", server_time))
        store = RedisStore(self.url, retention=RETENTION)
        store.clean()
        return store

    def set_clock(self, seconds: float) -> None:
        self.offset += seconds

    local_clock_is_set_back = rule(seconds=st.sampled_from([-5000.0, -200.0, 200.0, 5000.0]))(
        precondition(lambda self: self.unsteady)(set_clock)
    )

    def local_clock_is_set_back_behind_all_entries(self) -> None:
        """Do nothing: on a server, the local clock does not count."""

    def check_as_another_runner(self, tag: str) -> None:
        """Resolve on another machine, whose clock is wrong by another amount."""
        before, self.offset = self.offset, -self.offset - 3000.0
        try:
            super().check_as_another_runner(tag)
        finally:
            self.offset = before

    def another_client(self) -> CachedQuayClient:
        store = RedisStore(self.url, retention=RETENTION)
        return CachedQuayClient(cast("QuayClient", self.client), store, self.policy)


@pytest.fixture
def server_of_histories(shared_redis: RedisServer) -> None:
    """The server that the histories run on."""
    HistoriesOnRedis.url = shared_redis.url


SETTINGS = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
Histories.TestCase.settings = SETTINGS
HistoriesOnRedis.TestCase.settings = SETTINGS
TestHistories = Histories.TestCase
TestHistoriesOnRedis = pytest.mark.usefixtures("server_of_histories")(HistoriesOnRedis.TestCase)
