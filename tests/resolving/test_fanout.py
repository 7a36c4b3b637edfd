"""The fan-out: repositories that are listed twice, identities, dates, broken clients."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from quaycache import Provenance, QuayClient, resolve
from quaycache.events import Checked, Event
from quaycache.model import Listed, ListingPage, Repository, Tag, TagAnswer
from quaycache.resolving.tag_client import TagClient
from quaycache.resolving.work_queue import WorkQueue
from quaycache.run import Run
from quaycache.testing import EmbeddedQuay
from tests.conftest import HANG_GUARD

MakeClient = Callable[..., QuayClient]

URI = "quay://kolla/*:v1"
SINCE = "quay://kolla/*:v1?since=1970-01-02"
WANTED, NOT_WANTED = 100_000, 1


def present(digit: int) -> TagAnswer:
    digest = "sha256:" + str(digit) * 64
    return TagAnswer(Tag("v1", digest, WANTED, None), 0.0, Provenance.FETCHED)


class ScriptedClient:
    """A client that lists one repository once for each row, and can delay its first lookup."""

    registry = "quay.io"
    identity = "anon"

    def __init__(self, *last_modified: int, first_is_late: bool = False) -> None:
        self.rows = last_modified
        self.first_is_late = first_is_late
        self.lookups = 0
        self.listed_all = threading.Event()
        self.answered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def bound(self, _run: Run, _token: str | None = None) -> ScriptedClient:
        return self

    def list_pages(self, _namespace: str) -> Iterator[ListingPage]:
        for number, last_modified in enumerate(self.rows, 1):
            last = number == len(self.rows)
            rows = (Repository("a", last_modified),)
            yield ListingPage(number, rows, last, float(number))
            if not last and not self.first_is_late:
                assert self.answered.acquire(timeout=HANG_GUARD)
        self.listed_all.set()

    def known_answer(self, *_: object) -> None:
        pass

    def known_answers(
        self, _namespace: str, _tag: str, _rows: Iterable[Repository], _page: ListingPage
    ) -> dict[str, TagAnswer]:
        return {}

    def claim(
        self,
        _namespace: str,
        _tag: str,
        _repositories: Mapping[str, Listed | None],
        *,
        seconds: float,
    ) -> Collection[str]:
        del seconds
        return ()

    def tag_answer(self, *_: str, listed: Listed | None = None) -> TagAnswer:
        assert listed is not None
        with self._lock:
            self.lookups += 1
        number = int(listed.checked_at or 0)
        if number == 1 and self.first_is_late:
            # It was requested before the repository was listed again, and arrives after it.
            assert self.listed_all.wait(HANG_GUARD)
        self.answered.release()
        return present(number)


def run(client: object, *uris: str) -> tuple[list[str], Counter[str]]:
    """Return the digests' first digits, and how often each repository was reported."""
    checked: Counter[str] = Counter()

    def listen(event: Event) -> None:
        if isinstance(event, Checked):
            checked[event.repository] += 1

    resolution = resolve(
        uris or [URI], client=cast("TagClient", client), max_workers=2, on_event=listen
    )
    return [image.digest[7] for image in resolution.images], checked


class TestListedTwice:
    def test_the_last_row_counts_and_is_reported_once(self) -> None:
        assert run(ScriptedClient(WANTED, WANTED)) == (["2"], Counter({"kolla/a": 1}))

    def test_a_late_answer_to_the_first_lookup_is_dropped(self) -> None:
        """This also holds if no query selected the repository in between."""
        client = ScriptedClient(WANTED, NOT_WANTED, WANTED, first_is_late=True)
        assert run(client, SINCE) == (["3"], Counter({"kolla/a": 1}))

    def test_a_repository_that_is_not_wanted_in_the_end_is_not_found(self) -> None:
        client = ScriptedClient(WANTED, NOT_WANTED, first_is_late=True)
        found, _ = run(client, SINCE)
        assert found == []


class TestBrokenClient:
    @pytest.mark.parametrize("claimed", [None, 7])
    def test_an_invalid_claim_defers_nothing(
        self, embedded_quay: EmbeddedQuay, client: QuayClient, claimed: object
    ) -> None:
        embedded_quay.registry.populate("kolla", 5, tag="v1")

        class Odd:
            registry = "quay.io"

            def __init__(self, client: object) -> None:
                self._client = client

            def __getattr__(self, name: str) -> object:
                return getattr(self._client, name)

            def bound(self, run: Run, token: str | None = None) -> Odd:
                return Odd(client.bound(run, token))

            def claim(self, *_: object, **__: object) -> object:
                return claimed

        assert len(run(Odd(client))[0]) == 5

    @pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
    def test_an_exception_in_the_work_queue_ends_the_run(
        self,
        client: QuayClient,
        embedded_quay: EmbeddedQuay,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
    ) -> None:
        embedded_quay.registry.populate("kolla", 5, tag="v1")

        def get(_: WorkQueue) -> None:
            raise error

        monkeypatch.setattr(WorkQueue, "get", get)
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(resolve, [URI], client=client, keep_going=True)
            assert isinstance(running.exception(HANG_GUARD), error)


class TestIdentities:
    TOKEN = "alice-token-1234567890"

    def test_a_token_given_twice_costs_no_further_request(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 10, tag="v1")
        embedded_quay.registry.add_user("alice", self.TOKEN, namespaces=["kolla"])
        client = make_client(self.TOKEN)
        resolution = resolve([URI, f"{URI}?token={self.TOKEN}"], client=client)
        assert (resolution.stats.matched, resolution.stats.found) == (10, 10)
        assert resolution.stats.usage.requests == 11
