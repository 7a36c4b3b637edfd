"""Keys and entries for the tests of stores, and the process that some of them need."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from quaycache.model import LastModified, StoredAnswer, StoredListing, Tag
from quaycache.store.disk.store import DiskStore
from quaycache.store.entry import Entry
from quaycache.store.keys import AnswerKey, Key, ListingKey, Scope
from quaycache.store.protocol import Store

SCOPE = Scope("https://quay.io/api/v1", "anon", "kolla")
NOW = 1_795_000_000.0
LATEST = NOW + 1_000_000.0
# The times of the samples are fixed, so they must never be too old.
FOR_EVER = 1e9
DIGEST = "sha256:" + "a" * 64
LISTING_KEY = ListingKey(SCOPE)

HOLD_WRITE_LOCK = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.read()
"""

HOLD_FLOCK = """
    import fcntl, os, sys
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def key(repository: str = "nova-api", tag: str = "v1", scope: Scope = SCOPE) -> AnswerKey:
    return AnswerKey(scope, tag, repository)


def absent(checked_at: float = NOW) -> StoredAnswer:
    return StoredAnswer(None, checked_at, checked_at + 0.5)


def present(checked_at: float = NOW, tag: str = "v1", digest: str = DIGEST) -> StoredAnswer:
    return StoredAnswer(Tag(tag, digest, int(NOW) - 5000, None), checked_at, checked_at + 0.5)


def listing(checked_at: float = NOW, **rows: LastModified) -> StoredListing:
    return StoredListing(rows or {"nova-api": int(NOW) - 5000}, checked_at, checked_at)


def merge(store: Store, entries: Mapping[Key, Entry], latest: float = LATEST) -> None:
    store.put_newer(entries, max_checked_at=latest)


def disk_store(directory: str | Path) -> DiskStore:
    """Return a store for which the samples are never too old."""
    return DiskStore(directory, retention=FOR_EVER)


def database(directory: Path) -> Path:
    return directory / "quaycache-1" / "cache.db"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("quaycache") and record.levelno >= logging.WARNING
    ]


@contextmanager
def process(script: str, *arguments: object) -> Iterator[str]:
    """Run a Python script while the body runs; yield the first line that it prints."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    with child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.send_signal(signal.SIGKILL)


def finished(script: str, *arguments: object) -> str:
    """Return what a Python script prints."""
    return output(script, *arguments)[0]


def output(script: str, *arguments: object) -> tuple[str, str]:
    """Return what a Python script writes to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, done.stderr


class Clock:
    """The clock of all back-offs, which the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    @classmethod
    def installed(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock = cls()
        for module in ("fail_open", "disk.store"):
            monkeypatch.setattr(f"quaycache.store.{module}.monotonic", clock)
        return clock
