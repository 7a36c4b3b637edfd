"""The command is right whatever the directory contains, and prints at most one line."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from quaycache import DiskStore
from quaycache.names import ANONYMOUS
from quaycache.store.disk.removal import remove
from quaycache.store.keys import Scope
from quaycache.testing import EmbeddedQuay
from tests.conftest import Finished
from tests.store.forgery import Index
from tests.store.samples import database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Command = Callable[..., Finished]
URI = "quay://kolla/*:v1"


@pytest.fixture
def directory(embedded_quay: EmbeddedQuay, command: Command, tmp_path: Path) -> Iterator[Path]:
    """The closed, warm cache of the `command` fixture."""
    for number in range(12):
        embedded_quay.registry.push("kolla", f"r{number:02}", "v1" if number % 2 else "v2")
    embedded_quay.registry.advance(1000)
    assert command("resolve", URI).code == 0
    yield tmp_path / "quaycache"
    # pytest cannot remove deep directories.
    remove(str(tmp_path / "quaycache"))


def flip(directory: Path, position: int, bit: int) -> None:
    content = bytearray(database(directory).read_bytes())
    content[position] ^= 1 << bit
    database(directory).write_bytes(content)


def schema_that_is_not_text(directory: Path) -> None:
    text = b"CREATE TRIGGER Settings_count_delete"
    flip(directory, database(directory).read_bytes().index(text) + 2, 7)


def writers_of_another_version(directory: Path) -> None:
    content = bytearray(database(directory).read_bytes())
    content[18] = 3
    database(directory).write_bytes(content)


def deep_quarantine(directory: Path) -> None:
    here = os.open(directory, os.O_DIRECTORY)
    oldest = "quaycache-1.broken-20200101T000000Z-1"
    for name in (oldest, *(["a"] * 1500)):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    for number in (2, 3):
        (directory / f"quaycache-1.broken-20200101T000000Z-{number}").mkdir()
    database(directory).write_bytes(b"garbage" * 1000)


def quarantines_of_the_future(directory: Path) -> None:
    for number in (1, 2, 3):
        (directory / f"quaycache-1.broken-99991231T235959Z-{number}").mkdir()
    database(directory).write_bytes(b"garbage" * 1000)


def rows_of_no_api(directory: Path) -> None:
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        for base in ("http://quay.io", "https://[", "https://a:99999", "https://a:b", "https://-"):
            connection.execute(
                "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 1, ?)",
                (f"1|{base}/api/v1|anon|kolla||", b"{}"),
            )


def tag_that_is_a_directory(directory: Path) -> None:
    (directory / "CACHEDIR.TAG").unlink()
    (directory / "CACHEDIR.TAG").mkdir()


def millions_of_names(directory: Path) -> None:
    """Store an invalid listing of almost the largest size."""
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        connection.execute(
            "UPDATE Cache SET value = ? WHERE key LIKE '%|kolla||'", (b"[]," * 2_700_000,)
        )


def foreign_files(directory: Path) -> None:
    (directory / "quaycache-1" / "x").write_bytes(b"x" * 1000)
    (directory / "quaycache-1" / "deep").mkdir()


def file_in_its_place(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


STATES: dict[str, Callable[[Path], None]] = {
    "a schema that is not text": schema_that_is_not_text,
    "an unknown version": writers_of_another_version,
    "a quarantine deeper than a path": deep_quarantine,
    "quarantines of the future": quarantines_of_the_future,
    "rows of APIs that cannot be": rows_of_no_api,
    "a tag that is a directory": tag_that_is_a_directory,
    "a huge listing": millions_of_names,
    "foreign files": foreign_files,
    "an index without an end": lambda directory: Index(database(directory)).endless(),
    "an index without an order": lambda directory: Index(database(directory)).unsorted(),
    "a key of 400 MB": lambda directory: Index(database(directory)).huge_key(),
    "nothing at all": lambda directory: shutil.rmtree(directory),
    "a file": file_in_its_place,
}


@pytest.mark.parametrize("state", STATES)
def test_the_run_is_right_and_the_next_one_silent(
    directory: Path, command: Command, state: str
) -> None:
    truth = command("resolve", "--no-cache", "-o", "digest", URI).out
    STATES[state](directory)
    for allowed in (1, 1 if state == "a file" else 0):
        done = command("resolve", "-o", "digest", URI)
        assert (done.code, done.out) == (0, truth)
        assert len(done.err.splitlines()) <= allowed, done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "arguments",
    [["info"], ["list"], ["remove", "none*"], ["prune", "--dry-run"], ["prune", "--ci"], ["clean"]],
    ids=" ".join,
)
def test_a_command_works_on_it(
    directory: Path, command: Command, state: str, arguments: list[str]
) -> None:
    STATES[state](directory)
    done = command("cache", *arguments, "-o", "json")
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 1, done.err
    assert done.code == (1 if state == "a file" and arguments[0] != "clean" else 0), done.err
    if done.code == 0:
        json.loads(done.out)
    if arguments == ["prune", "--ci"] and (directory / "quaycache-1").exists():
        assert [path.name for path in (directory / "quaycache-1").iterdir()] == ["cache.db"]
    if arguments == ["clean"]:
        assert not directory.is_dir() or {path.name for path in directory.iterdir()} <= {
            "CACHEDIR.TAG"
        }


def test_a_flipped_bit_anywhere_tells_no_lie(
    embedded_quay: EmbeddedQuay, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scope = Scope(f"{embedded_quay.url}/api/v1", ANONYMOUS, "kolla")
    with closing(DiskStore(directory)) as store:
        truth, listing = store.load_answers(scope, "v1"), store.load_listing(scope)
    assert len(truth) == 12
    chance = random.Random(5)  # noqa: S311 - no secret
    size = database(directory).stat().st_size
    before = database(directory).read_bytes()
    for _ in range(400):
        shutil.rmtree(directory)
        database(directory).parent.mkdir(parents=True)
        database(directory).write_bytes(before)
        flip(directory, chance.randrange(size), chance.randrange(8))
        caplog.clear()
        with closing(DiskStore(directory)) as store:
            assert store.load_answers(scope, "v1").items() <= truth.items()
            assert store.load_listing(scope) in (None, listing)
        assert len(caplog.records) <= 1
