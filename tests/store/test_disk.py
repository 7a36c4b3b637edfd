"""The behaviour of a `DiskStore` with trusted contents."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quaycache.errors import SettingsError, StoreError
from quaycache.store.disk.preflight import SCHEMA, SETTINGS
from quaycache.store.disk.store import DiskStore
from quaycache.store.keys import AnswerKey, Scope
from tests.store.samples import (
    LATEST,
    NOW,
    SCOPE,
    absent,
    database,
    disk_store,
    finished,
    key,
    merge,
    present,
    process,
    warnings,
)

STORE_ONE = """
    import sys
    from quaycache.model import StoredAnswer
    from quaycache.store.disk.store import DiskStore
    from quaycache.store.keys import AnswerKey, Scope
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    store = DiskStore(sys.argv[1])
    store.put_newer(
        {AnswerKey(scope, "v1", name): StoredAnswer(None, 1795000000.0, 4e9)
         for name in sys.argv[2:]},
        max_checked_at=2e9,
    )
    store.close()
"""

OPEN = """
    import sys
    from quaycache.store.disk.store import DiskStore
    from quaycache.store.keys import Scope
    store = DiskStore(sys.argv[1])
    print(len(store.load_answers(Scope("https://quay.io/api/v1", "anon", "kolla"), "v1")))
    sys.stdout.flush()
    sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(directory: Path, caplog: pytest.LogCaptureFixture) -> Iterator[DiskStore]:
    """A store; the test fails if it logs a warning."""
    store = disk_store(directory)
    yield store
    store.close()
    assert warnings(caplog) == []


def test_reading_creates_no_files(directory: Path) -> None:
    store = disk_store(directory)
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answer(key()) is None
    assert store.load_listing(SCOPE) is None
    store.remove_if_not_newer({key(): LATEST})
    store.discard_unlisted(SCOPE, ["nova"], until=LATEST)
    store.put_newer({}, max_checked_at=LATEST)
    assert list(store.rows()) == []
    assert store.describe().size == 0
    assert store.clean() == 0
    assert store.prune(lambda _: True, quarantined_before=LATEST).freed == 0
    store.close()
    assert not directory.exists()


def test_reading_needs_no_diskcache(directory: Path) -> None:
    finished(STORE_ONE, directory, "a")
    script = (
        OPEN.replace(
            "sys.stdin.read()", "store.remove_if_not_newer({}); store.close(); print(*sys.modules)"
        )
        + "\n"
    )
    modules = set(finished(script, directory).split())
    assert "quaycache.store.disk.store" in modules
    heavy = {"diskcache", "httpx", "logging", "tempfile", "subprocess", "concurrent", "shutil"}
    assert heavy.isdisjoint(modules)


def test_close_leaves_one_file_and_no_thread(store: DiskStore, directory: Path) -> None:
    threads = threading.active_count()
    merge(store, {key(): absent()})
    store.close()
    assert os.listdir(directory / "quaycache-1") == ["cache.db"]
    assert threading.active_count() == threads


def test_many_processes_create_one_store(store: DiskStore, directory: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: finished(STORE_ONE, directory, f"r{number}"), range(8)))
    assert len(store.load_answers(SCOPE, "v1")) == 8
    assert {path.name for path in directory.iterdir()} == {
        "quaycache-1",
        "quaycache-1.lock",
        "CACHEDIR.TAG",
    }


def test_a_prune_leaves_one_file(store: DiskStore, directory: Path) -> None:
    merge(store, {key(f"r{number}"): absent() for number in range(300)})
    stale = directory / "quaycache-1.new-0123456789abcdef"
    stale.mkdir()
    (stale / "cache.db").write_bytes(b"half")
    store.prune(lambda row: row.key == key("r0"), quarantined_before=0.0)
    assert os.listdir(directory / "quaycache-1") == ["cache.db"]
    assert not stale.exists()
    assert list(store.load_answers(SCOPE, "v1")) == ["r0"]


def test_an_interrupted_prune_leaves_nothing(store: DiskStore, directory: Path) -> None:
    merge(store, {key(): absent()})

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prune(interrupt, quarantined_before=0.0)
    assert sorted(path.name for path in directory.iterdir()) == [
        "CACHEDIR.TAG",
        "quaycache-1",
        "quaycache-1.lock",
    ]


def test_a_prune_drops_old_quarantines(store: DiskStore, directory: Path) -> None:
    old = directory / "quaycache-1.broken-20200101T000000Z-1"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    new = directory / f"quaycache-1.broken-{stamp}-1"
    for path in (old, new):
        path.mkdir(parents=True)
        (path / "cache.db").write_bytes(b"x" * 100)
    assert store.describe().quarantines == 2
    would = store.prune(lambda _: True, quarantined_before=NOW, dry_run=True)
    assert (would.quarantines, would.freed, old.exists()) == (1, 100, True)
    assert store.prune(lambda _: True, quarantined_before=NOW).quarantines == 1
    assert not old.exists()
    assert new.exists()


