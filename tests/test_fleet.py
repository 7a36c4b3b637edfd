"""A cache on a server that many runners share: what it saves, and that no fault fails a run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import trustme

from quaycache import CachedQuayClient, Policy, QuayClient, Resolution, resolve, run
from quaycache.errors import QuayAPIError
from quaycache.events import Checked, Event
from quaycache.names import ANONYMOUS
from quaycache.store.keys import Scope
from quaycache.store.redis import commands
from quaycache.store.redis.store import RedisStore
from quaycache.testing import EmbeddedQuay, Fault
from tests import programs
from tests.conftest import HANG_GUARD, Finished, command_environment
from tests.redis_server import running_redis
from tests.store.samples import Clock, warnings

URI = "quay://kolla/*:latest"
N = 150
SECRET = "s3cret-pass-phrase"

Command = Callable[..., Finished]


@pytest.fixture
def kolla(embedded_quay: EmbeddedQuay) -> EmbeddedQuay:
    embedded_quay.registry.populate("kolla", N)
    embedded_quay.registry.advance(1000)
    return embedded_quay


class TestRuns:
    def test_runners_share_answers(
        self, kolla: EmbeddedQuay, client: QuayClient, redis_url: str
    ) -> None:
        costs = []
        for policy in (Policy(), Policy(), Policy(ttl=0.0), Policy()):
            kolla.reset_counters()
            resolution = resolve([URI], client=client, cache_url=redis_url, policy=policy)
            assert len(resolution.images) == N
            counters = kolla.counters()
            costs.append((counters.listing, counters.tag))
        assert costs == [(2, N), (0, 0), (2, 0), (0, 0)]

    def test_the_command(self, kolla: EmbeddedQuay, command: Command, redis_url: str) -> None:
        for given in ({}, {"QUAYCACHE_CACHE_URL": redis_url, "QUAYCACHE_CACHE_DIR": ""}):
            arguments = [] if given else ["--cache-url", redis_url]
            done = command("resolve", *arguments, URI, **given)
            assert (done.code, len(done.out.splitlines())) == (0, N)
        assert kolla.counters().tag == N

    def test_the_policy_sets_the_retention(
        self, kolla: EmbeddedQuay, client: QuayClient, redis_url: str
    ) -> None:
        policy = Policy(retention=3600.0)
        resolve([URI], client=client, cache_url=redis_url, policy=policy)
        assert kolla.counters().tag == N
        with redis.Redis.from_url(redis_url) as server:
            assert all(0 < server.ttl(name) <= 3600 for name in server.scan_iter())

    @pytest.mark.parametrize("policy", [Policy(ttl=0.0), Policy(max_age=0.0)])
    def test_a_run_that_cannot_use_answers_of_others_claims_nothing(
        self, kolla: EmbeddedQuay, client: QuayClient, redis_url: str, policy: Policy
    ) -> None:
        resolve([URI], client=client, cache_url=redis_url, policy=policy)
        assert kolla.counters().tag == N
        with redis.Redis.from_url(redis_url) as server:
            assert not list(server.scan_iter("quaycache:claims*"))

    def test_the_command_line_beats_the_environment(
        self, kolla: EmbeddedQuay, command: Command, redis_url: str, tmp_path: Path
    ) -> None:
        directory, url = ["--cache-dir", str(tmp_path / "x")], ["--cache-url", redis_url]
        surroundings = {"QUAYCACHE_CACHE_URL": redis_url}
        assert command("resolve", *directory, URI, **surroundings).code == 0
        with redis.Redis.from_url(redis_url) as server:
            assert server.dbsize() == 0
        assert command("resolve", *url, URI).code == 0
        with redis.Redis.from_url(redis_url) as server:
            assert server.dbsize() > 0
        for arguments, given, both in (
            ([*directory, *url], {}, "--cache-dir and --cache-url"),
            ([], surroundings, "QUAYCACHE_CACHE_DIR and QUAYCACHE_CACHE_URL"),
        ):
            done = command("resolve", *arguments, URI, **given)
            assert (done.code, done.err) == (2, f"error: {both} are mutually exclusive\n")
        assert kolla.counters().tag == 2 * N

    def test_without_redis_py(self, kolla: EmbeddedQuay, tmp_path: Path) -> None:
        program = (
            "import sys; sys.modules['redis'] = None;"
            " from quaycache.cli.app import run; run(sys.argv[1:])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "resolve", "--cache-url", "redis://127.0.0.1", URI],
            env=os.environ | command_environment(kolla, tmp_path),
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == (
            "error: a cache on Redis needs redis-py: pip install 'quaycache[redis]'\n"
        )


@pytest.mark.parametrize(("before", "after"), [(3600, 0), (-3600, 0), (0, 3600), (0, -3600)])
def test_a_local_clock_that_is_set_during_a_run_changes_no_age(
    kolla: EmbeddedQuay,
    client: QuayClient,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    before: float,
    after: float,
) -> None:
    """An age must be right for every runner, and also after the run."""
    offset = before
    clock = SimpleNamespace(time=lambda: time.time() + offset, monotonic=time.monotonic)
    monkeypatch.setattr(run, "time", clock)
    monkeypatch.setattr(commands, "time", clock)

    def set_clock(event: Event) -> None:
        nonlocal offset
        if isinstance(event, Checked):
            offset = after

    began = time.monotonic()
    resolve([URI], client=client, cache_url=redis_url, on_event=set_clock)
    offset = 0
    scope = Scope(client.api_url, ANONYMOUS, "kolla")
    with closing(RedisStore(redis_url)) as store:
        entries = [*store.load_answers(scope, "latest").values(), store.load_listing(scope)]
        ages = [store.now() - entry.stored_at for entry in entries if entry is not None]
    assert len(ages) == N + 1
    assert -1 <= min(ages) <= max(ages) <= time.monotonic() - began + 1
    kolla.reset_counters()
    assert len(resolve([URI], client=client, cache_url=redis_url).images) == N
    assert (kolla.counters().listing, kolla.counters().tag) == (0, 0)


@pytest.mark.parametrize("after", [-86_400 * 400, -3600, 3600, 86_400 * 400])
def test_a_service_whose_local_clock_is_set_between_two_runs_asks_nothing_again(
    kolla: EmbeddedQuay,
    client: QuayClient,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    after: float,
) -> None:
    offset = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + offset, monotonic=time.monotonic)
    monkeypatch.setattr(run, "time", clock)
    monkeypatch.setattr(commands, "time", clock)
    with CachedQuayClient(client, RedisStore(redis_url)) as cached:
        resolve([URI], client=cached)
        offset = after
        kolla.reset_counters()
        resolve([URI], client=cached)
        assert (kolla.counters().listing, kolla.counters().tag) == (0, 0)


@pytest.mark.parametrize(
    "fault", [{"date": False}, {"faults": (Fault(kind="status", status=500),)}]
)
def test_an_answer_that_is_not_stored_ends_its_claim(
    kolla: EmbeddedQuay, client: QuayClient, redis_url: str, fault: dict[str, Any]
) -> None:
    with CachedQuayClient(client, RedisStore(redis_url)) as cached:
        cached.list_repositories("kolla")
        bound = cached.bound(run.Run())
        names = ["repository-00001", "repository-00002"]
        assert not list(bound.claim("kolla", "latest", dict.fromkeys(names), seconds=30))
        kolla.configure(**fault)
        with contextlib.suppress(QuayAPIError):
            bound.tag_answer("kolla", names[0], "latest")
    with redis.Redis.from_url(redis_url) as server:
        (claims,) = server.scan_iter("quaycache:claims*")
        assert server.hkeys(claims) == [names[1].encode()]


class TestCommands:
    def test_all_commands_work_on_a_server(
        self, kolla: EmbeddedQuay, command: Command, redis_url: str
    ) -> None:
        place = ["--cache-url", redis_url]
        assert command("cache", "dir", *place).out == f"{redis_url}\n"
        away = command("cache", "dir", "--cache-url", f"redis://:{SECRET}@127.0.0.1:1/0")
        assert (away.code, away.out) == (0, "redis://127.0.0.1:1/0\n")
        assert command("resolve", *place, URI).code == 0
        info = json.loads(command("cache", "info", *place, "-o", "json").out)
        assert info["namespaces"][0]["namespace"] == "kolla"
        assert info["location"] == redis_url
        listed = json.loads(command("cache", "list", *place, "-o", "json").out)
        assert len(listed) == N + 1
        assert command("cache", "remove", *place, "kolla/*-00001:latest").code == 0
        assert len(json.loads(command("cache", "list", *place, "-o", "json").out)) == N
        assert command("cache", "prune", "--ci", *place).code == 0
        kolla.reset_counters()
        assert command("resolve", *place, URI).code == 0
        assert kolla.counters().tag == 1
        with redis.Redis.from_url(redis_url) as server:
            server.set("somebody:elses", "1")
            assert command("cache", "clean", *place).code == 0
            assert list(server.scan_iter()) == [b"somebody:elses"]

    @pytest.mark.parametrize("name", ["info", "list", "prune", "clean"])
    def test_maintenance_of_an_unreachable_server_is_an_error(
        self, command: Command, name: str
    ) -> None:
        done = command("cache", name, "--cache-url", f"redis://:{SECRET}@127.0.0.1:1/0")
        assert done.code != 0
        assert done.err == (
            "error: cache redis://127.0.0.1:1/0: it cannot be reached (Connection refused)\n"
        )


@contextmanager
def unreachable() -> Iterator[str]:
    yield f"redis://:{SECRET}@127.0.0.1:{programs.free_port()}/0"


@contextmanager
def silent() -> Iterator[str]:
    with running_redis() as server, server.silent():
        yield server.url


@contextmanager
def full() -> Iterator[str]:
    with running_redis("--maxmemory", "1") as server:
        yield server.url


@contextmanager
def orphaned_replica() -> Iterator[str]:
    with running_redis("--replicaof", "127.0.0.1", str(programs.free_port())) as server:
        yield server.url


@contextmanager
def refusing() -> Iterator[str]:
    with running_redis("--requirepass", SECRET) as server:
        yield server.url.replace("//", f"//:{SECRET}x@")


class TestFaults:
    """A fault costs one warning; the answers are those of a run without a cache."""

    @pytest.mark.parametrize("fault", [unreachable, silent, full, orphaned_replica, refusing])
    def test_from_the_start(
        self,
        kolla: EmbeddedQuay,
        client: QuayClient,
        fault: Callable[[], AbstractContextManager[str]],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with fault() as url:
            check(resolve([URI], client=client, cache_url=url), kolla, caplog)

    def test_keys_of_another_program(
        self,
        kolla: EmbeddedQuay,
        client: QuayClient,
        redis_url: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        resolve([URI], client=client, cache_url=redis_url)
        with redis.Redis.from_url(redis_url) as server:
            for name in list(server.scan_iter()):
                server.set(name, "mine")
            kolla.reset_counters()
            check(resolve([URI], client=client, cache_url=redis_url), kolla, caplog)
            assert {server.get(name) for name in server.scan_iter()} == {b"mine"}

    @pytest.mark.parametrize("again", [False, True])
    def test_killed_in_the_middle(
        self,
        kolla: EmbeddedQuay,
        client: QuayClient,
        caplog: pytest.LogCaptureFixture,
        again: bool,
    ) -> None:
        kolla.configure(latency=0.005)
        port = programs.free_port()
        with running_redis(port=port) as server, ExitStack() as opened:
            checked = 0

            def kill(event: Event) -> None:
                nonlocal checked
                checked += isinstance(event, Checked)
                if checked == N // 2:
                    server.kill()
                    if again:
                        opened.enter_context(running_redis(port=port))

            resolution = resolve(
                [URI], client=client, max_workers=4, cache_url=server.url, on_event=kill
            )
            # The store may not notice that the server was away.
            if not again or warnings(caplog):
                check(resolution, kolla, caplog)
            assert len(resolution.images) == N

    def test_poisoned(
        self,
        kolla: EmbeddedQuay,
        client: QuayClient,
        redis_url: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        resolve([URI], client=client, cache_url=redis_url)
        with redis.Redis.from_url(redis_url) as server:
            for name in server.scan_iter(_type="HASH"):
                for field in server.hkeys(name):
                    server.hset(name, field, b"\x80\x04poison")
        kolla.reset_counters()
        resolution = resolve([URI], client=client, cache_url=redis_url)
        assert len(resolution.images) == N
        assert kolla.counters().tag == N
        assert warnings(caplog) == []


def test_a_service_that_starts_before_its_cache_uses_it_later(
    kolla: EmbeddedQuay,
    client: QuayClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, port = Clock.installed(monkeypatch), programs.free_port()
    store = RedisStore(f"redis://127.0.0.1:{port}/0")
    with CachedQuayClient(client, store) as cached:
        check(resolve([URI], client=cached), kolla, caplog)
        # Nothing that this run has learned waits to be stored.
        assert cached.known_answer("kolla", "repository-00001", "latest") is None
        with running_redis(port=port):
            clock.advance(30)
            for cost in (N, 0):
                kolla.reset_counters()
                assert len(resolve([URI], client=cached).images) == N
                assert kolla.counters().tag == cost
    assert len(warnings(caplog)) == 1


def check(resolution: Resolution, quay: EmbeddedQuay, caplog: pytest.LogCaptureFixture) -> None:
    assert len(resolution.images) == N
    assert quay.counters().tag == N
    (line,) = warnings(caplog)
    assert line.startswith("cache redis://127.0.0.1:")
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("kolla")
class TestSecrets:
    def test_a_password_is_never_shown(self, command: Command) -> None:
        with running_redis("--requirepass", SECRET) as server:
            right = server.url.replace("//", f"//:{SECRET}@")
            wrong = server.url.replace("//", f"//:x{SECRET}@")
            for url in (right, right, wrong, f"redis://:{SECRET}@127.0.0.1:1", f"redis:{SECRET}"):
                for arguments in (["resolve", "-vv", URI], ["cache", "info"], ["cache", "dir"]):
                    done = command(*arguments, "--cache-url", url)
                    assert SECRET not in done.out + done.err


@pytest.mark.usefixtures("kolla")
class TestTls:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[str]:
        """The URL of a server that accepts only TLS; its CA's certificate is in `tmp_path`."""
        ca = trustme.CA()
        certificate = ca.issue_cert("127.0.0.1")
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(tmp_path / "chain.pem"), append=True)
        port = programs.free_port()
        with running_redis(
            *("--tls-port", str(port), "--port", "0", "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(tmp_path / "chain.pem")),
            *("--tls-key-file", str(tmp_path / "key.pem")),
            *("--tls-ca-cert-file", str(tmp_path / "ca.pem")),
            port=port,
        ):
            yield f"rediss://127.0.0.1:{port}/0"

    def test_it_works(
        self,
        kolla: EmbeddedQuay,
        client: QuayClient,
        secure: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for _ in range(2):
            url = f"{secure}?ssl_ca_certs={tmp_path / 'ca.pem'}"
            assert len(resolve([URI], client=client, cache_url=url).images) == N
        assert kolla.counters().tag == N
        assert warnings(caplog) == []

    def test_a_certificate_for_another_name(
        self,
        client: QuayClient,
        secure: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        url = secure.replace("127.0.0.1", "localhost") + f"?ssl_ca_certs={tmp_path / 'ca.pem'}"
        assert len(resolve([URI], client=client, cache_url=url).images) == N
        (line,) = warnings(caplog)
        assert "it cannot be reached" in line

    @pytest.mark.parametrize("scheme", ["rediss", "redis"])
    def test_an_untrusted_server_gets_nothing(
        self,
        client: QuayClient,
        secure: str,
        caplog: pytest.LogCaptureFixture,
        scheme: str,
    ) -> None:
        url = secure.replace("rediss", scheme)
        assert len(resolve([URI], client=client, cache_url=url).images) == N
        (line,) = warnings(caplog)
        assert "it cannot be reached" in line
        assert ("certificate verify failed" in line) == (scheme == "rediss")


def test_claims_of_a_runner_that_died_do_not_stop_the_others(
    kolla: EmbeddedQuay, client: QuayClient, redis_url: str
) -> None:
    with closing(RedisStore(redis_url)) as gone:
        names = [f"repository-{number:05}" for number in range(N)]
        gone.claim(Scope(client.api_url, ANONYMOUS, "kolla"), "latest", names, seconds=2)
        assert len(resolve([URI], client=client, cache_url=redis_url).images) == N
    assert kolla.counters().tag == N


# Runners of a herd wait for each other, and hold what they have claimed, however busy the machine.
PATIENT = """
from quaycache import cli
from quaycache.resolving import work_queue
work_queue._WAIT_BUDGET_SECONDS = 300.0
work_queue._CLAIM_SECONDS = 30.0
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [4, 16])
@pytest.mark.parametrize("runners", [5, 20])
def test_a_herd_shares_the_work(
    embedded_quay: EmbeddedQuay, redis_url: str, tmp_path: Path, runners: int, workers: int
) -> None:
    n = 500
    embedded_quay.registry.populate("kolla", n)
    embedded_quay.configure(latency=0.1)
    options = ["-j", str(workers), "--cache-url", redis_url]
    command = [sys.executable, "-c", PATIENT, "resolve", *options, URI]
    environment = os.environ | command_environment(embedded_quay, tmp_path)
    environment.pop("QUAYCACHE_CACHE_DIR")
    herd = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(runners)
    ]
    for runner in herd:
        out, _ = runner.communicate(timeout=HANG_GUARD)
        assert (runner.returncode, len(out.splitlines())) == (0, n)
    assert embedded_quay.counters().tag <= 1.7 * n
