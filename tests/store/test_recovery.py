"""A `DiskStore` of a long-lived program recovers from passing failures."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quaycache.errors import StoreError
from quaycache.store.disk.store import DiskStore
from tests.store.samples import (
    HOLD_FLOCK,
    HOLD_WRITE_LOCK,
    NOW,
    SCOPE,
    Clock,
    absent,
    database,
    disk_store,
    key,
    merge,
    output,
    present,
    process,
    warnings,
)

pytestmark = pytest.mark.timeout(60)

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")

PAUSE = 30.0

# A limit on the size of files has the same effect as a full disk, and needs no root.
FILL_UP = """
    import json, os, resource, sys, time
    from quaycache.model import StoredAnswer
    from quaycache.store import fail_open
    from quaycache.store.disk.store import DiskStore
    from quaycache.store.keys import AnswerKey, Scope

    now = 1000.0
    fail_open.monotonic = lambda: now
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    directory, room = sys.argv[1], int(sys.argv[2])
    store = DiskStore(directory)

    def put(name, count):
        entries = {
            AnswerKey(scope, "v1", f"{name}-{number}"): StoredAnswer(None, 5.0, time.time())
            for number in range(count)
        }
        store.put_newer(entries, max_checked_at=10.0)

    def names(of):
        return sorted({name.split("-")[0] for name in of.load_answers(scope, "v1")})

    def seen():
        other = DiskStore(directory)
        found = names(store), len(store.load_answers(scope, "v1")), names(other)
        other.close()
        return found

    put("before", 100)
    log = os.stat(f"{directory}/quaycache-1/cache.db-wal").st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (log + room, resource.RLIM_INFINITY))
    put("during", 2000)
    full = seen()
    now += 30
    put("still", 2000)
    still_full = seen()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    put("early", 1)
    now += 60
    put("after", 2000)
    print(json.dumps([full, still_full, seen()]))
    if sys.argv[3] == "close full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    store.close()
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.installed(monkeypatch)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A valid, closed cache with one answer."""
    path = tmp_path / "cache"
    with closing(disk_store(path)) as store:
        merge(store, {key(): present()})
    return path


@pytest.fixture
def store(directory: Path, caplog: pytest.LogCaptureFixture) -> Iterator[DiskStore]:
    caplog.set_level(logging.INFO, "quaycache.store")
    with closing(disk_store(directory)) as store:
        yield store


def stored(directory: Path) -> set[str]:
    """Return the repositories that a new store finds."""
    with closing(disk_store(directory)) as other:
        return set(other.load_answers(SCOPE, "v1"))


def infos(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]


def test_a_write_lock_that_is_released(
    store: DiskStore, directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with process(HOLD_WRITE_LOCK, database(directory)) as line:
        assert line == "locked"
        merge(store, {key("a"): absent()})
        assert store.load_answer(key()) == present()
    merge(store, {key("b"): absent()})
    clock.advance(PAUSE)
    merge(store, {key("c"): absent()})
    merge(store, {key("d"): absent()})
    assert stored(directory) == {"nova-api", "c", "d"}
    assert len(warnings(caplog)) == 1
    assert infos(caplog) == [f"cache '{directory}': it works again"]


def test_a_write_lock_that_is_held_between_two_batches(
    store: DiskStore, directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    merge(store, {key("a"): absent()})
    with process(HOLD_WRITE_LOCK, database(directory)) as line:
        assert line == "locked"
        merge(store, {key("b"): absent()})
    clock.advance(PAUSE)
    merge(store, {key("c"): absent()})
    assert stored(directory) == {"nova-api", "a", "c"}
    assert len(warnings(caplog)) == 1


def test_an_exclusive_lock_that_is_released(
    store: DiskStore, directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with process(HOLD_FLOCK, directory / "quaycache-1.lock") as line:
        assert line == "locked"
        assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answers(SCOPE, "v1") == {}
    clock.advance(PAUSE)
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
    merge(store, {key("a"): absent()})
    assert stored(directory) == {"nova-api", "a"}
    assert len(warnings(caplog)) == 1
    assert infos(caplog) == [f"cache '{directory}': it works again"]


def test_a_directory_that_could_not_be_created(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "later"
    directory.touch()
    with closing(disk_store(directory)) as store:
        merge(store, {key(): present()})
        directory.unlink()
        clock.advance(PAUSE)
        merge(store, {key("a"): absent()})
        assert stored(directory) == {"a"}
    assert len(warnings(caplog)) == 1


@AS_ROOT
def test_another_users_cache_whose_owner_changes(
    store: DiskStore, directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    os.chown(directory / "quaycache-1", NOBODY, NOBODY)
    merge(store, {key("a"): absent()})
    assert store.load_answer(key()) == present()
    os.chown(directory / "quaycache-1", 0, 0)
    clock.advance(PAUSE)
    merge(store, {key("b"): absent()})
    assert stored(directory) == {"nova-api", "b"}
    assert len(warnings(caplog)) == 1


def test_a_second_damage_is_quarantined_ten_minutes_after_the_first(
    store: DiskStore, directory: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def damage() -> None:
        with closing(sqlite3.connect(database(directory))) as connection:
            connection.execute("CREATE TABLE evil (x)")

    def quarantines() -> int:
        return len(list(directory.glob("*.broken-*")))

    damage()
    assert store.load_answers(SCOPE, "v1") == {}
    merge(store, {key("a"): absent()})
    store.prune(lambda _: True, quarantined_before=0.0)
    assert quarantines() == 1
    damage()
    clock.advance(590)
    assert store.load_answers(SCOPE, "v1") == {}
    assert quarantines() == 1
    clock.advance(PAUSE)
    merge(store, {key("b"): absent()})
    assert stored(directory) == {"b"}
    assert quarantines() == 2
    assert len(warnings(caplog)) == 1


def test_an_unexpected_error_is_over_after_a_while(
    store: DiskStore,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("unexpected")

    with monkeypatch.context() as patched:
        patched.setattr("quaycache.store.disk.reader.decode_answer", fail)
        assert store.load_answers(SCOPE, "v1") == {}
    clock.advance(PAUSE)
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
    assert len(warnings(caplog)) == 1
    assert "ValueError" in caplog.text


@pytest.mark.parametrize("how", ["close", "close full"])
@pytest.mark.parametrize("room", [0, 1, 4120 * 3, 50_000])
def test_a_disk_that_is_full_in_the_middle_of_a_batch(tmp_path: Path, room: int, how: str) -> None:
    directory = tmp_path / "cache"
    out, err = output(FILL_UP, directory, room, how)
    before = [["before"], 100, ["before"]]
    assert json.loads(out) == [
        before,
        before,
        [["after", "before"], 2100, ["after", "before"]],
    ]
    assert len(err.splitlines()) == 1, err
    assert err.endswith("; nothing will be stored\n")
    assert len(stored(directory)) == 2100
    assert sorted(path.name for path in directory.iterdir()) == [
        "CACHEDIR.TAG",
        "quaycache-1",
        "quaycache-1.lock",
    ]


def delete_and_leave(directory: Path) -> None:
    shutil.rmtree(directory)


def delete_the_database(directory: Path) -> None:
    shutil.rmtree(directory / "quaycache-1")


def delete_the_lock_file(directory: Path) -> None:
    (directory / "quaycache-1.lock").unlink()


def move(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))


@pytest.mark.parametrize(
    "change", [delete_and_leave, delete_the_database, delete_the_lock_file, move]
)
@pytest.mark.parametrize("has_written", [False, True])
def test_a_deleted_directory_is_created_again(
    store: DiskStore,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    has_written: bool,
) -> None:
    store.load_answers(SCOPE, "v1")
    if has_written:
        merge(store, {key("a"): absent()})
    change(directory)
    merge(store, {key("b"): absent()})
    merge(store, {key("c"): absent()})
    assert stored(directory) >= {"b", "c"}
    assert set(store.load_answers(SCOPE, "v1")) == stored(directory)
    with pytest.raises(StoreError, match="in use"), closing(disk_store(directory)) as other:
        other.prune(lambda _: False, quarantined_before=0.0)
    assert warnings(caplog) == []
    assert infos(caplog) == [f"cache '{directory}': it was removed or replaced; starting over"]


def test_a_deleted_directory_is_empty_to_a_reader(
    store: DiskStore, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.load_answer(key()) == present()
    shutil.rmtree(directory)
    for _ in range(2):
        assert store.load_answer(key()) is None
        assert store.load_answers(SCOPE, "v1") == {}
        assert list(store.rows()) == []
        store.remove_if_not_newer({key(): NOW})
    assert not directory.exists()
    assert len(infos(caplog)) == 1


@pytest.mark.parametrize("has_written", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
def test_the_cache_of_another_process_in_its_place_is_used_and_not_harmed(
    store: DiskStore, directory: Path, has_written: bool, goes_on: bool
) -> None:
    store.load_answers(SCOPE, "v1")
    if has_written:
        merge(store, {key("a"): absent()})
    shutil.rmtree(directory)
    with closing(disk_store(directory)) as other:
        merge(other, {key("b"): absent()})
        if goes_on:
            assert set(store.load_answers(SCOPE, "v1")) == {"b"}
            merge(store, {key("c"): absent()})
        store.close()
        merge(other, {key("d"): absent()})
        expected = {"b", "c", "d"} if goes_on else {"b", "d"}
        assert stored(directory) == set(other.load_answers(SCOPE, "v1")) == expected
    assert stored(directory) == expected
