"""What a `DiskStore` promises while nobody means it harm."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quaycache.errors import SettingsError, StoreError
from quaycache.model import StoredAnswer
from quaycache.store.disk import DiskStore
from quaycache.store.entry import MAX_LISTING, Entry
from quaycache.store.keys import AnswerKey, Key, Scope, encode_key
from quaycache.store.preflight import SCHEMA, SETTINGS
from quaycache.store.protocol import Store
from tests.store.samples import (
    LATEST,
    LISTING_KEY,
    NOW,
    SCOPE,
    absent,
    database,
    finished,
    key,
    listing,
    present,
    process,
    warnings,
)

STORE_ONE = """
    import sys
    from quaycache.model import StoredAnswer
    from quaycache.store.disk import DiskStore
    from quaycache.store.keys import AnswerKey, Scope
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    store = DiskStore(sys.argv[1])
    store.merge(
        {AnswerKey(scope, "v1", name): StoredAnswer(None, 1795000000.0, 1.0)
         for name in sys.argv[2:]},
        latest=2e9,
    )
    store.close()
"""

OPEN = """
    import sys
    from quaycache.store.disk import DiskStore
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
    """A store that has nothing to complain about."""
    store = DiskStore(directory)
    yield store
    store.close()
    assert warnings(caplog) == []


def merge(store: Store, entries: Mapping[Key, Entry], latest: float = LATEST) -> None:
    store.merge(entries, latest=latest)


def test_it_is_a_store(store: DiskStore) -> None:
    one: Store = store
    assert one.describe().size == 0


def test_what_is_stored_is_found(store: DiskStore) -> None:
    merge(store, {key(): present(), key("nova-compute"): absent(), LISTING_KEY: listing()})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present(), "nova-compute": absent()}
    assert store.load_answer(key()) == present()
    assert store.load_answer(key("glance")) is None
    assert store.load_listing(SCOPE) == listing()


def test_another_process_finds_it(store: DiskStore, directory: Path) -> None:
    assert store.load_answers(SCOPE, "v1") == {}
    finished(STORE_ONE, directory, "a")
    assert list(store.load_answers(SCOPE, "v1")) == ["a"]
    with process(OPEN, directory) as seen:
        assert seen == "1"
    finished(STORE_ONE, directory, "a", "b")
    assert list(store.load_answers(SCOPE, "v1")) == ["a", "b"]


def test_two_stores_of_one_process_find_what_the_other_stores(
    store: DiskStore, directory: Path
) -> None:
    other = DiskStore(directory)
    for number, writer in enumerate((store, other, store)):
        merge(writer, {key(f"r{number}"): absent()})
        for reader in (store, other):
            assert len(reader.load_answers(SCOPE, "v1")) == number + 1
            assert reader.load_answer(key(f"r{number}")) == absent()
    other.close()


def test_a_load_is_the_callers_own(store: DiskStore) -> None:
    merge(store, {key(): absent()})
    store.load_answers(SCOPE, "v1").clear()
    assert store.load_answers(SCOPE, "v1") == {"nova-api": absent()}


def test_a_changed_answer_is_loaded_anew(store: DiskStore) -> None:
    merge(store, {key(): absent(), key("glance"): absent()})
    store.load_answers(SCOPE, "v1")
    merge(store, {key(): present(NOW + 1)})
    store.remove({key("glance"): NOW})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present(NOW + 1)}


def test_many_tags_are_loaded_in_turns(store: DiskStore) -> None:
    tags = [f"v{number}" for number in range(20)]
    merge(store, {key(tag=tag): present(tag=tag) for tag in tags})
    for tag in tags * 2:
        assert store.load_answers(SCOPE, tag) == {"nova-api": present(tag=tag)}


