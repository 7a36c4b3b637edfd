"""`QuayClient` against the embedded Quay: every endpoint and every quirk."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from quaycache import (
    AuthenticationError,
    BadRequestError,
    MalformedResponseError,
    NotFoundError,
    PermissionDeniedError,
    Provenance,
    QuayAPIError,
    QuayClient,
    QueryError,
    RateLimitedError,
    Repository,
    ServerError,
    SettingsError,
    TransportError,
    UnexpectedStatusError,
    resolve,
)
from quaycache.errors import Cancelled
from quaycache.model import Listed
from quaycache.quay.bound import BoundQuayClient
from quaycache.run import Run
from quaycache.testing import EmbeddedQuay, Fault
from tests.conftest import HANG_GUARD

MakeClient = Callable[..., QuayClient]


def names(client: QuayClient | BoundQuayClient, namespace: str = "kolla") -> list[str]:
    return [r.name for page in client.list_pages(namespace) for r in page.repositories]


class TestListing:
    def test_pages_stream_in_order(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        embedded_quay.registry.populate("kolla", 250)
        pages = client.list_pages("kolla")
        first = next(pages)
        assert (first.number, len(first.repositories), first.last) == (1, 100, False)
        assert embedded_quay.counters().listing == 1, "the next page is asked for when it is wanted"
        rest = list(pages)
        assert [(p.number, len(p.repositories), p.last) for p in rest] == [
            (2, 100, False),
            (3, 50, True),
        ]

    def test_exactly_100_are_one_page(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 100)
        assert [page.last for page in client.list_pages("kolla")] == [True]
        assert embedded_quay.counters().listing == 1

    def test_last_modified(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        embedded_quay.registry.create_repository("kolla", "empty")
        embedded_quay.registry.push("kolla", "full", "v1")
        (page,) = client.list_pages("kolla")
        empty, full = page.repositories
        assert empty == Repository("empty", None)
        assert isinstance(full.last_modified, int)
        answer = client.tag_answer("kolla", "full", "v1")
        assert answer.tag is not None
        assert answer.tag.start_ts == full.last_modified

    def test_empty_misspelt_and_private_are_one_empty_page(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.create_repository("secret", "a", public=False)
        for namespace in ("secret", "misspelt"):
            (page,) = client.list_pages(namespace)
            assert (page.repositories, page.last) == ((), True)

    def test_bad_cursor_is_an_error_and_no_loop(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 250)
        embedded_quay.configure(repeat_first_page=True)
        with pytest.raises(MalformedResponseError, match="listing of kolla: page 2 only repeats"):
            names(client)
        assert embedded_quay.counters().listing == 2

    def test_the_rest_of_the_walk_is_deleted_during_it(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 101, name="r{:03d}")
        pages = client.list_pages("kolla")
        seen = [r.name for r in next(pages).repositories]
        last = ({f"r{i:03d}" for i in range(102)} - set(seen)) & set(names(client))
        for name in last:
            embedded_quay.registry.delete_repository("kolla", name)
        (page,) = pages
        assert (page.repositories, page.last) == ((), True)

    def test_token_sees_private(
        self, embedded_quay: EmbeddedQuay, client: QuayClient, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.push("kolla", "hidden", "v1")
        embedded_quay.registry.set_public("kolla", "hidden", False)
        embedded_quay.registry.push("kolla", "shown", "v1")
        embedded_quay.registry.add_user("ann", "good-token", namespaces=["kolla"])
        assert names(client) == ["shown"]
        assert names(make_client("good-token")) == ["hidden", "shown"]
        assert names(client.bound(Run(), "good-token")) == ["hidden", "shown"]
        assert names(client) == ["shown"], "the token went with the request, not the connection"

    def test_silently_ignored_token_is_an_error(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        with pytest.raises(AuthenticationError, match="server ignored the token") as caught:
            names(make_client("expired-token"))
        assert "expired-token" not in str(caught.value)

    def test_an_empty_listing_under_a_token_is_an_authentication_error(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.add_user("ann", "good-token", namespaces=["kolla"])
        with pytest.raises(
            AuthenticationError, match="empty or misspelt, or the token was not accepted"
        ):
            names(make_client("good-token"), "misspelt")

    def test_names_that_look_like_api_paths(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        for name in ("tag", "a/tag/b", "deep/name", "with.dots_and-dashes"):
            embedded_quay.registry.push("kolla", name, "v1")
            answer = client.tag_answer("kolla", name, "v1")
            assert answer.tag is not None, name


class TestTag:
    def test_present(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        digest = embedded_quay.registry.push("kolla", "a", "v1", lifetime=3600)
        answer = client.tag_answer("kolla", "a", "v1")
        assert answer.tag is not None
        assert answer.tag.manifest_digest == digest
        assert answer.tag.end_ts is not None
        assert 3590 <= answer.tag.end_ts - answer.tag.start_ts <= 3600
        assert answer.provenance is Provenance.FETCHED
        assert answer.checked_at is not None
        assert abs(answer.checked_at - embedded_quay.registry.now()) < 60

    def test_every_kind_of_absent_tag(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        registry = embedded_quay.registry
        registry.push("kolla", "a", "deleted")
        registry.delete_tag("kolla", "a", "deleted")
        registry.push("kolla", "a", "expired", lifetime=10)
        registry.push("kolla", "a", "V1")
        registry.advance(60)
        for tag in ("deleted", "expired", "v1", "never"):
            assert client.tag_answer("kolla", "a", tag).tag is None, tag

    def test_an_answer_without_a_date_has_no_time(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(date=False)
        assert client.tag_answer("kolla", "a", "v1").checked_at is None
        (page,) = client.list_pages("kolla")
        assert page.checked_at is None

    def test_missing_or_private_is_never_absent(
        self, embedded_quay: EmbeddedQuay, client: QuayClient, make_client: MakeClient
    ) -> None:
        registry = embedded_quay.registry
        registry.create_repository("kolla", "private", public=False)
        registry.add_user("ann", "owner", namespaces=["kolla"])
        registry.add_user("bob", "stranger", namespaces=["other"])
        registry.add_user("eve", "unscoped", namespaces=["kolla"], scopes=[])
        for name in ("private", "missing"):
            with pytest.raises(AuthenticationError, match="missing or private") as anonymous:
                client.tag_answer("kolla", name, "v1")
            assert anonymous.value.status == 401
            with pytest.raises(PermissionDeniedError) as stranger:
                make_client("stranger").tag_answer("kolla", name, "v1")
            assert stranger.value.status == 403
        with pytest.raises(NotFoundError):
            make_client("owner").tag_answer("kolla", "missing", "v1")
        with pytest.raises(PermissionDeniedError):
            make_client("unscoped").tag_answer("kolla", "private", "v1")

    def test_401_although_a_token_was_sent(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.create_repository("kolla", "private", public=False)
        with pytest.raises(AuthenticationError, match="server ignored the token"):
            make_client("robot").tag_answer("kolla", "private", "v1")

    def test_404_on_a_listed_repository_is_retried(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(faults=[Fault(kind="status", status=404, endpoint="tag", times=1)])
        client = make_client(retries=1)
        with pytest.raises(NotFoundError):
            client.tag_answer("kolla", "a", "v1")
        embedded_quay.configure(faults=[Fault(kind="status", status=404, endpoint="tag", times=1)])
        assert client.tag_answer("kolla", "a", "v1", listed=Listed(1, None)).tag is not None

    @pytest.mark.parametrize(
        ("namespace", "repository", "tag"),
        [
            ("", "a", "v1"),
            ("k/a", "a", "v1"),
            ("k", "../a", "v1"),
            ("k", "A", "v1"),
            ("k", "a", ""),
        ],
    )
    def test_invalid_names_are_refused_before_a_request(
        self,
        embedded_quay: EmbeddedQuay,
        client: QuayClient,
        namespace: str,
        repository: str,
        tag: str,
    ) -> None:
        with pytest.raises(QueryError):
            client.tag_answer(namespace, repository, tag)
        assert embedded_quay.counters().requests == 0


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (403, PermissionDeniedError),
            (404, NotFoundError),
            (405, UnexpectedStatusError),
            (500, ServerError),
            (502, ServerError),
            (503, ServerError),
            (504, ServerError),
        ],
    )
    def test_each_status_has_its_error(
        self,
        embedded_quay: EmbeddedQuay,
        make_client: MakeClient,
        status: int,
        kind: type[QuayAPIError],
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(faults=[Fault(kind="status", status=status)])
        with pytest.raises(kind, match=f"HTTP {status}") as caught:
            make_client(retries=0).tag_answer("kolla", "a", "v1")
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert str(caught.value).startswith("kolla/a:v1: ")
        assert str(caught.value).isprintable()

    def test_429_past_the_deadline(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.configure(faults=[Fault(kind="status", status=429)])
        with pytest.raises(RateLimitedError, match="HTTP 429"):
            make_client(timeout=0).tag_answer("kolla", "a", "v1")

    @pytest.mark.parametrize(
        "kind",
        [
            "html",
            "invalid_json",
            "nested",
            "list",
            "null",
            "text_time",
            "number_name",
            "truncate_unsized",
        ],
    )
    @pytest.mark.parametrize("endpoint", ["listing", "tag"])
    def test_malformed(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, kind: str, endpoint: str
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(faults=[{"kind": kind, "endpoint": endpoint}])
        client = make_client(retries=0)
        subject = "listing of kolla: " if endpoint == "listing" else "kolla/a:v1: "

        def ask() -> object:
            if endpoint == "listing":
                return names(client)
            return client.tag_answer("kolla", "a", "v1")

        with pytest.raises(MalformedResponseError) as caught:
            ask()
        assert str(caught.value).startswith(subject)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("kind", ["no_digest", "other_name"])
    def test_malformed_tag(
        self, embedded_quay: EmbeddedQuay, client: QuayClient, kind: str
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(faults=[{"kind": kind}])
        with pytest.raises(MalformedResponseError):
            client.tag_answer("kolla", "a", "v1")

    def test_body_is_bounded(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(faults=[Fault(kind="huge")])
        with pytest.raises(MalformedResponseError, match="more than 16 MiB"):
            client.tag_answer("kolla", "a", "v1")

    def test_an_unreachable_server_is_an_error(self) -> None:
        with (
            QuayClient(api_url="https://127.0.0.1:1", retries=1) as client,
            pytest.raises(TransportError, match=r"cannot connect to 127\.0\.0\.1:1") as caught,
        ):
            names(client)
        assert "2 tries" in str(caught.value)

    def test_untrusted_certificate(self, embedded_quay: EmbeddedQuay) -> None:
        with (
            QuayClient(api_url=embedded_quay.url, retries=0) as client,
            pytest.raises(TransportError, match=r"not trusted.*SSL_CERT_FILE"),
        ):
            names(client)

    def test_no_text_contains_the_token(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        embedded_quay.configure(faults=[Fault(kind="status", status=500)])
        client = make_client("s3cr3t", retries=1)
        with pytest.raises(ServerError) as caught:
            client.tag_answer("kolla", "a", "v1")
        assert "s3cr3t" not in f"{caught.value} {client!r} {caplog.text}"


class TestOccystrapNames:
    def test_has_tag(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        digest = embedded_quay.registry.push("kolla", "a", "v1")
        found = client.has_tag("kolla", "a", "v1")
        assert found is not None
        assert found["name"] == "v1"
        assert found["manifest_digest"] == digest
        assert isinstance(found["last_modified"], str)
        assert client.has_tag("kolla", "a", "v2") is None

    def test_list_repositories(self, embedded_quay: EmbeddedQuay, client: QuayClient) -> None:
        registry = embedded_quay.registry
        registry.create_repository("kolla", "empty")
        registry.push("kolla", "old", "v1")
        registry.advance(1000)
        registry.push("kolla", "new", "v1")
        assert client.list_repositories("kolla") == ["empty", "old", "new"]
        since = registry.now() - 500
        assert client.list_repositories("kolla", since_ts=since) == ["new"]


class TestConnections:
    def test_each_connection_has_one_request_in_flight(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "v1")
        embedded_quay.configure(latency=0.05)
        threads = [
            threading.Thread(
                target=lambda: [client.tag_answer("kolla", "a", "v1") for _ in range(3)]
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counters = embedded_quay.counters()
        assert counters.requests == 24
        assert counters.peak_streams == 1
        assert counters.peak_in_flight == 8
        assert counters.connections == 8

    def test_sequential_requests_share_a_connection(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 300)
        assert len(names(client)) == 300
        for _ in range(5):
            client.tag_answer("kolla", "repository-00001", "latest")
        assert embedded_quay.counters().connections == 1

    def test_later_connections_resume_the_first_tls_session(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 100)
        embedded_quay.configure(latency=0.02)
        resolve(["quay://kolla/*:latest"], client=client, max_workers=8)
        counters = embedded_quay.counters()
        assert counters.resumed == counters.connections - 1 > 0

    def test_resumption_is_not_tried_again_after_a_refusal(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        class Refused(ssl.SSLContext):
            tries = 0

            def wrap_socket(self, *args: Any, session: Any = None, **options: Any) -> Any:
                if session is not None:
                    self.tries += 1
                    raise ssl.SSLError("TLSV1_ALERT_DECODE_ERROR")
                return super().wrap_socket(*args, **options)

        context = Refused(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(embedded_quay.ca_file)
        embedded_quay.registry.populate("kolla", 100)
        embedded_quay.configure(latency=0.02)
        client = make_client(ssl_context=context, retries=0)
        resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=8)
        assert len(resolution.images) == 100
        tries = context.tries
        assert 1 <= tries < 8
        embedded_quay.configure(idle_timeout=0.0)
        while embedded_quay.counters().open_connections:
            pass
        embedded_quay.configure(idle_timeout=None)
        resolve(["quay://kolla/*:latest"], client=client, max_workers=8)
        assert context.tries == tries

    def test_http1_if_the_server_lacks_http2(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 3, name="r{}")
        embedded_quay.configure(http2=False)
        assert len(names(client)) == 3
        assert client.tag_answer("kolla", "r0", "latest").tag is not None

    def test_no_more_than_four_over_http1_at_once_from_the_first_request_on(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 32)
        embedded_quay.configure(http2=False, latency=0.1)
        queries = [f"quay://kolla/repository-{number:05d}:latest" for number in range(32)]
        assert len(resolve(queries, client=client, max_workers=32).images) == 32
        assert embedded_quay.counters().peak_in_flight <= 4

    def test_32_over_http2_at_once_from_the_first_request_on(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.configure(faults=[Fault(kind="hang")])
        run = Run()
        bound = client.bound(run)

        def ask() -> None:
            with pytest.raises(Cancelled):
                bound.tag_answer("kolla", "a", "v1")

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + HANG_GUARD
        while embedded_quay.counters().peak_in_flight < 32:
            assert time.monotonic() < until
        run.cancel()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"retries": number} for number in (-1, 1.5, float("nan"), -(10**5000), "3")),
        *({"timeout": number} for number in (-1.0, float("nan"), float("inf"), 10**5000, "3")),
        *({"rate_limit": number} for number in (0.0, 1e-11, float("nan"), float("inf"), "3")),
    ],
)
def test_unusable_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        QuayClient(**wrong)


@pytest.mark.parametrize("wide", [{"retries": 10**300}, {"timeout": 1e300}, {"rate_limit": 1e300}])
def test_large_numbers_are_accepted(
    embedded_quay: EmbeddedQuay, make_client: MakeClient, wide: dict[str, Any]
) -> None:
    embedded_quay.registry.push("kolla", "a", "v1")
    embedded_quay.configure(faults=[Fault(kind="status", status=429, times=2)])
    assert make_client(**wide).tag_answer("kolla", "a", "v1").tag is not None
