"""A directory drops old entries by itself, and never grows too large to be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from quaycache.freshness import Policy
from quaycache.model import LastModified, StoredAnswer, StoredListing
from quaycache.store.choice import store_at
from quaycache.store.disk.connection import Deadline
from quaycache.store.disk.store import DiskStore
from quaycache.store.entry import Entry
from quaycache.store.keys import Key, ListingKey
from tests.store.forgery import Index
from tests.store.samples import (
    LISTING_KEY,
    SCOPE,
    Clock,
    absent,
    database,
    disk_store,
    key,
    merge,
    present,
    warnings,
)

pytestmark = pytest.mark.timeout(120)

DAY = 86400.0
SLICE = 1000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stored(age: float) -> StoredAnswer:
    """An answer that was stored so many seconds ago."""
    then = time.time() - age
    return StoredAnswer(None, then, then)


def fill(directory: Path, entries: dict[Key, Entry]) -> None:
    """Store something whatever its age."""
    with closing(disk_store(directory)) as store:
        merge(store, entries)


def kept(directory: Path) -> set[Key]:
    with closing(disk_store(directory)) as store:
        return {row.key for row in store.rows()}


def test_old_entries_are_dropped_by_a_write(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    then = time.time() - 31 * DAY
    old: dict[Key, Entry] = {key(f"old-{number}"): stored(31 * DAY) for number in range(5)}
    new: dict[Key, Entry] = {key(f"new-{number}"): stored(29 * DAY) for number in range(5)}
    fill(directory, {**old, **new, LISTING_KEY: StoredListing({"a": 1}, then, then)})
    with closing(DiskStore(directory)) as store:
        store.load_answers(SCOPE, "v1")
        list(store.rows())
        assert len(kept(directory)) == 11
        merge(store, {key("a"): stored(0)})
    assert kept(directory) == {*new, key("a")}
    assert warnings(caplog) == []


def test_a_new_entry_under_an_old_key_is_kept(directory: Path) -> None:
    fill(directory, {key("a"): stored(31 * DAY), key("b"): stored(31 * DAY)})
    with closing(DiskStore(directory)) as store:
        merge(store, {key("a"): stored(0)})
    assert kept(directory) == {key("a")}


@pytest.mark.parametrize(("days", "expected"), [(None, {"b"}), (10, {"b"}), (40, {"a", "b"})])
def test_the_retention_is_the_policys(
    directory: Path, days: int | None, expected: set[str]
) -> None:
    fill(directory, {key("a"): stored(31 * DAY)})
    policy = None if days is None else Policy(retention=days * DAY)
    store = store_at(directory, None, policy)
    assert store is not None
    with closing(store):
        merge(store, {key("b"): stored(0)})
    assert kept(directory) == {key(name) for name in expected}


def test_one_write_checks_one_slice_and_many_writes_all_rows(directory: Path) -> None:
    count = 3 * SLICE
    fill(directory, {key(f"old-{number}"): stored(31 * DAY) for number in range(count)})
    with closing(DiskStore(directory)) as store:
        merge(store, {key("a"): stored(0)})
        assert count - SLICE <= len(kept(directory)) - 1 < count
        before = len(kept(directory))
        merge(store, {key("b"): stored(0)})
        assert len(kept(directory)) == before + 1
        # A slice for every hundred that are stored; it may begin anywhere.
        for batch in range(14):
            merge(store, {key(f"new-{batch}-{number}"): stored(0) for number in range(50)})
    assert len(kept(directory)) == 2 + 14 * 50


def test_short_runs_drop_everything_old_in_time(directory: Path) -> None:
    fill(directory, {key(f"old-{number}"): stored(31 * DAY) for number in range(2 * SLICE)})
    size = database(directory).stat().st_size
    until = time.monotonic() + 60
    run = 0
    while len(kept(directory)) > run:
        assert time.monotonic() < until
        with closing(DiskStore(directory)) as store:
            merge(store, {key(f"new-{run}"): stored(0)})
        run += 1
    assert database(directory).stat().st_size < size / 3


def test_forged_rows_do_no_harm(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(directory, {key("a"): stored(31 * DAY)})
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        for rowid, text, value in (
            (2**63 - 1, "1|x", b"\0" * 20),
            (-(2**63), b"1|x", b"\0" * 20),
            (10**6, "1|y", b""),
            (10**6 + 1, "1|z", "text"),
            (10**6 + 2, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), b"\0" * 20),
            (10**6 + 3, "1|long", b"\0" * 10_000_000),
        ):
            connection.execute(
                "INSERT INTO Cache (rowid, key, raw, mode, value) VALUES (?, ?, 1, 1, ?)",
                (rowid, text, value),
            )
    for run in range(5):
        with closing(DiskStore(directory)) as store:
            merge(store, {key(f"b{run}"): stored(0)})
            store.load_answers(SCOPE, "v1")
    assert warnings(caplog) == []
    assert len(list(directory.glob("*.broken-*"))) == 0


def oversize(directory: Path) -> None:
    """A database with a gigabyte of nothing behind its pages, which takes no room."""
    os.truncate(database(directory), 2**30 + 4096)


def long_log(directory: Path) -> None:
    log = database(directory).with_name("cache.db-wal")
    log.touch()
    os.truncate(log, 2**30 + 4096)


@pytest.mark.parametrize("grow", [oversize, long_log])
def test_too_large_is_not_damaged(
    directory: Path, caplog: pytest.LogCaptureFixture, grow: Callable[[Path], None]
) -> None:
    fill(directory, {key(): present(), key("b"): absent()})
    grow(directory)
    with closing(disk_store(directory)) as store:
        assert store.load_answers(SCOPE, "v1") == {}
        merge(store, {key("c"): absent()})
    (line,) = warnings(caplog)
    assert line.endswith(
        "it has more than 1 GiB, and 'quaycache cache prune' makes it smaller;"
        " running without the cache"
    )
    assert list(directory.glob("*.broken-*")) == []
    with closing(disk_store(directory)) as store:
        assert {row.key for row in store.rows()} == {key(), key("b")}
        assert store.prune(lambda row: row.key == key(), quarantined_before=0.0).rows == 1
        assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
    assert store.describe().size < 10**6
    assert list(directory.glob("*.broken-*")) == []


def test_a_forged_file_that_is_too_large_is_not_read(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(directory, {key(): present()})
    Index(database(directory)).endless()
    oversize(directory)
    with closing(disk_store(directory)) as store:
        assert store.load_answers(SCOPE, "v1") == {}
        assert "more than 1 GiB" in warnings(caplog)[0]
        store.prune(lambda _: True, quarantined_before=0.0)
        assert store.describe().quarantines == 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that is soon reached: bytes."""
    limit = 400_000
    monkeypatch.setattr("quaycache.store.disk.session.MAX_WRITTEN_SIZE", limit)
    return limit


