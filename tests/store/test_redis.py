"""`RedisStore` beyond the contract of a `Store`: keys, clocks, claims, hostile data, faults."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from quaycache.errors import SettingsError, StoreError
from quaycache.model import StoredAnswer
from quaycache.store.entry import Entry, encode_entry
from quaycache.store.keys import Key, encode_key
from quaycache.store.redis import commands
from quaycache.store.redis.server import RedisServer
from quaycache.store.redis.store import RedisStore
from tests import programs, redis_server
from tests.conftest import HANG_GUARD
from tests.redis_server import running_redis
from tests.store.conftest import FOR_EVER
from tests.store.samples import (
    LATEST,
    LISTING_KEY,
    NOW,
    SCOPE,
    Clock,
    absent,
    finished,
    key,
    listing,
    merge,
    present,
    warnings,
)

HASH = "quaycache:1|https://quay.io/api/v1|anon|kolla|v1|"
LISTING_HASH = "quaycache:1|https://quay.io/api/v1|anon|kolla||"
SECRET = "s3cret-pass-phrase"


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """Another program's connection to the database."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    with closing(RedisStore(redis_url, retention=FOR_EVER)) as store:
        yield store


def names(server: redis.Redis) -> list[bytes]:
    """Return every key."""
    return list(server.scan_iter())


def calls(server: redis.Redis) -> dict[str, int]:
    """Return how often each command was called."""
    return {
        name.removeprefix("cmdstat_"): statistics["calls"]
        for name, statistics in server.info("commandstats").items()
    }


def received(server: redis.Redis) -> int:
    """Return the number of bytes that all clients have sent to the server."""
    return int(server.info("stats")["total_net_input_bytes"])