@pytest.mark.parametrize(
    ("stored", "comes", "latest", "kept"),
    [
        (NOW, NOW + 1, LATEST, NOW + 1),
        (NOW + 1, NOW, LATEST, NOW + 1),
        (NOW + 1, NOW, NOW + 1, NOW + 1),
        (NOW + 2, NOW, NOW + 1, NOW),
    ],
)
def test_of_two_the_newer_is_kept_unless_its_time_cannot_be(
    store: DiskStore, stored: float, comes: float, latest: float, kept: float
) -> None:
    merge(store, {key(): present(stored), LISTING_KEY: listing(stored)})
    merge(store, {key(): absent(comes), LISTING_KEY: listing(comes)}, latest)
    answer, kept_listing = store.load_answer(key()), store.load_listing(SCOPE)
    assert answer == (present(kept) if kept == stored else absent(kept))
    assert kept_listing == listing(kept)


def test_of_one_time_what_comes_is_kept(store: DiskStore) -> None:
    merge(store, {key(): present()})
    merge(store, {key(): absent()})
    assert store.load_answer(key()) == absent()


def test_a_removal_spares_what_is_newer(store: DiskStore) -> None:
    merge(store, {key("old"): absent(), key("new"): absent(NOW + 1), LISTING_KEY: listing()})
    store.remove({key("old"): NOW, key("new"): NOW, key("none"): NOW, LISTING_KEY: NOW})
    assert store.load_answers(SCOPE, "v1") == {"new": absent(NOW + 1)}
    assert store.load_listing(SCOPE) is None


def test_what_is_not_listed_is_removed_for_every_tag(store: DiskStore) -> None:
    elsewhere = SCOPE._replace(namespace="kolla2")
    spared: list[Key] = [
        key("glance"),
        key("nova"),
        key("a/nova-api"),
        key(scope=elsewhere),
        key(scope=SCOPE._replace(identity="0" * 64)),
        LISTING_KEY,
    ]
    entries: dict[Key, Entry] = {one: absent() for one in spared[:-1]}
    merge(store, {**entries, LISTING_KEY: listing()})
    merge(store, {key(tag=f"v{number}"): absent() for number in range(3)})
    merge(store, {key("nova-db"): absent(), key("nova-db", "new"): absent(NOW + 1)})
    store.keep_listed(SCOPE, ["glance", "nova", "a/nova-api", "none"], until=NOW)
    expected = {encode_key(one) for one in (*spared, key("nova-db", "new"))}
    assert {encode_key(row.key) for row in store.rows()} == expected


@pytest.mark.parametrize(
    "neighbour",
    [
        key(tag="v1.1"),
        key(tag="v"),
        key(tag="V1"),
        key(scope=SCOPE._replace(namespace="kolla.b")),
        key(scope=SCOPE._replace(namespace="koll")),
        key(scope=SCOPE._replace(identity="0" * 64)),
        key(scope=SCOPE._replace(api_base="https://quay.io:8443/api/v1")),
        key(scope=SCOPE._replace(api_base="http://quay.io/api/v1")),
    ],
)
def test_neighbours_do_not_see_each_other(store: DiskStore, neighbour: AnswerKey) -> None:
    merge(store, {key(): present(), neighbour: present(NOW + 1, neighbour.tag)})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
    assert store.load_answers(neighbour.scope, neighbour.tag) == {
        "nova-api": present(NOW + 1, neighbour.tag)
    }
    store.keep_listed(SCOPE, ["nova"], until=LATEST)
    same_scope = neighbour.scope == SCOPE
    assert (store.load_answer(neighbour) is None) == same_scope


def test_rows_come_in_the_order_of_their_keys(store: DiskStore) -> None:
    entries: dict[Key, Entry] = {key(f"r{number:04}"): absent() for number in range(700)}
    merge(store, {**entries, LISTING_KEY: listing()})
    rows = list(store.rows())
    assert [row.key for row in rows] == [*entries, LISTING_KEY]
    assert [row.entry for row in rows] == [*entries.values(), listing()]
    assert all(row.size > 60 for row in rows)


