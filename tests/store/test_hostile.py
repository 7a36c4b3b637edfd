"""Hostile directories: no code runs, nothing outside is touched, and the run goes on."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from quaycache.errors import StoreError
from quaycache.store.entry import Entry, encode_entry
from quaycache.store.keys import Key, encode_key
from tests.store.samples import (
    HOLD_FLOCK,
    HOLD_WRITE_LOCK,
    LATEST,
    LISTING_KEY,
    NOW,
    SCOPE,
    absent,
    database,
    disk_store,
    key,
    listing,
    present,
    process,
    warnings,
)

pytestmark = pytest.mark.timeout(60)

NOBODY = 65534
MOUNT, UMOUNT = "/bin/mount", "/bin/umount"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")


class Bomb:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A valid, closed cache with one answer and one listing."""
    path = tmp_path / "cache"
    with closing(disk_store(path)) as store:
        store.put_newer({key(): present(), LISTING_KEY: listing()}, max_checked_at=LATEST)
    return path


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside the cache, which must not be read, changed or deleted."""
    path = tmp_path / "victim" / "file"
    path.parent.mkdir()
    path.write_bytes(b"precious" * 1000)
    path.chmod(0o640)
    os.utime(path, (1, 1))
    before = path.lstat()
    yield path
    after = path.lstat()
    assert path.read_bytes() == b"precious" * 1000
    assert (after.st_mtime, after.st_mode, after.st_ino) == (1, before.st_mode, before.st_ino)
    assert (after.st_atime, after.st_uid) == (1, before.st_uid)
    assert os.listdir(path.parent) == ["file"]


def sql(directory: Path, *statements: str, parameters: tuple[object, ...] = ()) -> None:
    """Change a database with plain SQLite."""
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement, parameters)


def plant(directory: Path, **columns: object) -> None:
    """Insert a row with any columns."""
    sql(
        directory,
        f"INSERT OR REPLACE INTO Cache ({', '.join(columns)})"  # noqa: S608 - of constants
        f" VALUES ({', '.join('?' * len(columns))})",
        parameters=tuple(columns.values()),
    )


def use(directory: Path) -> set[str]:
    """Use all methods of a store; return the repositories of the first load."""
    with closing(disk_store(directory)) as store:
        found = set(store.load_answers(SCOPE, "v1"))
        store.load_answer(key())
        store.load_answer(key("evil"))
        store.load_listing(SCOPE)
        with suppress(StoreError):
            list(store.rows())
        store.describe()
        store.put_newer({key("evil"): absent(), key("evil2"): absent()}, max_checked_at=LATEST)
        store.remove_if_not_newer({key("evil2"): LATEST})
        store.discard_unlisted(SCOPE, found | {"evil"}, until=LATEST)
        store.load_answers(SCOPE, "v1")
    return found


def works(directory: Path) -> None:
    """Check that a new store keeps what it is given."""
    with closing(disk_store(directory)) as store:
        store.put_newer({key("works"): absent()}, max_checked_at=LATEST)
        assert store.load_answers(SCOPE, "v1")["works"] == absent()
    with closing(disk_store(directory)) as store:
        assert store.load_answer(key("works")) == absent()


def quarantines(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.broken-*"))


def test_pickled_values_are_not_unpickled(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = tmp_path / "trace"
    (database(directory).parent / "planted.val").write_bytes(pickle.dumps(Bomb(trace)))
    bomb = pickle.dumps(Bomb(trace))
    evil = [encode_key(key(name)) for name in ("evil", "evil2", "evil3")]
    plant(directory, key=evil[0], raw=1, mode=4, value=bomb)
    plant(directory, key=evil[1], raw=1, mode=4, filename="planted.val")
    plant(directory, key=evil[2], raw=1, mode=3, filename="planted.val")
    plant(directory, key=bomb, raw=0, mode=1, value=b"")
    assert use(directory) == {"nova-api"}
    with closing(disk_store(directory)) as store:
        # evil2 and evil3 were removed; the row with the pickled key is dropped now.
        assert store.prune(lambda _: True, quarantined_before=0.0).rows == 1
    works(directory)
    assert not trace.exists()
    assert warnings(caplog) == []
    assert quarantines(directory) == []


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_files_outside_are_neither_read_nor_deleted(
    directory: Path, victim: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    for name in ("../../victim/file", str(victim)):
        for number in ("", "2", "3"):
            plant(
                directory,
                key=encode_key(key(f"evil{number}")),
                raw=1,
                mode=mode,
                filename=name,
                expire_time=1.0,
            )
        assert use(directory) == {"nova-api"}
        with closing(disk_store(directory)) as store:
            store.prune(lambda _: True, quarantined_before=0.0)
            assert set(store.load_answers(SCOPE, "v1")) == {"nova-api", "evil"}
            store.remove_if_not_newer({key("evil"): LATEST})
    works(directory)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"mode": 0},
        {"raw": 0},
        {"filename": ""},
        {"expire_time": 1.0},
        {"value": None},
        {"value": "text"},
        {"value": 5},
        {"value": b""},
        {"value": b"x" * 2000},
        {"key": b"blob"},
        {"key": encode_key(key("..")).replace("|..", "|a/../b")},
    ],
)
def test_rows_of_another_shape_are_ignored(
    directory: Path, caplog: pytest.LogCaptureFixture, columns: dict[str, object]
) -> None:
    text = columns.get("key", encode_key(key("evil")))
    name = text if isinstance(text, str) else "?"
    good: dict[str, object] = {
        "key": name,
        "raw": 1,
        "mode": 1,
        "value": encode_entry(name, absent()),
    }
    plant(directory, **(good | columns))
    with closing(disk_store(directory)) as store:
        assert set(store.load_answers(SCOPE, "v1")) == {"nova-api"}
        assert store.load_answer(key("evil")) is None
        store.put_newer({key("evil"): present()}, max_checked_at=LATEST)
        assert store.load_answer(key("evil")) == present()
    works(directory)
    assert warnings(caplog) == []


def test_a_key_that_is_not_utf8_is_ignored(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = encode_key(key(""))
    for end in ("ff", "00", "c3a9"):
        sql(
            directory,
            "INSERT INTO Cache (key, raw, mode, value)"  # noqa: S608 - of constants
            f" VALUES (CAST('{prefix}' || x'{end}' AS TEXT), 1, 1, x'00')",
        )
    assert use(directory) == {"nova-api"}
    works(directory)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    "planted", [encode_entry(encode_key(key("other")), absent()), b"\xff" * 99]
)
def test_an_invalid_entry_is_overwritten_or_removed(
    directory: Path, caplog: pytest.LogCaptureFixture, planted: bytes
) -> None:
    for name in ("evil", "evil2", "evil3"):
        plant(directory, key=encode_key(key(name)), raw=1, mode=1, value=planted)
    with closing(disk_store(directory)) as store:
        assert sum(row.entry is None for row in store.rows()) == 3
    assert use(directory) == {"nova-api"}
    with closing(disk_store(directory)) as store:
        assert {row.key for row in store.rows()} == {LISTING_KEY, key(), key("evil")}
    assert warnings(caplog) == []


FOREIGN: dict[str, list[str]] = {
    "a setting that is a method": ["INSERT INTO Settings VALUES ('get', 1)"],
    "a setting that is a path": ["INSERT INTO Settings VALUES ('_directory', '/')"],
    "a changed setting": ["UPDATE Settings SET value = 0 WHERE key = 'size_limit'"],
    "a setting of another type": ["UPDATE Settings SET value = '0' WHERE key = 'cull_limit'"],
    "a pragma": ["INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)"],
    "an option of the disk": ["INSERT INTO Settings VALUES ('disk_evil', 1)"],
    "a counter that is text": ["UPDATE Settings SET value = 'x' WHERE key = 'count'"],
    "a missing setting": ["DELETE FROM Settings WHERE key = 'cull_limit'"],
    "a setting instead of another": [
        "UPDATE Settings SET key = '_local' WHERE key = 'cull_limit'",
    ],
    "a view": [
        "ALTER TABLE Cache RENAME TO Old",
        "CREATE VIEW Cache AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
        " SELECT n AS rowid, '1|' AS key, 1 AS raw, 1 AS mode, NULL AS filename,"
        " NULL AS expire_time, x'00' AS value FROM r",
    ],
    "a view for the settings": [
        "ALTER TABLE Settings RENAME TO Old",
        "CREATE VIEW Settings AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
        " SELECT n AS key, n AS value FROM r",
    ],
    "a trigger": [
        "CREATE TRIGGER evil AFTER UPDATE ON Cache BEGIN DELETE FROM Cache; END",
    ],
    "a changed trigger": [
        "DROP TRIGGER Settings_count_insert",
        "CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN"
        " DELETE FROM Settings; END",
    ],
    "a missing trigger": ["DROP TRIGGER Settings_count_insert"],
    "a missing index": ["DROP INDEX Cache_key_raw"],
    "an index of an expression": ["CREATE INDEX evil ON Cache (abs(raw))"],
    "another table": ["CREATE TABLE evil (x)"],
    "a newer schema": ["ALTER TABLE Cache ADD COLUMN newer"],
    "a table with a generated column": [
        "ALTER TABLE Cache ADD COLUMN evil AS (zeroblob(1000000000))",
    ],
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_database_is_quarantined(
    directory: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    sql(directory, *FOREIGN[case])
    assert use(directory) == set()
    assert len(warnings(caplog)) == 1
    assert "put aside as quaycache-1.broken-" in warnings(caplog)[0]
    assert len(quarantines(directory)) == 1
    caplog.clear()
    works(directory)
    assert warnings(caplog) == []


def test_a_foreign_encoding_is_quarantined(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(database(directory))) as connection:
        script = list(connection.iterdump())
    database(directory).unlink()
    with closing(sqlite3.connect(database(directory))) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.executescript("\n".join(script))
    assert use(directory) == set()
    assert len(warnings(caplog)) == len(quarantines(directory)) == 1


def garbage(directory: Path) -> None:
    """Overwrite the pages of the table and of its index, but not those of schema and settings."""
    with closing(disk_store(directory)) as store:
        entries: dict[Key, Entry] = {key(f"r{number}"): absent() for number in range(3000)}
        store.put_newer(entries, max_checked_at=LATEST)
    content = bytearray(database(directory).read_bytes())
    content[4096 * 20 :] = b"\xa5" * (len(content) - 4096 * 20)
    database(directory).write_bytes(content)


def truncate(directory: Path) -> None:
    os.truncate(database(directory), 4096 * 2 + 100)


def empty(directory: Path) -> None:
    os.truncate(database(directory), 0)


def text(directory: Path) -> None:
    database(directory).write_text("no database " * 1000)


def without_database(directory: Path) -> None:
    database(directory).unlink()


def other_database(directory: Path) -> None:
    database(directory).unlink()
    sql(directory, "CREATE TABLE Settings (key, value)", "CREATE TABLE notes (text)")


def newer_format(directory: Path) -> None:
    content = bytearray(database(directory).read_bytes())
    content[44:48] = b"\0\0\0\x63"
    database(directory).write_bytes(content)


def database_is_a_directory(directory: Path) -> None:
    database(directory).unlink()
    database(directory).mkdir()
    (database(directory) / "notes").touch()


def journal(directory: Path) -> None:
    """A hot journal that names a file to be deleted."""
    name = str(directory.parent / "victim" / "file").encode()
    page = database(directory).read_bytes()[:4096]
    header = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0\0\0\0" + b"\0\0\0\0" + b"\0\0\0\1"
    header = (header + b"\0\0\x02\0" + b"\0\0\x10\0").ljust(512, b"\0")
    checksum = sum(name).to_bytes(4, "big")
    tail = (2**30 // 4096 + 1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") + checksum
    planted = database(directory).with_name("cache.db-journal")
    planted.write_bytes(header + page + tail + header[:8])


@pytest.mark.parametrize(
    "damage",
    [
        garbage,
        truncate,
        empty,
        text,
        without_database,
        other_database,
        newer_format,
        database_is_a_directory,
        journal,
    ],
)
def test_a_damaged_database_is_quarantined(
    directory: Path,
    victim: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    damage(directory)
    assert use(directory) == set()
    assert len(warnings(caplog)) == 1
    assert len(quarantines(directory)) == 1
    caplog.clear()
    works(directory)
    assert warnings(caplog) == []
    assert victim.exists()


@pytest.mark.parametrize("name", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("how", ["link", "dangling", "hard link"])
def test_a_link_to_a_file_outside_is_not_followed(
    directory: Path, victim: Path, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    path = database(directory).with_name(f"cache.db{name}")
    path.unlink(missing_ok=True)
    if how == "hard link":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim if how == "link" else victim.with_name("none"))
    assert use(directory) == set()
    assert len(warnings(caplog)) == len(quarantines(directory)) == 1
    works(directory)
    with closing(disk_store(directory)) as store:
        store.clean()
    assert not directory.joinpath(*quarantines(directory), "x").parent.name.startswith("quaycache")


def test_a_database_linked_from_elsewhere_is_not_used(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.move(database(directory), tmp_path / "elsewhere.db")
    database(directory).symlink_to(tmp_path / "elsewhere.db")
    before = (tmp_path / "elsewhere.db").read_bytes()
    assert use(directory) == set()
    assert (tmp_path / "elsewhere.db").read_bytes() == before
    assert len(warnings(caplog)) == 1
    works(directory)


@pytest.mark.parametrize("to", ["directory", "nowhere", "file"])
def test_a_link_in_place_of_the_directory_is_quarantined(
    directory: Path, victim: Path, caplog: pytest.LogCaptureFixture, to: str
) -> None:
    versioned = directory / "quaycache-1"
    shutil.rmtree(versioned)
    target = {"directory": victim.parent, "nowhere": victim / "none", "file": victim}[to]
    versioned.symlink_to(target)
    assert use(directory) == set()
    assert len(warnings(caplog)) == len(quarantines(directory)) == 1
    works(directory)
    with closing(disk_store(directory)) as store:
        store.clean()
    assert list(directory.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_quarantined(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(directory / "quaycache-1")
    (directory / "quaycache-1").write_text("notes")
    assert use(directory) == set()
    assert len(warnings(caplog)) == 1
    assert (directory / quarantines(directory)[0]).read_text() == "notes"
    works(directory)


def test_three_quarantines_are_kept(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        shutil.rmtree(directory / "quaycache-1")
        (directory / "quaycache-1").write_text(str(number))
        works(directory)
    kept = [(directory / name).read_text() for name in quarantines(directory)]
    assert kept == ["2", "3", "4"]
    assert len(warnings(caplog)) == 5


def test_damage_while_the_store_is_open_is_quarantined_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(disk_store(directory)) as store:
        for number in range(3):
            store.load_answers(SCOPE, "v1")
            sql(directory, "CREATE TABLE IF NOT EXISTS evil (x)")
            store.put_newer({key(f"r{number}"): absent()}, max_checked_at=LATEST)
            store.load_answers(SCOPE, "v1")
    assert len(warnings(caplog)) == len(quarantines(directory)) == 1


def test_a_flipped_byte_costs_one_entry(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(disk_store(directory)) as store:
        store.put_newer({key("glance"): absent()}, max_checked_at=LATEST)
    content = database(directory).read_bytes()
    digest = b"\xaa" * 32
    assert content.count(digest) == 1
    database(directory).write_bytes(content.replace(digest, digest[:-1] + b"\xab"))
    assert use(directory) == {"glance"}
    works(directory)
    assert warnings(caplog) == []


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("content", [b"", b"\0" * 32768, b"\xa5" * 50_000, b"7\x7f\x06\x82" * 9000])
def test_a_log_of_garbage_is_ignored(
    directory: Path, caplog: pytest.LogCaptureFixture, suffix: str, content: bytes
) -> None:
    database(directory).with_name(f"cache.db{suffix}").write_bytes(content)
    assert use(directory) == {"nova-api"}
    works(directory)
    assert warnings(caplog) == []


def test_a_lost_log_loses_only_its_own_entries(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(disk_store(directory)) as store:
        store.put_newer({key("glance"): absent()}, max_checked_at=LATEST)
        copy = tmp_path / "copy"
        (copy / "quaycache-1").mkdir(parents=True)
        shutil.copy(database(directory), database(copy))
    assert use(copy) == {"nova-api"}
    works(copy)
    assert warnings(caplog) == []


def test_an_alien_log_does_no_harm(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE evil (x)")
        connection.executemany("INSERT INTO evil VALUES (?)", [("x" * 3000,)] * 20)
        shutil.copy(f"{other}-wal", f"{database(directory)}-wal")
    assert use(directory) <= {"nova-api"}
    assert len(warnings(caplog)) <= 1
    caplog.clear()
    works(directory)
    assert warnings(caplog) == []


@pytest.mark.parametrize("how", ["file", "under a file", "dangling link"])
def test_a_path_that_cannot_be_a_directory_means_no_cache(
    tmp_path: Path, victim: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = {
        "file": victim,
        "under a file": victim / "cache",
        "dangling link": tmp_path / "link",
    }[how]
    if how == "dangling link":
        path.symlink_to(victim / "none")
    assert use(path) == set()
    assert len(warnings(caplog)) == 1
    assert "nothing will be stored" in caplog.text or "without the cache" in caplog.text
    with closing(disk_store(path)) as store:
        assert store.clean() == 0


@pytest.mark.parametrize("how", ["fifo", "link", "dangling", "directory"])
def test_an_invalid_lock_file_means_no_cache_until_clean_removes_it(
    directory: Path, victim: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    lock = directory / "quaycache-1.lock"
    lock.unlink()
    if how == "fifo":
        os.mkfifo(lock)
    elif how == "directory":
        lock.mkdir()
    else:
        lock.symlink_to(victim if how == "link" else victim.with_name("none"))
    assert use(directory) == set()
    assert len(warnings(caplog)) == 1
    with closing(disk_store(directory)) as store:
        with pytest.raises(StoreError):
            store.prune(lambda _: True, quarantined_before=0.0)
        store.clean()
    assert list(directory.iterdir()) == []
    caplog.clear()
    works(directory)
    assert warnings(caplog) == []


def test_an_exclusive_lock_means_no_cache(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with process(HOLD_FLOCK, directory / "quaycache-1.lock") as line:
        assert line == "locked"
        assert use(directory) == set()
        with closing(disk_store(directory)) as store, pytest.raises(StoreError, match="in use"):
            store.clean()
    assert len(warnings(caplog)) == 1
    works(directory)


def test_a_store_in_use_is_not_quarantined(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = os.open(directory / "quaycache-1.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    sql(directory, "CREATE TABLE evil (x)")
    assert use(directory) == set()
    os.close(descriptor)
    assert quarantines(directory) == []
    assert len(warnings(caplog)) == 1
    assert "in use" in caplog.text


def test_a_write_lock_held_for_long_means_nothing_is_stored(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with process(HOLD_WRITE_LOCK, database(directory)) as line:
        assert line == "locked"
        assert use(directory) == {"nova-api"}
        with closing(disk_store(directory)) as store:
            assert store.load_answer(key()) == present()
            with pytest.raises(StoreError):
                store.prune(lambda _: True, quarantined_before=0.0)
    assert len(warnings(caplog)) == 1
    assert "locked; nothing will be stored" in caplog.text
    works(directory)
    assert quarantines(directory) == []


def test_a_write_lock_held_between_two_batches(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(disk_store(directory)) as store:
        store.put_newer({key("a"): absent()}, max_checked_at=LATEST)
        with process(HOLD_WRITE_LOCK, database(directory)) as line:
            assert line == "locked"
            store.put_newer({key("b"): absent()}, max_checked_at=LATEST)
            store.put_newer({key("c"): absent()}, max_checked_at=LATEST)
            assert set(store.load_answers(SCOPE, "v1")) == {"nova-api", "a"}
    assert len(warnings(caplog)) == 1


@AS_ROOT
@pytest.mark.parametrize("what", ["quaycache-1", "quaycache-1/cache.db"])
def test_another_users_cache_is_read_and_not_written(
    directory: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    os.chown(directory / what, NOBODY, NOBODY)
    before = sorted(directory.rglob("*"))
    content = database(directory).read_bytes()
    with closing(disk_store(directory)) as store:
        assert store.load_answer(key()) == present()
        assert warnings(caplog) == []
    assert use(directory) == {"nova-api"}
    with closing(disk_store(directory)) as store, pytest.raises(StoreError, match="another user"):
        store.prune(lambda _: True, quarantined_before=0.0)
    assert sorted(directory.rglob("*")) == before
    assert database(directory).read_bytes() == content
    assert len(warnings(caplog)) == 1
    assert "another user; nothing will be stored" in caplog.text


@AS_ROOT
def test_another_users_damaged_cache_is_left_alone(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty(directory)
    os.chown(directory / "quaycache-1", NOBODY, NOBODY)
    assert use(directory) == set()
    assert quarantines(directory) == []
    assert len(warnings(caplog)) == 1


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)  # noqa: S103 - that is what it is for
        yield Path(path)


@AS_ROOT
@pytest.mark.parametrize(("mode", "readable"), [(0o700, False), (0o755, True)])
def test_a_user_without_rights(
    directory: Path,
    public: Path,
    caplog: pytest.LogCaptureFixture,
    mode: int,
    readable: bool,
) -> None:
    path = public / "cache"
    shutil.copytree(directory, path)
    for one in (path, *path.rglob("*")):
        one.chmod(mode)
    os.seteuid(NOBODY)
    try:
        assert use(path) == ({"nova-api"} if readable else set())
        with closing(disk_store(path)) as store:
            if readable:
                with pytest.raises(StoreError):
                    store.clean()
            assert store.load_answers(SCOPE, "v1") == ({"nova-api": present()} if readable else {})
    finally:
        os.seteuid(0)
    assert len(warnings(caplog)) == (1 if readable else 2)
    works(path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that mounts a file system with these options."""
    path = tmp_path / "mounted"
    path.mkdir()
    mounted = []

    def run(options: str) -> Path:
        command = [MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if not Path(MOUNT).exists() or subprocess.run(command, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        mounted.append(path)
        return path

    yield run
    for one in mounted[:1]:
        subprocess.run([UMOUNT, "-l", str(one)], check=True)


@pytest.mark.parametrize("log", ["none", "empty", "full", "full and index"])
def test_a_read_only_file_system_is_read(
    directory: Path,
    mount: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    log: str,
) -> None:
    path = mount("size=8m") / "cache"
    if log.startswith("full"):
        with closing(disk_store(directory)) as store:
            store.put_newer({key("glance"): absent()}, max_checked_at=LATEST)
            shutil.copytree(directory, path)
        if log == "full":
            database(path).with_name("cache.db-shm").unlink()
    else:
        shutil.copytree(directory, path)
        if log == "empty":
            database(path).with_name("cache.db-wal").touch()
    (path / "quaycache-1.lock").unlink()
    subprocess.run([MOUNT, "-o", "remount,ro", str(path.parent)], check=True)
    expected = {
        "none": {"nova-api"},
        "empty": {"nova-api"},
        "full": set(),
        "full and index": {"nova-api", "glance"},
    }[log]
    assert use(path) == expected
    assert len(warnings(caplog)) == 1
    with closing(disk_store(path)) as store, pytest.raises(StoreError):
        store.prune(lambda _: True, quarantined_before=0.0)
    with closing(disk_store(path)) as store, pytest.raises(StoreError):
        store.clean()
    nothing = path.parent / "none"
    caplog.clear()
    assert use(nothing) == set()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("kilobytes", [16, 64, 128, 256, 512, 1024])
def test_a_full_disk_ends_storing_but_not_the_run(
    mount: Callable[[str], Path], caplog: pytest.LogCaptureFixture, kilobytes: int
) -> None:
    path = mount(f"size={kilobytes}k") / "cache"
    with closing(disk_store(path)) as store:
        for batch in range(40):
            entries: dict[Key, Entry] = {
                key(f"r{batch}-{number}"): present() for number in range(100)
            }
            store.put_newer(entries, max_checked_at=LATEST)
            loaded = len(store.load_answers(SCOPE, "v1"))
            assert loaded % 100 == 0
    assert len(warnings(caplog)) == 1
    assert "nothing will be stored" in caplog.text
    assert quarantines(path) == []
    caplog.clear()
    with closing(disk_store(path)) as store:
        assert len(store.load_answers(SCOPE, "v1")) == loaded
        assert store.clean() >= 0
    assert warnings(caplog) == []


def test_a_prune_of_a_damaged_database_starts_empty(
    directory: Path, victim: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for damage in (garbage, empty, journal):
        damage(directory)
        with closing(disk_store(directory)) as store:
            assert store.prune(lambda _: True, quarantined_before=0.0).rows == 0
            assert store.describe().quarantines == 1
            pruned = store.prune(lambda _: True, quarantined_before=NOW * 2)
            assert (pruned.quarantines, store.describe().quarantines) == (1, 0)
        works(directory)
    assert warnings(caplog) == []
    assert victim.exists()


def test_a_clean_follows_no_link(directory: Path, victim: Path) -> None:
    (directory / "quaycache-1" / "evil").symlink_to(victim.parent)
    (directory / "quaycache-1.broken-20200101T000000Z-1").symlink_to(victim.parent)
    (directory / "quaycache-1.new-0123456789abcdef").symlink_to(victim)
    (directory / "CACHEDIR.TAG").unlink()
    (directory / "CACHEDIR.TAG").symlink_to(victim)
    with closing(disk_store(directory)) as store:
        store.prune(lambda _: True, quarantined_before=NOW)
        store.clean()
    assert [path.name for path in directory.iterdir()] == ["CACHEDIR.TAG"]