class TestLayout:
    def test_each_tag_has_one_hash_under_one_prefix(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        merge(store, {key(): present(), key("glance"): absent(), LISTING_KEY: listing()})
        assert set(names(server)) == {
            LISTING_HASH.encode(),
            HASH.encode(),
            b"quaycache:tags|1|https://quay.io/api/v1|anon|kolla|",
        }
        assert server.hgetall(HASH) == {
            b"nova-api": encode_entry(encode_key(key()), present()),
            b"glance": encode_entry(encode_key(key("glance")), absent()),
        }

    def test_a_load_is_one_round_trip(self, store: RedisStore, server: redis.Redis) -> None:
        merge(store, {key(f"r{number}"): absent() for number in range(1000)})
        server.config_resetstat()
        assert len(store.load_answers(SCOPE, "v1")) == 1000
        assert store.load_answer(key("r1")) == absent()
        store.load_listing(SCOPE)
        taken = calls(server)
        assert taken["eval"] == 3
        assert "evalsha" not in taken

    def test_every_write_renews_the_time_to_live(self, redis_url: str, server: redis.Redis) -> None:
        with closing(RedisStore(redis_url, retention=500.0)) as store:
            merge(store, {key(): absent(time.time())})
            for name in names(server):
                assert 400 < server.ttl(name) <= 500
                server.expire(name, 5)
            merge(store, {key("glance"): absent(time.time())})
            for name in names(server):
                assert 400 < server.ttl(name) <= 500

    def test_a_store_with_a_shorter_retention_shortens_no_time_to_live(
        self, redis_url: str, server: redis.Redis
    ) -> None:
        entries: dict[Key, Entry] = {key(): absent(time.time()), LISTING_KEY: listing(time.time())}
        for retention in (5000.0, 500.0):
            with closing(RedisStore(redis_url, retention=retention)) as store:
                merge(store, entries)
        assert len(names(server)) == 3
        assert all(4000 < server.ttl(name) <= 5000 for name in names(server))

    def test_entries_past_retention_are_hidden_but_left_to_stores_that_keep_them_longer(
        self, store: RedisStore, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        now = time.time()
        old: dict[Key, Entry] = {key("old"): absent(now - 600), LISTING_KEY: listing(now - 600)}
        with closing(RedisStore(redis_url, retention=500.0)) as short:
            merge(short, {key(): absent(now), **old})
            assert list(short.load_answers(SCOPE, "v1")) == ["nova-api"]
            assert list(short.claim(SCOPE, "v1", ["nova-api", "old"], seconds=2).answers) == [
                "nova-api"
            ]
            assert short.load_answer(key("old")) is None
            assert short.load_listing(SCOPE) is None
        assert set(store.load_answers(SCOPE, "v1")) == {"nova-api", "old"}
        assert store.load_listing(SCOPE) is not None
        assert warnings(caplog) == []

    def test_a_forked_process_has_connections_of_its_own(
        self, store: RedisStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        merge(store, {key(): absent()})
        child = os.fork()
        if not child:
            found = store.load_answer(key())
            os._exit(0 if found == absent() else 1)
        for _ in range(20):
            assert store.load_answer(key()) == absent()
        assert os.waitpid(child, 0)[1] == 0
        assert warnings(caplog) == []


class TestUnlisted:
    """What a completed walk removes from the server: `Store.discard_unlisted`."""

    TAGS = "quaycache:tags|1|https://quay.io/api/v1|anon|kolla|"

    def test_tags_without_answers_are_dropped(self, store: RedisStore, server: redis.Redis) -> None:
        for number in range(1100):
            merge(store, {key(tag=f"v{number}"): absent()})
            if number:
                server.delete(HASH.replace("|v1|", f"|v{number}|"))
        server.sadd(self.TAGS, b"\xff\xfe", "no tag")
        store.discard_unlisted(SCOPE, ["glance", "nova-api"], until=LATEST)
        assert server.smembers(self.TAGS) == {b"v0"}
        assert store.load_answers(SCOPE, "v0") == {"nova-api": absent()}

    def test_the_listing_is_sent_once_for_all_tags(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        listed = [f"repository-{number:05}" for number in range(1000)]
        for number in range(100):
            merge(store, {key("nova-api", f"v{number}"): absent()})
        before = received(server)
        store.discard_unlisted(SCOPE, listed, until=LATEST)
        assert received(server) - before < 2 * len("".join(listed))
        assert list(store.rows()) == []

    def test_no_answers_cost_no_listing(self, store: RedisStore, server: redis.Redis) -> None:
        before = received(server)
        store.discard_unlisted(SCOPE, ["nova-api" * 30] * 1000, until=LATEST)
        assert received(server) - before < 1000

    def test_other_clients_are_served_in_between(
        self, store: RedisStore, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "_FIELDS_AT_ONCE", 100)
        listed = [f"r{number:0200}" for number in range(50)]
        for number in range(10):
            entries: dict[Key, Entry] = {
                key(name, f"v{number}"): absent() for name in [*listed, "nova-api"]
            }
            merge(store, {**entries, key("newer", f"v{number}"): absent(NOW + 1)})
        server.config_resetstat()
        before = received(server)
        store.discard_unlisted(SCOPE, listed, until=NOW)
        assert calls(server)["eval"] == 5
        assert received(server) - before < 3 * len("".join(listed))
        for number in range(10):
            assert set(store.load_answers(SCOPE, f"v{number}")) == {*listed, "newer"}
        assert not list(server.scan_iter("quaycache:listed*"))

    def test_a_listing_that_the_server_forgets_in_between_removes_nothing(
        self, store: RedisStore, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "_FIELDS_AT_ONCE", 1)
        for tag in ("v1", "v2"):
            merge(store, {key(tag=tag): absent()})
        run = RedisServer.run

        def forgetful(self: RedisServer, *arguments: Any, **options: Any) -> Any:
            answer = run(self, *arguments, **options)
            for name in server.scan_iter("quaycache:listed*"):
                assert 0 < server.ttl(name) <= 60
                server.delete(name)
            return answer

        monkeypatch.setattr(RedisServer, "run", forgetful)
        store.discard_unlisted(SCOPE, ["nova-api"], until=LATEST)
        assert [row.key for row in store.rows()] == [key(tag="v1"), key(tag="v2")]


class TestClaims:
    def test_one_of_two_stores_claims(self, store: RedisStore, redis_url: str) -> None:
        with closing(RedisStore(redis_url, retention=FOR_EVER)) as other:
            assert set(store.claim(SCOPE, "v1", ["a", "b"], seconds=2).claimed_elsewhere) == set()
            assert set(other.claim(SCOPE, "v1", ["b", "c"], seconds=2).claimed_elsewhere) == {"b"}
            assert set(store.claim(SCOPE, "v1", ["a", "b", "c"], seconds=2).claimed_elsewhere) == {
                "c"
            }
            assert set(other.claim(SCOPE, "v2", ["a", "b"], seconds=2).claimed_elsewhere) == set()
            merge(store, {key("b"): absent()})
            claimed = other.claim(SCOPE, "v1", ["a", "b"], seconds=2)
            assert claimed.answers == {"b": absent()}
            assert set(claimed.claimed_elsewhere) == {"a"}

    def test_a_claim_ends(self, store: RedisStore, redis_url: str) -> None:
        with closing(RedisStore(redis_url)) as other:
            other.claim(SCOPE, "v1", ["a"], seconds=2)
            until = time.monotonic() + HANG_GUARD
            while store.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere:
                assert time.monotonic() < until

    def test_a_removal_ends_a_claim(self, store: RedisStore, redis_url: str) -> None:
        with closing(RedisStore(redis_url)) as other:
            other.claim(SCOPE, "v1", ["nova-api"], seconds=30)
            other.remove_if_not_newer({key(): NOW})
            assert set(store.claim(SCOPE, "v1", ["nova-api"], seconds=2).claimed_elsewhere) == set()

    def test_a_release_ends_own_claims_alone(self, store: RedisStore, redis_url: str) -> None:
        with (
            closing(RedisStore(redis_url)) as other,
            closing(RedisStore(redis_url)) as third,
        ):
            store.claim(SCOPE, "v1", ["a", "b"], seconds=30)
            other.claim(SCOPE, "v1", ["c"], seconds=30)
            store.claim(SCOPE, "v2", ["a"], seconds=30)
            store.release(SCOPE, "v1", ["a", "c", "d"])
            assert set(
                third.claim(SCOPE, "v1", ["a", "b", "c", "d"], seconds=2).claimed_elsewhere
            ) == {
                "b",
                "c",
            }
            assert set(third.claim(SCOPE, "v2", ["a"], seconds=2).claimed_elsewhere) == {"a"}

    def test_a_release_is_one_round_trip_or_none(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        repositories = [f"r{number}" for number in range(100)]
        store.claim(SCOPE, "v1", repositories, seconds=30)
        server.config_resetstat()
        store.release(SCOPE, "v1", [])
        assert "eval" not in calls(server)
        store.release(SCOPE, "v1", repositories)
        assert calls(server)["eval"] == 1
        assert not names(server)

    def test_a_forked_process_releases_its_own_claims_alone(
        self, store: RedisStore, redis_url: str
    ) -> None:
        store.claim(SCOPE, "v1", ["a"], seconds=30)
        child = os.fork()
        if not child:
            store.claim(SCOPE, "v1", ["b"], seconds=30)
            store.release(SCOPE, "v1", ["a", "b"])
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with closing(RedisStore(redis_url)) as other:
            assert set(other.claim(SCOPE, "v1", ["a", "b"], seconds=2).claimed_elsewhere) == {"a"}

    def test_a_release_fails_open(self, caplog: pytest.LogCaptureFixture) -> None:
        with running_redis() as server, closing(RedisStore(server.url)) as store:
            store.claim(SCOPE, "v1", ["a"], seconds=30)
            server.kill()
            for _ in range(2):
                store.release(SCOPE, "v1", ["a"])
        assert len(warnings(caplog)) == 1

    def test_a_forked_process_claims_for_itself(self, store: RedisStore) -> None:
        store.claim(SCOPE, "v1", ["a"], seconds=30)
        child = os.fork()
        if not child:
            taken = set(store.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == {"a"}
            os._exit(0 if taken else 1)
        assert os.waitpid(child, 0)[1] == 0

    @pytest.mark.parametrize("claim", [b"99999999999999 abc", b"1e999 abc", b"abc", b"\xff" * 500])
    def test_an_impossible_claim_is_ignored(
        self, store: RedisStore, server: redis.Redis, claim: bytes
    ) -> None:
        server.hset(HASH.replace("quaycache:", "quaycache:claims|"), "a", claim)
        assert set(store.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == set()

    def test_a_store_that_cannot_write_claims_nothing(self) -> None:
        with (
            running_redis("--maxmemory", "1") as server,
            closing(RedisStore(server.url)) as one,
            closing(RedisStore(server.url)) as other,
        ):
            for store in (one, other, one, other):
                assert set(store.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == set()


class LocalClock:
    """The local clock as `RedisStore` sees it. A test may set it; the monotonic clock is real.

    Attributes:
        offset: By how many seconds it is ahead of the server's clock.
    """

    def __init__(self) -> None:
        self.offset = 0.0

    def time(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def local_clock(monkeypatch: pytest.MonkeyPatch) -> LocalClock:
    clock = LocalClock()
    monkeypatch.setattr(commands, "time", clock)
    return clock


class TestClocks:
    """An age is right whatever a runner's local clock shows, and whenever it is set."""

    OFFSETS = (3600.0, 0.0, -40 * 86400.0, 40 * 86400.0)

    @pytest.mark.parametrize("written", OFFSETS)
    @pytest.mark.parametrize("read", OFFSETS)
    def test_runners_with_different_clocks(
        self, redis_url: str, local_clock: LocalClock, written: float, read: float
    ) -> None:
        local_clock.offset = written
        with closing(RedisStore(redis_url)) as store:
            merge(store, {key(): absent()._replace(stored_at=store.now() - 100)})
            merge(store, {LISTING_KEY: listing()._replace(stored_at=store.now() - 100)})
        local_clock.offset = read
        with closing(RedisStore(redis_url)) as store:
            check_ages(store)

    @pytest.mark.parametrize("before", OFFSETS)
    @pytest.mark.parametrize("after", OFFSETS)
    def test_a_clock_that_is_set_while_a_store_is_open(
        self, redis_url: str, local_clock: LocalClock, before: float, after: float
    ) -> None:
        local_clock.offset = before
        with closing(RedisStore(redis_url)) as store:
            stored_at = store.now() - 100
            assert store.load_answers(SCOPE, "v1") == {}
            local_clock.offset = after
            # The store compares its clock with the server's before and after it is set.
            assert store.load_answers(SCOPE, "v1") == {}
            merge(store, {key(): absent()._replace(stored_at=stored_at)})
            merge(store, {LISTING_KEY: listing()._replace(stored_at=stored_at)})
            check_ages(store)
            local_clock.offset = before
            check_ages(store)
        with closing(RedisStore(redis_url)) as other:
            check_ages(other)

    def test_a_slow_reply_makes_no_answer_younger(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server reads its clock, and the reply takes a minute by the monotonic clock."""
        elapsed = 0.0
        run, call = RedisServer.run, RedisServer.call

        def slow(function: Any) -> Any:
            def work(*arguments: Any, **options: Any) -> Any:
                nonlocal elapsed
                answer = function(*arguments, **options)
                elapsed += 60
                return answer

            return work

        clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + elapsed)
        monkeypatch.setattr(commands, "time", clock)
        stored_at = store.now()
        monkeypatch.setattr(RedisServer, "call", slow(call))
        merge(store, {key(): absent()._replace(stored_at=stored_at)})
        monkeypatch.setattr(RedisServer, "call", call)
        monkeypatch.setattr(RedisServer, "run", slow(run))
        loads: list[Callable[[], StoredAnswer | None]] = [
            lambda: store.load_answer(key()),
            lambda: store.load_answers(SCOPE, "v1")["nova-api"],
            lambda: store.claim(SCOPE, "v1", ["nova-api"], seconds=2).answers["nova-api"],
        ]
        for load in loads:
            found = load()
            assert found is not None
            # The minute that storing took, and the one that loading took.
            assert store.now() - found.stored_at >= 120 - 3


def check_ages(store: RedisStore) -> None:
    """Check that one answer and one listing, by each way to load them, are 100 seconds old.

    They may be older by the time that the test takes, and younger by the precision of the store.
    """
    loaded = [
        store.load_answers(SCOPE, "v1").get("nova-api"),
        store.load_answer(key()),
        store.claim(SCOPE, "v1", ["nova-api"], seconds=2).answers.get("nova-api"),
        store.load_listing(SCOPE),
        *(row.entry for row in store.rows()),
    ]
    ages = [store.now() - entry.stored_at for entry in loaded if entry is not None]
    assert len(ages) == 6
    assert 100 - 1 <= min(ages) <= max(ages) < 100 + HANG_GUARD


class TestHostileData:
    @pytest.mark.parametrize(
        "value",
        [b"", b"x", b"x" * 36, b"\x80\x04." * 20, b"x" * 100_000, b"\xff" * 68],
        ids=lambda value: f"{len(value)} bytes",
    )
    def test_an_invalid_entry_is_ignored_and_replaced(
        self, store: RedisStore, server: redis.Redis, value: bytes
    ) -> None:
        for name in ("nova-api", "glance"):
            server.hset(HASH, name, value)
        server.hset(LISTING_HASH, "", value)
        assert store.load_answers(SCOPE, "v1") == {}
        assert store.load_answer(key()) is None
        assert store.load_listing(SCOPE) is None
        merge(store, {key(): present(), LISTING_KEY: listing()})
        assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
        assert store.load_listing(SCOPE) == listing()

    def test_an_entry_under_another_key_is_ignored(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        value = encode_entry(encode_key(key()), present())
        for field in ("glance", "../nova-api", "NOVA", "a|b", "", "\xff", "x" * 300):
            server.hset(HASH, field, value)
        assert store.load_answers(SCOPE, "v1") == {}
        assert [row.entry for row in store.rows()] == [None]

    def test_an_impossible_time_loses(self, store: RedisStore) -> None:
        merge(store, {key(): present(NOW + 500)})
        merge(store, {key(): absent(NOW)}, NOW + 100)
        assert store.load_answer(key()) == absent(NOW)

    def test_a_hash_that_is_too_large_is_ignored(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        merge(store, {key(): present()})
        with server.pipeline(transaction=False) as pipeline:
            for first in range(0, 250_000, 10_000):
                numbers = range(first, first + 10_000)
                pipeline.hset(HASH, mapping={f"r{number}": "" for number in numbers})
            pipeline.execute()
        assert store.load_answers(SCOPE, "v1") == {}
        assert store.load_answer(key()) == present()

    def test_a_clean_spares_keys_of_other_programs(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        others = {b"quaycach": b"1", b"Quaycache:x": b"1", b"my:quaycache:": b"1", b"q": b"1"}
        for name, value in others.items():
            server.set(name, value)
        server.set("quaycache:leftover", "1")
        merge(store, {key(tag=f"v{number}"): absent() for number in range(2000)})
        server.config_resetstat()
        assert store.clean() > 0
        assert {"keys", "flushdb", "flushall"}.isdisjoint(calls(server))
        assert {name: server.get(name) for name in names(server)} == others

    def test_rows_of_other_programs_are_not_shown(
        self, store: RedisStore, server: redis.Redis
    ) -> None:
        server.set("quaycache:1|text", "1")
        server.hset("quaycache:hash", "a", "1")
        server.hset("quaycache:9|https://quay.io/api/v1|anon|kolla|v1|", "a", "1")
        merge(store, {key(): absent()})
        assert [row.key for row in store.rows()] == [key()]
        assert store.prune(lambda _: True, quarantined_before=0.0).rows == 0
        assert server.exists("quaycache:1|text")


class TestBackOff:
    """A store whose server is in trouble tries again after a while; see `FailOpen`."""

    def test_a_server_that_is_back_is_used_again(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "quaycache.store")
        clock, port = Clock.installed(monkeypatch), programs.free_port()
        url = f"redis://:{SECRET}@127.0.0.1:{port}/0"
        with closing(RedisStore(url, retention=FOR_EVER)) as store:
            merge(store, {key(): absent()})
            assert len(warnings(caplog)) == 1
            with running_redis("--requirepass", SECRET, port=port):
                clock.advance(29)
                merge(store, {key(): absent()})
                assert store.load_answer(key()) is None
                clock.advance(1)
                merge(store, {key(): absent()})
                assert store.load_answer(key()) == absent()
                assert set(store.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == set()
        assert [record.getMessage() for record in caplog.records[1:]] == [
            f"cache redis://127.0.0.1:{port}/0: it works again"
        ]

    def test_a_restarted_server_is_pinged_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the ping bounds the time that the resolution of the server's name may take."""
        clock, port = Clock.installed(monkeypatch), programs.free_port()
        with closing(RedisStore(f"redis://127.0.0.1:{port}/0", retention=FOR_EVER)) as store:
            for _ in range(2):
                with running_redis(port=port) as server:
                    clock.advance(30)
                    merge(store, {key(): absent()})
                    with server.client() as client:
                        assert calls(client)["ping"] == 1
                assert store.load_answer(key()) is None

    def test_a_full_server_is_read_and_later_written_again(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = Clock.installed(monkeypatch)
        with (
            running_redis() as server,
            server.client() as client,
            closing(RedisStore(server.url, retention=FOR_EVER)) as store,
            closing(RedisStore(server.url, retention=FOR_EVER)) as other,
        ):
            merge(store, {key(): absent()})
            client.config_set("maxmemory", "1")
            merge(store, {key("glance"): absent()})
            store.claim(SCOPE, "v1", ["a"], seconds=30)
            client.config_set("maxmemory", "0")
            assert set(other.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == set()
            other.release(SCOPE, "v1", ["a"])
            clock.advance(30)
            store.claim(SCOPE, "v1", ["a"], seconds=30)
            assert set(other.claim(SCOPE, "v1", ["a"], seconds=2).claimed_elsewhere) == {"a"}
            merge(store, {key("glance"): absent()})
            assert set(store.load_answers(SCOPE, "v1")) == {"glance", "nova-api"}
        (line,) = warnings(caplog)
        assert line.endswith("it is full; nothing will be stored")

    def test_a_server_that_stays_away_is_asked_rarely(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock, tries = Clock.installed(monkeypatch), 0
        call = RedisServer.call

        def counted(self: RedisServer, *arguments: Any, **options: Any) -> Any:
            nonlocal tries
            tries += 1
            return call(self, *arguments, **options)

        monkeypatch.setattr(RedisServer, "call", counted)
        url = f"redis://127.0.0.1:{programs.free_port()}/0"
        with closing(RedisStore(url)) as store:
            for _ in range(3600):
                assert store.load_answers(SCOPE, "v1") == {}
                merge(store, {key(): absent()})
                clock.advance(1)
        assert tries == 10
        assert len(warnings(caplog)) == 1


@contextmanager
def fake_server(
    answer: bytes, *, pause: float = 0.0, credentials: str = f"user:{SECRET}@"
) -> Iterator[str]:
    """Run a server that answers every command alike.

    Args:
        answer: The bytes that it sends.
        pause: The seconds between two bytes; 0 means that it sends them at once.
        credentials: The user and password in the URL. Without, it answers the first commands
            properly, up to the first script.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    if not credentials and b"EVAL" not in data:
                        greetings = data.count(b"SETINFO")
                        connection.sendall(b"+OK\r\n" * greetings or b"+PONG\r\n")
                        continue
                    if not pause:
                        connection.sendall(answer)
                        continue
                    for at in range(len(answer)):
                        connection.sendall(answer[at : at + 1])
                        if ended.wait(pause):
                            return
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"redis://{credentials}127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class TestFaults:
    @pytest.mark.timeout(HANG_GUARD)
    def test_a_reply_that_trickles_is_abandoned(self, caplog: pytest.LogCaptureFixture) -> None:
        endless = b"$1000000\r\n" + b"x" * 1_000_000
        with (
            fake_server(endless, pause=0.05, credentials="") as url,
            closing(RedisStore(url, wait=0.3)) as store,
        ):
            assert store.load_answers(SCOPE, "v1") == {}
            assert store.load_answers(SCOPE, "v1") == {}
        (line,) = warnings(caplog)
        assert "does not answer" in line

    @pytest.mark.parametrize(
        "answer",
        [
            f"-ERR unknown command 'AUTH', with args beginning with: '{SECRET}'\r\n".encode(),
            f"-WRONGPASS {SECRET}\r\n".encode(),
            f"-LOADING {SECRET}\r\n".encode(),
            f"+{SECRET}\r\n".encode(),
            b"*-5\r\n",
            b"$-5\r\n",
            b":99999999999999999999999999\r\n",
            b"*100000000\r\n",
            b"\x00\x01\x02",
            b"*1\r\n" * 2000,
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ],
        ids=lambda answer: repr(answer[:12]),
    )
    @pytest.mark.timeout(HANG_GUARD)
    def test_a_server_that_speaks_another_protocol_is_not_quoted(
        self, answer: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        with fake_server(answer) as url, closing(RedisStore(url, wait=0.2)) as store:
            assert store.load_answers(SCOPE, "v1") == {}
            merge(store, {key(): absent()})
            assert store.load_answer(key()) is None
            assert SECRET not in repr(store)
            assert SECRET not in store._server.location
            with pytest.raises(StoreError) as caught:
                store.clean()
        assert SECRET not in str(caught.value)
        assert len(warnings(caplog)) == 1
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        "answer",
        [
            *(b":5\r\n", b"$-1\r\n", b"*0\r\n", b"*2\r\n:1\r\n:2\r\n", b"*1\r\n-ERR no\r\n"),
            b"*2\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n*1\r\n$1\r\na\r\n",
            b"*2\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n:7\r\n",
            b"*3\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n*0\r\n:9\r\n",
            b"*3\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n*0\r\n:9\r\n",
        ],
    )
    def test_a_malformed_reply_of_a_script(
        self, answer: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        with fake_server(answer, credentials="") as url, closing(RedisStore(url)) as one:
            assert one.load_answers(SCOPE, "v1") == {}
            assert one.load_answer(key()) is None
            assert one.load_listing(SCOPE) is None
        with fake_server(answer, credentials="") as url, closing(RedisStore(url)) as one:
            assert one.load_listing(SCOPE) is None
        with fake_server(answer, credentials="") as url, closing(RedisStore(url)) as one:
            assert one.claim(SCOPE, "v1", ["a"], seconds=2).answers == {}
        assert 1 <= len(warnings(caplog)) <= 3

    def test_a_server_that_failed_is_left_alone_after_one_warning(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[object] = []
        call = RedisServer.call

        def counted(self: RedisServer, *arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            return call(self, *arguments, **options)

        monkeypatch.setattr(RedisServer, "call", counted)
        with running_redis("--maxmemory", "1") as server, closing(RedisStore(server.url)) as one:
            merge(one, {key(): absent()})
            assert len(calls) == 2
            server.kill()
            for _ in range(3):
                assert one.load_answers(SCOPE, "v1") == {}
                merge(one, {key(): absent()})
        assert len(calls) == 3
        assert len(warnings(caplog)) == 1

    def test_a_full_server_is_only_read(self, caplog: pytest.LogCaptureFixture) -> None:
        with running_redis() as server, closing(RedisStore(server.url, retention=FOR_EVER)) as one:
            merge(one, {key(): present()})
            with server.client() as client:
                client.config_set("maxmemory", "1")
            for number in range(3):
                merge(one, {key(f"r{number}"): absent()})
            assert one.load_answers(SCOPE, "v1") == {"nova-api": present()}
        (line,) = warnings(caplog)
        assert line.endswith("it is full; nothing will be stored")

    def test_a_replica_is_read(self, caplog: pytest.LogCaptureFixture) -> None:
        with running_redis("--repl-diskless-sync-delay", "0") as primary:
            port = primary.url.rpartition(":")[2].partition("/")[0]
            with running_redis("--replicaof", "127.0.0.1", port) as replica:
                with closing(RedisStore(primary.url, retention=FOR_EVER)) as store:
                    merge(store, {key(): present()})
                with replica.client() as client:
                    until = time.monotonic() + HANG_GUARD
                    while not client.exists(HASH):
                        assert time.monotonic() < until
                with closing(RedisStore(replica.url, retention=FOR_EVER)) as store:
                    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
                    merge(store, {key("glance"): absent()})
                    store.remove_if_not_newer({key(): LATEST})
                    store.discard_unlisted(SCOPE, ["a"], until=LATEST)
                    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
                    with pytest.raises(StoreError, match="read-only replica"):
                        store.clean()
        (line,) = warnings(caplog)
        assert line.endswith("it is a read-only replica; nothing will be stored")

    def test_keys_of_another_program_with_the_same_names(
        self, store: RedisStore, server: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.set(HASH, "mine")
        assert store.load_answers(SCOPE, "v1") == {}
        merge(store, {key(): absent()})
        assert server.get(HASH) == b"mine"
        (line,) = warnings(caplog)
        assert "another program uses keys" in line

    def test_a_user_who_may_not_run_scripts(
        self, redis_url: str, server: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.acl_setuser(
            "reader", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], commands=["+hget"]
        )
        try:
            url = redis_url.replace("//", f"//reader:{SECRET}@")
            with closing(RedisStore(url)) as store:
                assert store.load_answers(SCOPE, "v1") == {}
        finally:
            server.acl_deluser("reader")
        (line,) = warnings(caplog)
        assert "does not permit this user" in line
        assert SECRET not in line

    @pytest.mark.parametrize("credentials", ["", f"{SECRET}x@", f":{SECRET}x@", f"who:{SECRET}@"])
    def test_wrong_credentials(self, credentials: str, caplog: pytest.LogCaptureFixture) -> None:
        with running_redis("--requirepass", SECRET) as server:
            right = server.url.replace("//", f"//:{SECRET}@")
            with closing(RedisStore(right, retention=FOR_EVER)) as store:
                merge(store, {key(): absent()})
                assert store.load_answer(key()) == absent()
            assert warnings(caplog) == []
            with closing(RedisStore(server.url.replace("//", f"//{credentials}"))) as store:
                assert store.load_answers(SCOPE, "v1") == {}
                merge(store, {key("glance"): absent()})
        (line,) = warnings(caplog)
        assert SECRET not in line
        assert "refuses" in line

    def test_an_idle_connection_closed_by_the_server(
        self, store: RedisStore, server: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        merge(store, {key(): absent()})
        server.client_kill_filter(_type="normal", skipme=True)
        assert store.load_answer(key()) == absent()
        assert warnings(caplog) == []

    def test_a_unix_socket(self, shared_redis: redis_server.RedisServer, redis_url: str) -> None:
        with closing(RedisStore(f"unix://{shared_redis.socket}?db=3", retention=FOR_EVER)) as store:
            merge(store, {key(): absent()})
            assert store.load_answer(key()) == absent()
        with closing(RedisStore(redis_url, retention=FOR_EVER)) as other:
            assert other.load_answer(key()) is None
        with closing(RedisStore(redis_url.replace("/0", "/3"), retention=FOR_EVER)) as same:
            assert same.load_answer(key()) == absent()


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://cache.example", "redis://cache.example:6379/0"),
            (f"redis://:{SECRET}@cache.example:7000/2", "redis://cache.example:7000/2"),
            (f"rediss://ci:{SECRET}@[::1]/", "rediss://[::1]:6379/0"),
            (f"rediss://cache.example?ssl_ca_certs=/etc/{SECRET}", "rediss://cache.example:6379/0"),
            ("redis://cache.example?db=4", "redis://cache.example:6379/4"),
            (f"unix://ci:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ],
    )
    def test_a_url_is_shown_without_its_secrets(self, url: str, shown: str) -> None:
        with closing(RedisStore(url)) as store:
            assert repr(store) == f"<RedisStore {shown}>"

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "cache.example",
            f"http://:{SECRET}@cache.example",
            f"redis://:{SECRET}@",
            f"redis://:{SECRET}@cache.example:port",
            f"redis://:{SECRET}@cache.example:99999",
            f"redis://:{SECRET}@cache.example/kolla",
            f"redis://:{SECRET}@cache.example/-1",
            f"redis://:{SECRET}@cache.example/99999999999",
            f"redis://:{SECRET}@cache.example?password={SECRET}",
            f"redis://:{SECRET}@cache.example?socket_timeout=100",
            f"redis://:{SECRET}@cache.example?{SECRET}",
            f"redis://:{SECRET}@[::1",
            f"unix://:{SECRET}@",
            f"unix://:{SECRET}@host/path",
            f"unix://:x/{SECRET}@/run/redis.sock",
            f"redis://:x#{SECRET}@cache.example",
            "redis://cache.example?ssl_ca_certs=/etc/ca.pem",
        ],
    )
    def test_an_invalid_url(self, url: str) -> None:
        with pytest.raises(SettingsError) as caught:
            RedisStore(url)
        assert SECRET not in str(caught.value)
        assert "cache URL" in str(caught.value)

    def test_without_redis_py_the_error_names_the_extra(self) -> None:
        said = finished("""
            import sys
            sys.modules["redis"] = None
            from quaycache import MissingExtraError, RedisStore
            try:
                RedisStore("redis://127.0.0.1")
            except MissingExtraError as error:
                print(error)
        """)
        assert said == "a cache on Redis needs redis-py: pip install 'quaycache[redis]'\n"