def test_a_database_does_not_grow_beyond_the_limit(
    directory: Path,
    small: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "quaycache.store")
    clock = Clock.installed(monkeypatch)
    with closing(DiskStore(directory)) as store:
        for batch in range(50):
            merge(store, {key(f"r{batch}-{number}"): stored(29.9 * DAY) for number in range(100)})
        count = len(store.load_answers(SCOPE, "v1"))
        assert 500 < count < 5000
        assert count % 100 == 0
        assert [line.endswith("is full; nothing will be stored") for line in warnings(caplog)] == [
            True
        ]
        old = time.time() + DAY
        monkeypatch.setattr("quaycache.store.disk.expiry.time.time", lambda: old)
        clock.advance(30)
        merge(store, {key("new"): stored(0)})
        assert "new" in store.load_answers(SCOPE, "v1")
    assert database(directory).stat().st_size <= small
    assert len(warnings(caplog)) == 1


def test_a_prune_has_no_limit(directory: Path, small: int) -> None:
    count = small // 100
    with closing(disk_store(directory)) as store:
        merge(store, {key(): absent()})
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for number in range(count):
            connection.execute(
                "INSERT INTO Cache (key, raw, mode, value)"
                " SELECT replace(key, 'nova-api', ?), 1, 1, value FROM Cache WHERE rowid = 1",
                (f"copy-{number}",),
            )
        connection.execute("COMMIT")
    with closing(disk_store(directory)) as store:
        store.prune(lambda _: True, quarantined_before=0.0)
    assert len(kept(directory)) == count + 1


def test_a_slice_ends_after_some_megabytes(directory: Path) -> None:
    scopes = [SCOPE._replace(namespace=f"n{number}") for number in range(4)]
    then = time.time() - 31 * DAY
    rows: dict[str, LastModified] = {f"{number:0200}": None for number in range(21_000)}
    fill(directory, {ListingKey(scope): StoredListing(rows, then, then) for scope in scopes})
    with closing(DiskStore(directory)) as store:
        merge(store, {key("a"): stored(0)})
    assert kept(directory) == {ListingKey(scopes[2]), ListingKey(scopes[3]), key("a")}


@pytest.mark.parametrize(("size", "seconds"), [(0, 3), (2**30, 13), (10 * 2**30, 103)])
def test_a_large_database_is_given_more_time(
    monkeypatch: pytest.MonkeyPatch, size: int, seconds: float
) -> None:
    now = 100.0
    monkeypatch.setattr("quaycache.store.disk.connection.time.thread_time", lambda: now)
    deadline = Deadline(size)
    now += seconds
    assert not deadline()
    now += 0.1
    assert deadline()
    deadline.start()
    assert not deadline()


def test_a_valid_database_is_read_to_its_end(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that it may take is that of its size."""
    fill(directory, {key(f"r{number}"): absent() for number in range(3000)})
    monkeypatch.setattr("quaycache.store.disk.connection._QUERY_SECONDS", 0.0)
    monkeypatch.setattr("quaycache.store.disk.connection._BYTES_PER_SECOND", 1.0)
    with closing(disk_store(directory)) as store:
        assert len(store.load_answers(SCOPE, "v1")) == 3000
    assert warnings(caplog) == []
