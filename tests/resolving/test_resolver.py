"""`resolve` against the embedded Quay: its answers, requests and failures."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import quaycache
from quaycache import (
    AuthenticationError,
    Checked,
    ChecksPlanned,
    Event,
    PageListed,
    QuayAPIError,
    QuayClient,
    Query,
    QueryError,
    Resolution,
    ResolveInterrupted,
    ServerError,
    SettingsError,
    resolve,
    resolve_quay_uri,
)
from quaycache.testing import EmbeddedQuay, Fault
from tests.conftest import HANG_GUARD

MakeClient = Callable[..., QuayClient]


def found(resolution: Resolution) -> list[str]:
    return [f"{image.repository}:{image.tag}" for image in resolution.images]


def assert_account_is_right(resolution: Resolution, quay: EmbeddedQuay) -> None:
    stats = resolution.stats.as_dict()
    parts = ("fresh", "validated", "proven", "fetched", "stale", "failed")
    assert stats["matched"] == sum(stats[part] for part in parts)
    assert stats["found"] == len(resolution.images)
    counters = quay.counters()
    assert stats["requests"] == counters.requests
    assert stats["listing_pages"] == counters.listing
    assert stats["connections"] == counters.connections


class TestAnswers:
    def test_image(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        digest = embedded_quay.registry.push("kolla", "nova-api", "v1")
        (image,) = resolve(["quay://kolla/*:v1"], client=client).images
        assert image.registry == embedded_quay.url.removeprefix("https://")
        assert (image.repository, image.tag, image.digest) == ("kolla/nova-api", "v1", digest)
        assert abs(image.start_ts - embedded_quay.registry.now()) < 60
        assert image.checked_at is not None
        assert image.stale is False

    @pytest.mark.parametrize(
        "queries",
        [
            "quay://kolla/*:v1",
            Query("kolla", "*", "v1"),
            ["quay://kolla/*:v1"],
            (Query("kolla", "*", "v1"),),
            {"quay://kolla/*:v1": None}.keys(),
        ],
    )
    def test_one_query_or_several(
        self, embedded_quay: EmbeddedQuay, client: QuayClient, queries: Any
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        assert found(resolve(queries, client=client)) == ["kolla/a:v1"]

    @pytest.mark.parametrize(
        "queries", [None, 5, b"quay://kolla", [5], [b"quay://kolla"], [("kolla", "*", "v1")]]
    )
    def test_anything_but_queries_is_a_query_error(self, client: QuayClient, queries: Any) -> None:
        with pytest.raises(QueryError, match=r"quay:// URIs or Query values"):
            resolve(queries, client=client)

    def test_order_is_by_repository(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        for name in ("c", "a/b", "b", "a"):
            embedded_quay.registry.push("kolla", name, "v1")
        resolution = resolve(["quay://kolla/*:v1"], client=client, max_workers=4)
        assert found(resolution) == ["kolla/a:v1", "kolla/a/b:v1", "kolla/b:v1", "kolla/c:v1"]

    def test_500_repositories_with_16_workers_are_answered_correctly(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 500, every=3)
        resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=16)
        assert len(resolution.images) == 167
        assert len({image.digest for image in resolution.images}) == 167
        for image in resolution.images[::40]:
            name = image.repository.removeprefix("kolla/")
            answer = client.tag_answer("kolla", name, "latest")
            assert answer.tag is not None
            assert answer.tag.manifest_digest == image.digest
        assert resolution.stats.usage.requests == 505
        assert embedded_quay.counters().peak_streams == 1

    def test_glob_and_since(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        registry = embedded_quay.registry
        for name in ("nova-api", "nova-old", "glance"):
            registry.push("kolla", name, "v1")
        registry.advance(1000)
        since = int(registry.now())
        registry.advance(10)
        registry.push("kolla", "nova-api", "v1")
        registry.push("kolla", "nova-retagged", "other")
        query = Query("kolla", "nova-*", "v1", since)
        resolution = resolve([query], client=client)
        assert found(resolution) == ["kolla/nova-api:v1"]
        # The listing alone shows that nova-old is too old; nova-retagged must be looked up.
        assert resolution.stats.matched == 2
        assert_account_is_right(resolution, embedded_quay)

    def test_tag_older_than_since_in_a_newer_repository(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        registry = embedded_quay.registry
        registry.push("kolla", "a", "v1")
        registry.advance(1000)
        since = int(registry.now())
        registry.push("kolla", "a", "v2")
        assert found(resolve([Query("kolla", "*", "v1", since)], client=client)) == []
        assert found(resolve([Query("kolla", "a", "v1", since)], client=client)) == []
        assert found(resolve([Query("kolla", "a", "v2", since)], client=client)) == ["kolla/a:v2"]

    def test_repository_without_tags_needs_no_request(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.create_repository("kolla", "empty")
        embedded_quay.registry.push("kolla", "full", "v1")
        resolution = resolve(["quay://kolla/*:v1"], client=client)
        assert found(resolution) == ["kolla/full:v1"]
        assert (resolution.stats.proven, resolution.stats.fetched) == (1, 1)
        assert embedded_quay.counters().tag == 1
        assert_account_is_right(resolution, embedded_quay)

    def test_the_last_row_of_a_recreated_repository_counts(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        registry = embedded_quay.registry
        registry.populate("kolla", 101, name="r{:03d}")
        listed = [r.name for page in client.list_pages("kolla") for r in page.repositories]

        def recreate(event: Event, /) -> None:
            if isinstance(event, PageListed) and event.page == 1:
                for name in listed[:2]:
                    registry.delete_repository("kolla", name)
                registry.create_repository("kolla", listed[0])
                registry.push("kolla", listed[1], "latest", digest)

        digest = "sha256:" + "5" * 64
        resolution = resolve(
            ["quay://kolla/*:latest"], client=client, on_event=recreate, keep_going=True
        )
        by_name = {image.repository: image.digest for image in resolution.images}
        assert f"kolla/{listed[0]}" not in by_name, "listed again as empty"
        assert by_name[f"kolla/{listed[1]}"] == digest, "listed again with another image"
        assert len(by_name) == 100
        assert resolution.stats.proven == 1
        assert resolution.stats.matched == 101


class TestCost:
    def test_named_repository_needs_no_listing(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "v1")
        resolution = resolve(["quay://kolla/nova-api:v1"], client=client)
        assert found(resolution) == ["kolla/nova-api:v1"]
        assert embedded_quay.counters().requests == 1
        assert_account_is_right(resolution, embedded_quay)

    def test_uris_of_a_namespace_share_its_listing_and_lookups(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        for name in ("nova-api", "nova-compute", "glance"):
            embedded_quay.registry.push("kolla", name, "v1")
            embedded_quay.registry.push("kolla", name, "v2")
        resolution = resolve(
            ["quay://kolla/nova-*:v1", "quay://kolla/*-api:v1", "quay://kolla/nova-api:v2"],
            client=client,
        )
        assert found(resolution) == [
            "kolla/nova-api:v1",
            "kolla/nova-api:v2",
            "kolla/nova-compute:v1",
        ]
        counters = embedded_quay.counters()
        assert (counters.listing, counters.tag) == (1, 3)
        assert_account_is_right(resolution, embedded_quay)

    def test_each_token_has_its_own_listing(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        registry = embedded_quay.registry
        registry.push("kolla", "shown", "v1")
        registry.push("kolla", "hidden", "v1")
        registry.set_public("kolla", "hidden", False)
        registry.add_user("ann", "t0ken", namespaces=["kolla"])
        resolution = resolve(["quay://kolla/*:v1", "quay://kolla/*:v1?token=t0ken"], client=client)
        assert found(resolution) == ["kolla/hidden:v1", "kolla/shown:v1"]
        counters = embedded_quay.counters()
        assert (counters.listing, counters.tag) == (2, 3)
        assert counters.authenticated == 3

    def test_checks_of_a_page_start_while_the_next_is_on_its_way(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 101)
        embedded_quay.configure(faults=[Fault(kind="hang", match="next_page")])
        resolutions: list[Resolution] = []
        thread = threading.Thread(
            target=lambda: resolutions.append(resolve(["quay://kolla/*:latest"], client=client)),
            daemon=True,
        )
        thread.start()
        while embedded_quay.counters().tag < 100:
            assert thread.is_alive()
        assert embedded_quay.counters().listing == 2, "the second page still hangs"
        # This drops the hanging connection; the repeated request finds no further repository.
        embedded_quay.reset()
        thread.join(HANG_GUARD)
        assert len(resolutions[0].images) == 100


class TestFailure:
    def test_the_first_failure_ends_the_run_and_carries_the_partial_result(
        self,
        embedded_quay: EmbeddedQuay,
        make_client: MakeClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # In the order of the listing instead of a random one.
        monkeypatch.setattr("random.randrange", lambda _: 0)
        embedded_quay.registry.populate("kolla", 20, name="r{:02d}")
        embedded_quay.configure(faults=[Fault(kind="status", status=500, match="/r07/")])
        with pytest.raises(ServerError) as caught:
            resolve(["quay://kolla/*:latest"], client=make_client(retries=0), max_workers=1)
        error = caught.value
        assert error.repository == "kolla/r07"
        assert "kolla/r07:latest" in str(error)
        assert error.partial is not None
        assert [image.repository for image in error.partial.images] == [
            f"kolla/r{number:02d}" for number in range(7)
        ]
        assert embedded_quay.counters().tag == 8

    def test_keep_going_collects_failures(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 20, name="r{:02d}")
        embedded_quay.configure(
            faults=[
                Fault(kind="status", status=500, match="/r07/"),
                Fault(kind="status", status=403, match="/r03/"),
            ]
        )
        resolution = resolve(
            ["quay://kolla/*:latest"], client=make_client(retries=0), keep_going=True
        )
        assert len(resolution.images) == 18
        assert [failure.repository for failure in resolution.failures] == ["kolla/r03", "kolla/r07"]
        assert "HTTP 403" in resolution.failures[0].error
        assert resolution.stats.failed == 2
        assert_account_is_right(resolution, embedded_quay)

    def test_failed_listing(self, embedded_quay: EmbeddedQuay, make_client: MakeClient) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.registry.push("other", "b", "v1")
        embedded_quay.configure(faults=[Fault(kind="status", status=500, match="namespace=kolla")])
        uris = ["quay://kolla/*:v1", "quay://other/*:v1"]
        with pytest.raises(ServerError, match="listing of kolla") as caught:
            resolve(uris, client=make_client(retries=0))
        assert caught.value.repository == "kolla"
        resolution = resolve(uris, client=make_client(retries=0), keep_going=True)
        assert found(resolution) == ["other/b:v1"]
        assert [failure.repository for failure in resolution.failures] == ["kolla"]

    def test_named_repository_that_is_missing_is_an_error(self, client: QuayClient) -> None:
        with pytest.raises(AuthenticationError, match="missing or private") as caught:
            resolve(["quay://kolla/nova-api:v1"], client=client)
        assert caught.value.repository == "kolla/nova-api"

    def test_a_worker_failure_wakes_a_hanging_listing(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 101)
        embedded_quay.configure(
            faults=[
                Fault(kind="hang", match="next_page"),
                Fault(kind="status", status=400, endpoint="tag", times=1),
            ]
        )
        with pytest.raises(QuayAPIError, match="HTTP 400") as caught:
            resolve(["quay://kolla/*:latest"], client=make_client())
        assert caught.value.partial is not None

    def test_an_interrupt_carries_the_partial_result(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 30)

        def interrupt(event: Event, /) -> None:
            if isinstance(event, Checked):
                raise KeyboardInterrupt

        with pytest.raises(ResolveInterrupted) as caught:
            resolve(["quay://kolla/*:latest"], client=client, on_event=interrupt)
        assert len(caught.value.partial.images) >= 1

    def test_a_bug_in_a_listener_ends_the_run(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 3)

        def broken(event: Event, /) -> None:  # noqa: ARG001 - the protocol's signature
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            resolve(["quay://kolla/*:latest"], client=client, on_event=broken)

    def test_client_is_usable_after_a_failure(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 30)
        refusal = Fault(kind="status", status=403, match="/repository-00003/", endpoint="tag")
        embedded_quay.configure(faults=[refusal])
        client = make_client()
        with pytest.raises(QuayAPIError):
            resolve(["quay://kolla/*:latest"], client=client)
        embedded_quay.configure(faults=[])
        assert len(resolve(["quay://kolla/*:latest"], client=client).images) == 30

    def test_zero_workers_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="max_workers"):
            resolve(["quay://kolla"], max_workers=0)


class TestTelling:
    def test_events(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        embedded_quay.registry.create_repository("kolla", "empty")
        embedded_quay.registry.populate("kolla", 101)
        events: list[Event] = []
        threads = set()

        def note(event: Event, /) -> None:
            events.append(event)
            threads.add(threading.current_thread())

        resolve(["quay://kolla/*:latest"], client=client, on_event=note)
        assert threads == {threading.current_thread()}
        pages = [event for event in events if isinstance(event, PageListed)]
        assert pages == [PageListed("kolla", 1, 100, False), PageListed("kolla", 2, 2, True)]
        plans = [event for event in events if isinstance(event, ChecksPlanned)]
        assert plans[-1] == ChecksPlanned(102, complete=True)
        assert sum(isinstance(event, Checked) for event in events) == 102

    def test_log(
        self,
        embedded_quay: EmbeddedQuay,
        client: QuayClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, logger="quaycache")
        embedded_quay.registry.create_repository("kolla", "empty")
        embedded_quay.registry.populate("kolla", 10, every=2)
        resolve(["quay://kolla/*:latest"], client=client, max_workers=3)
        assert [record.getMessage() for record in caplog.records] == [
            "checking 10 of 11 repositories with 3 workers",
            "5 of 11 repositories carry the tag",
        ]

    def test_an_empty_anonymous_listing_is_one_warning_and_success(
        self,
        embedded_quay: EmbeddedQuay,
        client: QuayClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        uris = ["quay://misspelt/*:v1", "quay://misspelt/a*:v2"]
        assert resolve(uris, client=client).images == ()
        (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "misspelt shows no repository" in warning.getMessage()
        assert embedded_quay.counters().requests == 1


class TestResolveQuayUri:
    def test_signature_and_result(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "v1")
        embedded_quay.registry.push("kolla", "nova-compute", "v1")
        registry = embedded_quay.url.removeprefix("https://")
        assert resolve_quay_uri("kolla", "nova-*", "v1", None, None, 2, client=client) == [
            (registry, "kolla/nova-api", "v1"),
            (registry, "kolla/nova-compute", "v1"),
        ]
        tomorrow = datetime.datetime.now(tz=datetime.timezone.utc).date() + datetime.timedelta(1)
        assert resolve_quay_uri("kolla", "*", "v1", since=tomorrow, client=client) == []

    def test_public_names(self) -> None:
        assert quaycache.QuayClient is QuayClient
        assert quaycache.resolve_quay_uri is resolve_quay_uri
        assert set(quaycache.__all__) <= set(dir(quaycache))
        for name in quaycache.__all__:
            assert getattr(quaycache, name) is not None
        with pytest.raises(AttributeError):
            quaycache.nothing  # noqa: B018 - the look-up is the test