def test_reading_makes_nothing(directory: Path) -> None:
    store = DiskStore(directory)
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answer(key()) is None
    assert store.load_listing(SCOPE) is None
    store.remove({key(): LATEST})
    store.keep_listed(SCOPE, ["nova"], until=LATEST)
    store.merge({}, latest=LATEST)
    assert list(store.rows()) == []
    assert store.describe().size == 0
    assert store.clean() == 0
    assert store.prune(lambda _: True, quarantined_before=LATEST).freed == 0
    store.close()
    assert not directory.exists()


def test_reading_needs_no_diskcache(directory: Path) -> None:
    finished(STORE_ONE, directory, "a")
    script = (
        OPEN.replace("sys.stdin.read()", "store.remove({}); store.close(); print(*sys.modules)")
        + "\n"
    )
    modules = set(finished(script, directory).split())
    assert "quaycache.store.disk" in modules
    heavy = {"diskcache", "httpx", "logging", "tempfile", "subprocess", "concurrent", "shutil"}
    assert heavy.isdisjoint(modules)


def test_after_close_there_is_nothing(store: DiskStore, directory: Path) -> None:
    merge(store, {key(): absent(), LISTING_KEY: listing()})
    store.close()
    store.close()
    merge(store, {key("b"): absent()})
    store.remove({key(): LATEST})
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answer(key()) is None
    assert store.load_listing(SCOPE) is None
    assert list(store.rows()) == []
    with pytest.raises(StoreError, match="closed"):
        store.clean()
    again = DiskStore(directory)
    assert again.load_answers(SCOPE, "v1") == {"nova-api": absent()}
    again.close()


def test_close_leaves_one_file_and_no_thread(store: DiskStore, directory: Path) -> None:
    threads = threading.active_count()
    merge(store, {key(): absent()})
    store.close()
    assert os.listdir(directory / "quaycache-1") == ["cache.db"]
    assert threading.active_count() == threads


def test_it_is_closed_by_any_thread(store: DiskStore, directory: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(merge, store, {key(): absent()}).result()
    assert store.load_answer(key()) == absent()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(store.close).result()
    assert os.listdir(directory / "quaycache-1") == ["cache.db"]


def test_many_threads_store_at_once(store: DiskStore, directory: Path) -> None:
    other = DiskStore(directory)

    def work(number: int) -> None:
        target = (store, other)[number % 2]
        for step in range(10):
            merge(target, {key(f"r{number}-{step}"): absent(), key("same"): absent(NOW + number)})
            target.load_answers(SCOPE, "v1")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    loaded = store.load_answers(SCOPE, "v1")
    assert len(loaded) == 81
    assert loaded["same"] == absent(NOW + 7)
    other.close()


def test_many_processes_make_one_store(store: DiskStore, directory: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: finished(STORE_ONE, directory, f"r{number}"), range(8)))
    assert len(store.load_answers(SCOPE, "v1")) == 8
    assert {path.name for path in directory.iterdir()} == {
        "quaycache-1",
        "quaycache-1.lock",
        "CACHEDIR.TAG",
    }


def test_a_prune_keeps_what_it_is_told_to_in_one_file(store: DiskStore, directory: Path) -> None:
    merge(store, {key(f"r{number}"): absent(NOW + number) for number in range(3000)})
    merge(store, {LISTING_KEY: listing()})
    stale = directory / "quaycache-1.new-0123456789abcdef"
    stale.mkdir()
    (stale / "cache.db").write_bytes(b"half")
    size = store.describe().size

    def keep(row: object) -> bool:
        entry = row.entry  # type: ignore[attr-defined]  # a Row
        return not isinstance(entry, StoredAnswer) or entry.checked_at < NOW + 10

    would = store.prune(keep, quarantined_before=0.0, dry_run=True)
    assert (would.rows, would.quarantines) == (2990, 0)
    assert would.freed > 0
    assert len(store.load_answers(SCOPE, "v1")) == 3000
    pruned = store.prune(keep, quarantined_before=0.0)
    assert (pruned.rows, pruned.quarantines) == (2990, 0)
    assert os.listdir(directory / "quaycache-1") == ["cache.db"]
    assert not stale.exists()
    assert 100_000 < pruned.freed <= size - store.describe().size
    assert len(store.load_answers(SCOPE, "v1")) == 10
    assert store.load_listing(SCOPE) == listing()
    merge(store, {key("after"): absent()})
    assert len(store.load_answers(SCOPE, "v1")) == 11


