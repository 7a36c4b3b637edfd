"""The whole stack against a server at its worst: correct answers or one clear error, in time."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quaycache import (
    BadRequestError,
    MalformedResponseError,
    PermissionDeniedError,
    QuayAPIError,
    QuayClient,
    RateLimitedError,
    ResolveInterrupted,
    ServerError,
    TransportError,
    resolve,
)
from quaycache.errors import Cancelled
from quaycache.run import Run
from quaycache.testing import EmbeddedQuay, Fault, RateLimit
from tests.conftest import HANG_GUARD, command_environment

MakeClient = Callable[..., QuayClient]
QUERY = "quay://kolla/*:latest"


class TestStorm:
    @pytest.mark.slow
    def test_20000_requests_of_64_workers(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 20_000, every=3)
        embedded_quay.configure(
            jitter=0.005,
            connection_requests=200,
            faults=[
                Fault(kind="status", status=500, probability=0.02),
                Fault(kind="reset", probability=0.01),
                Fault(kind="drop", probability=0.003),
            ],
        )
        resolution = resolve([QUERY], client=make_client(retries=8), max_workers=64)
        names = [f"kolla/repository-{number:05d}" for number in range(0, 20_000, 3)]
        assert [image.repository for image in resolution.images] == names
        assert len({image.digest for image in resolution.images}) == len(names)
        assert resolution.stats.fetched == 20_000
        assert resolution.stats.usage.retries >= 500
        counters = embedded_quay.counters()
        assert counters.peak_streams == 1
        assert resolution.stats.usage.requests >= 20_200

    def test_connections_that_end_all_the_time(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quaycache.quay.retrying._FIRST_WAIT", 1000.0)
        monkeypatch.setattr("quaycache.quay.retrying._MAX_WAIT", 1000.0)
        embedded_quay.registry.populate("kolla", 300)
        embedded_quay.configure(connection_requests=7)
        resolution = resolve([QUERY], client=make_client(retries=1), max_workers=8)
        assert len(resolution.images) == 300

    def test_quays_limit_of_1000_requests_a_connection_costs_no_retry(
        self, embedded_quay: EmbeddedQuay, client: QuayClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 1100)
        resolution = resolve([QUERY], client=client, max_workers=1)
        assert len(resolution.images) == 1100
        assert (resolution.stats.usage.retries, embedded_quay.counters().requests) == (0, 1111)

    def test_closed_idle_connections_cost_no_request(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 20)
        embedded_quay.configure(latency=0.02)
        client = make_client(retries=0)
        resolve([QUERY], client=client, max_workers=8)
        embedded_quay.configure(idle_timeout=0.0)
        while embedded_quay.counters().open_connections:
            pass
        embedded_quay.configure(idle_timeout=5.0)
        assert len(resolve([QUERY], client=client, max_workers=8).images) == 20


class TestLimits:
    @pytest.mark.parametrize("workers", [4, 64])
    def test_by_address(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, workers: int
    ) -> None:
        embedded_quay.registry.populate("kolla", 150)
        embedded_quay.configure(rate_limit=RateLimit(rate=60, burst=25, key="ip"))
        resolution = resolve([QUERY], client=make_client(retries=0), max_workers=workers)
        assert len(resolution.images) == 150
        usage = resolution.stats.usage
        assert 1 <= usage.rate_limited <= workers + 15
        assert embedded_quay.counters().by_status[429] == usage.rate_limited

    @pytest.mark.parametrize("retry_after", [None, "0", "1", "-5", "soon"])
    def test_retry_after_of_every_kind(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, retry_after: str | None
    ) -> None:
        embedded_quay.registry.populate("kolla", 5)
        embedded_quay.configure(
            retry_after=retry_after, faults=[Fault(kind="status", status=429, times=3)]
        )
        resolution = resolve([QUERY], client=make_client(retries=0))
        assert len(resolution.images) == 5
        assert resolution.stats.usage.rate_limited == 3

    def test_retry_after_0_still_pauses(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.configure(retry_after="0", faults=[Fault(kind="status", status=429)])
        with pytest.raises(RateLimitedError, match=r"gave up after \d tries: HTTP 429$"):
            make_client(timeout=1.5).tag_answer("kolla", "a", "latest")
        assert embedded_quay.counters().tag <= 5

    def test_keep_going_gives_up_all_requests_when_the_patience_ends(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 100)
        embedded_quay.configure(
            retry_after="0", faults=[Fault(kind="status", status=429, endpoint="tag")]
        )
        resolution = resolve(
            [QUERY], client=make_client(timeout=1), max_workers=64, keep_going=True
        )
        assert len(resolution.failures) == 100
        assert all(failure.error.endswith("HTTP 429") for failure in resolution.failures)
        not_sent = re.compile(r": not sent: the server has refused every request for \d+ s: ")
        assert any(not_sent.search(failure.error) for failure in resolution.failures)
        assert embedded_quay.counters().tag <= 200

    def test_a_client_that_was_idle_for_longer_than_its_patience_retries(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "latest")
        client = make_client(timeout=60)
        client.tag_answer("kolla", "a", "latest")
        idle = time.monotonic() + 3600
        monkeypatch.setattr(client._transport._pacer, "_clock", lambda: idle + time.monotonic())
        embedded_quay.configure(faults=[Fault(kind="status", status=429, times=1)])
        assert client.tag_answer("kolla", "a", "latest").tag is not None

    def test_503_pauses_and_counts_as_a_failure(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "latest")
        embedded_quay.configure(faults=[Fault(kind="status", status=503, times=2)])
        with pytest.raises(ServerError, match="HTTP 503"):
            make_client(retries=1).tag_answer("kolla", "a", "latest")
        assert make_client(retries=1).tag_answer("kolla", "a", "latest").tag is not None

    def test_deadline_when_nothing_succeeds(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.configure(faults=[Fault(kind="status", status=429)])
        with pytest.raises(RateLimitedError, match=r"gave up after \d+ tries: HTTP 429"):
            resolve([QUERY], client=make_client(timeout=1))
        assert embedded_quay.counters().requests <= 5

    def test_pauses_are_logged(
        self,
        embedded_quay: EmbeddedQuay,
        make_client: MakeClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO", logger="quaycache")
        embedded_quay.registry.push("kolla", "a", "latest")
        embedded_quay.configure(faults=[Fault(kind="status", status=429, times=1)])
        resolve([QUERY], client=make_client())
        assert "the server refused: pausing" in caplog.text


class TestRetries:
    def test_first_broken_connection_is_retried_at_once(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quaycache.quay.retrying._FIRST_WAIT", 1000.0)
        monkeypatch.setattr("quaycache.quay.retrying._MAX_WAIT", 1000.0)
        embedded_quay.registry.push("kolla", "a", "latest")
        for kind in ("drop", "reset", "truncate"):
            embedded_quay.configure(faults=[{"kind": kind, "times": 1}])
            answer = make_client(retries=1).tag_answer("kolla", "a", "latest")
            assert answer.tag is not None, kind

    def test_an_error_states_how_often_and_why_each_attempt_failed(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.configure(
            faults=[
                Fault(kind="status", status=500, times=1),
                Fault(kind="status", status=502, times=1),
                Fault(kind="drop"),
            ]
        )
        with pytest.raises(TransportError) as caught:
            make_client(retries=3).tag_answer("kolla", "a", "latest")
        message = str(caught.value)
        assert message.startswith("kolla/a:latest: gave up after 4 tries: HTTP 500")
        assert "; HTTP 502; the connection to 127.0.0.1:" in message
        # A drop appears as an end of file or as a reset; different reasons are listed separately.
        assert message.endswith("(2 times)") != (message.count(" broke: ") == 2)

    def test_403_is_not_retried(self, embedded_quay: EmbeddedQuay, make_client: MakeClient) -> None:
        embedded_quay.configure(faults=[Fault(kind="status", status=403)])
        with pytest.raises(PermissionDeniedError):
            make_client(retries=5).tag_answer("kolla", "a", "latest")
        assert embedded_quay.counters().requests == 1

    def test_replica_that_lags_behind_the_listing(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.add_user("ann", "t0ken", namespaces=["kolla"])
        embedded_quay.configure(replica_lag=1)
        embedded_quay.registry.push("kolla", "new", "latest")
        assert len(resolve([QUERY], client=make_client("t0ken", retries=5)).images) == 1


class TestHostileAnswers:
    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Fault(kind="truncate"), TransportError),
            (Fault(kind="truncate_unsized"), MalformedResponseError),
            (Fault(kind="html"), MalformedResponseError),
            (Fault(kind="invalid_json"), MalformedResponseError),
            (Fault(kind="nested", size=1_000_000), MalformedResponseError),
            (Fault(kind="list"), MalformedResponseError),
            (Fault(kind="huge"), MalformedResponseError),
            (Fault(kind="number_next_page"), MalformedResponseError),
        ],
        ids=lambda value: value.kind if isinstance(value, Fault) else "",
    )
    @pytest.mark.parametrize("http2", [True, False])
    def test_listing(
        self,
        embedded_quay: EmbeddedQuay,
        make_client: MakeClient,
        fault: Fault,
        kind: type[QuayAPIError],
        http2: bool,
    ) -> None:
        embedded_quay.registry.populate("kolla", 101)
        embedded_quay.configure(faults=[fault], http2=http2)
        with pytest.raises(kind, match="listing of kolla: ") as caught:
            resolve([QUERY], client=make_client(retries=0))
        assert str(caught.value).isprintable()

    def test_each_request_has_its_own_deadline(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quaycache.quay.transport.connection.REQUEST_TIMEOUT", 1.0)
        embedded_quay.registry.push("kolla", "a", "latest")
        for kind in ("trickle", "hang"):
            embedded_quay.configure(faults=[{"kind": kind, "interval": 0.2}])
            with pytest.raises(TransportError, match=r"no complete answer from .* within 1 s"):
                make_client(retries=0).tag_answer("kolla", "a", "latest")

    def test_a_slow_but_steady_answer_is_accepted(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.push("kolla", "a", "latest")
        embedded_quay.configure(faults=[Fault(kind="trickle", interval=0.001)])
        assert make_client().tag_answer("kolla", "a", "latest").tag is not None


class TestCancellation:
    def test_fatal_error_with_16_hanging_requests(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 50)
        # The first sixteen requests hang; the next fails permanently.
        embedded_quay.configure(
            faults=[
                Fault(kind="hang", endpoint="tag", times=16),
                Fault(kind="status", status=400, endpoint="tag", times=1),
            ]
        )
        began = time.monotonic()
        with pytest.raises(BadRequestError) as caught:
            resolve([QUERY], client=make_client(), max_workers=17)
        assert time.monotonic() - began < 10, "a guard: it takes a fraction of a second"
        assert caught.value.partial is not None
        assert embedded_quay.counters().tag <= 17 + 33
        until = time.monotonic() + HANG_GUARD
        while any(thread.name.startswith("quaycache_") for thread in threading.enumerate()):
            assert time.monotonic() < until, "every worker ends"

    def test_fatal_error_of_the_command(self, embedded_quay: EmbeddedQuay, tmp_path: Path) -> None:
        embedded_quay.registry.populate("kolla", 50)
        embedded_quay.configure(
            faults=[
                Fault(kind="hang", endpoint="tag", times=16),
                Fault(kind="status", status=400, endpoint="tag", times=1),
            ]
        )
        done = subprocess.run(
            [sys.executable, "-m", "quaycache", "resolve", "-j", "17", QUERY],
            env=os.environ | command_environment(embedded_quay, tmp_path),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "HTTP 400" in done.stderr

    def test_interrupt_while_the_listing_hangs(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 101)
        embedded_quay.configure(faults=[Fault(kind="hang", match="next_page")])

        def interrupt() -> None:
            while embedded_quay.counters().tag < 100:
                pass
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(ResolveInterrupted) as caught:
            resolve([QUERY], client=make_client())
        thread.join()
        assert len(caught.value.partial.images) >= 90

    def test_a_hanging_handshake_is_cancelled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("quaycache.quay.transport.http2.CONNECT_TIMEOUT", 600.0)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            client = QuayClient(api_url=url, ssl_context=ssl.create_default_context())
            run = Run()
            bound = client.bound(run)

            def ask() -> None:
                with pytest.raises(Cancelled):
                    bound.tag_answer("kolla", "a", "v1")

            asking = threading.Thread(target=ask)
            asking.start()
            hanging, _ = listener.accept()
            with hanging:
                assert hanging.recv(1)
                run.cancel()
                asking.join(60)
                assert not asking.is_alive()

    def test_another_run_of_the_same_client_continues(
        self, embedded_quay: EmbeddedQuay, make_client: MakeClient
    ) -> None:
        embedded_quay.registry.populate("kolla", 40)
        embedded_quay.registry.create_repository("other", "missing", public=False)
        embedded_quay.configure(latency=0.05)
        client = make_client()
        found: list[int] = []
        thread = threading.Thread(
            target=lambda: found.append(len(resolve([QUERY], client=client).images))
        )
        thread.start()
        while embedded_quay.counters().tag < 4:
            assert thread.is_alive()
        with pytest.raises(QuayAPIError):
            resolve(["quay://other/missing:v1"], client=client)
        thread.join(HANG_GUARD)
        assert found == [40]