def test_clean_removes_only_quaycaches_files(store: DiskStore, directory: Path) -> None:
    directory.mkdir()
    foreign = [directory / name for name in ("notes", "quaycache-10", "quaycache-1.new-x")]
    for path in foreign:
        path.write_text("mine")
    merge(store, {key(): absent()})
    (directory / "quaycache-1.broken-20200101T000000Z-1").mkdir()
    size = store.describe().size
    assert 0 < store.clean() <= size
    assert sorted(directory.iterdir()) == sorted(foreign)
    assert store.load_answers(SCOPE, "v1") == {}
    merge(store, {key(): present()})
    assert store.load_answer(key()) == present()


@pytest.mark.parametrize("tidy", ["prune", "clean"])
def test_maintenance_needs_the_exclusive_lock(store: DiskStore, directory: Path, tidy: str) -> None:
    merge(store, {key(): absent()})

    def work() -> None:
        if tidy == "clean":
            store.clean()
        else:
            store.prune(lambda _: False, quarantined_before=0.0)

    with process(OPEN, directory) as seen:
        assert seen == "1"
        with pytest.raises(StoreError, match="in use"):
            work()
        assert store.load_answer(key()) == absent()
    work()
    assert store.load_answers(SCOPE, "v1") == {}


def test_only_a_new_or_empty_directory_is_marked_as_a_cache(tmp_path: Path) -> None:
    used, empty, tagged = tmp_path / "used", tmp_path / "empty", tmp_path / "tagged"
    for path in (used, empty, tagged):
        path.mkdir()
    (used / "notes").touch()
    (tagged / "CACHEDIR.TAG").write_text("mine")
    for path in (used, empty, tagged):
        store = disk_store(path)
        merge(store, {key(): absent()})
        store.close()
    assert not (used / "CACHEDIR.TAG").exists()
    tag = (empty / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    store = disk_store(tagged)
    store.clean()
    assert (tagged / "CACHEDIR.TAG").read_text() == "mine"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_file_modes_do_not_depend_on_the_umask(
    store: DiskStore, directory: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        merge(store, {key(): absent()})
        store.load_answers(SCOPE, "v1")
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }
    assert modes == {
        ".": 0o700,
        "CACHEDIR.TAG": 0o600,
        "quaycache-1": 0o700,
        "quaycache-1.lock": 0o600,
        "quaycache-1/cache.db": 0o600,
        "quaycache-1/cache.db-shm": 0o600,
        "quaycache-1/cache.db-wal": 0o600,
    }


@pytest.mark.parametrize(
    "name", ["%41", "a?b=c", "a#b", "~", "~root", "$", "a b", "a\nb", "ä", "\udcff", "'", "a;b"]
)
def test_a_directory_may_have_any_name(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = disk_store(tmp_path / name)
    merge(store, {key(): absent()})
    store.close()
    again = disk_store(tmp_path / name)
    assert again.load_answer(key()) == absent()
    again.prune(lambda _: True, quarantined_before=0.0)
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert warnings(caplog) == []


def test_a_relative_directory_does_not_follow_a_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = disk_store("cache")
    monkeypatch.chdir("/")
    merge(store, {key(): absent()})
    store.close()
    assert database(tmp_path / "cache").exists()


def test_a_path_that_diskcache_would_expand_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    store = disk_store(tmp_path / "$ELSEWHERE")
    for _ in range(2):
        merge(store, {key(): absent()})
    assert store.load_answer(key()) is None
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["$ELSEWHERE"]
    assert len(warnings(caplog)) == 1
    assert "nothing will be stored" in warnings(caplog)[0]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        disk_store(name)


def test_the_expected_schema_is_diskcaches(store: DiskStore, directory: Path) -> None:
    merge(store, {key(): absent()})
    store.close()
    connection = sqlite3.connect(database(directory))
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    settings = dict(connection.execute("SELECT key, value FROM Settings").fetchall())
    connection.close()
    assert sorted(schema) == sorted(SCHEMA)
    counters = {"count": 1, "size": 0, "hits": 0, "misses": 0}
    assert settings == {**SETTINGS, **counters}


def test_scopes_with_a_token_are_separate(store: DiskStore) -> None:
    mine = Scope(SCOPE.api_base, "0" * 64, SCOPE.namespace)
    merge(store, {AnswerKey(mine, "v1", "secret"): present()})
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answers(mine, "v1") == {"secret": present()}