def test_an_interrupted_prune_loses_nothing(store: DiskStore, directory: Path) -> None:
    merge(store, {key(): absent()})

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prune(interrupt, quarantined_before=0.0)
    assert store.load_answer(key()) == absent()
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


def test_clean_removes_what_is_ours_and_nothing_else(store: DiskStore, directory: Path) -> None:
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
def test_who_tidies_needs_it_alone(store: DiskStore, directory: Path, tidy: str) -> None:
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


def test_a_cache_directory_is_marked_unless_it_is_somebody_elses(tmp_path: Path) -> None:
    used, empty, tagged = tmp_path / "used", tmp_path / "empty", tmp_path / "tagged"
    for path in (used, empty, tagged):
        path.mkdir()
    (used / "notes").touch()
    (tagged / "CACHEDIR.TAG").write_text("mine")
    for path in (used, empty, tagged):
        store = DiskStore(path)
        merge(store, {key(): absent()})
        store.close()
    assert not (used / "CACHEDIR.TAG").exists()
    tag = (empty / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    store = DiskStore(tagged)
    store.clean()
    assert (tagged / "CACHEDIR.TAG").read_text() == "mine"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_modes_are_ours_whatever_the_umask(
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
def test_any_name_will_do(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    store = DiskStore(tmp_path / name)
    merge(store, {key(): absent()})
    store.close()
    again = DiskStore(tmp_path / name)
    assert again.load_answer(key()) == absent()
    again.prune(lambda _: True, quarantined_before=0.0)
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert warnings(caplog) == []


def test_a_relative_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = DiskStore("cache")
    monkeypatch.chdir("/")
    merge(store, {key(): absent()})
    store.close()
    assert database(tmp_path / "cache").exists()


def test_a_path_that_diskcache_would_expand_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    store = DiskStore(tmp_path / "$ELSEWHERE")
    for _ in range(2):
        merge(store, {key(): absent()})
    assert store.load_answer(key()) is None
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["$ELSEWHERE"]
    assert len(warnings(caplog)) == 1
    assert "nothing will be stored" in warnings(caplog)[0]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_no_directory_has_such_a_name(name: str) -> None:
    with pytest.raises(SettingsError):
        DiskStore(name)


def test_what_is_too_large_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = listing(**{f"{number:0200}": 1 for number in range(MAX_LISTING // 200)})
    store = DiskStore(tmp_path)
    merge(store, {LISTING_KEY: large, key(): absent()})
    assert store.load_listing(SCOPE) is None
    assert store.load_answer(key()) == absent()
    store.close()
    assert ["too large" in line for line in warnings(caplog)] == [True]


def test_the_schema_is_what_diskcache_makes(store: DiskStore, directory: Path) -> None:
    merge(store, {key(): absent()})
    store.close()
    connection = sqlite3.connect(database(directory))
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    settings = dict(connection.execute("SELECT key, value FROM Settings").fetchall())
    connection.close()
    assert sorted(schema) == sorted(SCHEMA)
    counters = {"count": 1, "size": 0, "hits": 0, "misses": 0}
    assert settings == {**SETTINGS, **counters}


def test_other_programs_logging_is_left_alone(store: DiskStore) -> None:
    merge(store, {key(): absent()})
    assert logging.getLogger("quaycache.store").handlers == []


def test_scopes_with_a_token_are_apart(store: DiskStore) -> None:
    mine = Scope(SCOPE.api_base, "0" * 64, SCOPE.namespace)
    merge(store, {AnswerKey(mine, "v1", "secret"): present()})
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answers(mine, "v1") == {"secret": present()}
