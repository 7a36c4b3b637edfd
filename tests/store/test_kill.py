"""Killed writers lose nothing that they have acknowledged, and damage nothing."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from quaycache.store.disk.store import DiskStore
from tests.store.samples import SCOPE, warnings

KILLS = 100
WRITERS = 4
LINE_GUARD = 60.0

WRITE = textwrap.dedent("""
    import os, sys, time
    from quaycache.model import StoredAnswer
    from quaycache.store.disk.store import DiskStore
    from quaycache.store.keys import AnswerKey, Scope
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    name = sys.argv[2]
    store = DiskStore(sys.argv[1])
    for batch in range(1_000_000):
        entries = {
            AnswerKey(scope, "v1", f"{name}-{batch}-{number}"): StoredAnswer(None, 5.0, 4e9)
            for number in range(10)
        }
        store.put_newer(entries, max_checked_at=10.0)
        os.write(1, f"{batch}\\n".encode())
        # Without a pause the other writers may wait too long; a real one pauses for longer.
        time.sleep(0.005)
""")


class Writer:
    """A process that stores batch after batch, and prints the number of each stored one."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(directory), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def await_batch(self) -> None:
        """Wait until it has acknowledged something."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], LINE_GUARD)
        assert readable, "nothing was stored"

    def kill(self) -> set[str]:
        """Kill it; the repositories of the batches that it acknowledged."""
        self._process.send_signal(signal.SIGKILL)
        out, err = self._process.communicate(timeout=LINE_GUARD)
        assert err.decode() == ""
        lines = out.decode().splitlines()
        return {f"{self.name}-{line}-{number}" for line in lines for number in range(10)}


@pytest.mark.slow
def test_killed_writers_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "cache"
    chance = random.Random(20)  # noqa: S311 - it must be reproducible
    acknowledged: set[str] = set()
    writers = [Writer(directory, f"w{number}") for number in range(WRITERS)]
    for number in range(WRITERS, WRITERS + KILLS):
        victim = chance.randrange(len(writers))
        if chance.random() < 0.7:
            writers[victim].await_batch()
        # The kill comes at a random moment.
        time.sleep(chance.uniform(0.0, 0.05))
        acknowledged |= writers[victim].kill()
        writers[victim] = Writer(directory, f"w{number}")
        if number % 10 == 0:
            with closing(DiskStore(directory)) as store:
                assert acknowledged <= set(store.load_answers(SCOPE, "v1"))
    for writer in writers:
        acknowledged |= writer.kill()
    with closing(DiskStore(directory)) as store:
        loaded = set(store.load_answers(SCOPE, "v1"))
        assert acknowledged <= loaded
        assert store.describe().quarantines == 0
        pruned = store.prune(lambda _: True, quarantined_before=0.0)
        assert pruned.rows == 0
        assert set(store.load_answers(SCOPE, "v1")) == loaded
    assert len(acknowledged) > 10 * KILLS // 2
    assert warnings(caplog) == []
    assert sorted(os.listdir(directory)) == ["CACHEDIR.TAG", "quaycache-1", "quaycache-1.lock"]
