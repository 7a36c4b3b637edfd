"""A client in a process that is forked: parent and child share no connection and no lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quaycache.testing import EmbeddedQuay
from tests.conftest import HANG_GUARD, command_environment

SCRIPT = """
import os, signal, sys
from quaycache import QuayClient
from quaycache.run import Run

def connections(client):
    run = Run()
    assert client.bound(run).tag_answer("kolla", "a", "latest").tag
    assert client.tag_answer("kolla", "a", "latest").tag
    return run.usage().connections

client = QuayClient(api_url=os.environ["QUAYCACHE_API_URL"], retries=0)
before = connections(client)
lock = eval(sys.argv[1])
with lock:
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # nobody else ends a child that waits for ever
        os._exit(connections(client))
_, status = os.waitpid(child, 0)
print(before, os.waitstatus_to_exitcode(status), connections(client))
"""


@pytest.mark.parametrize(
    "lock", ["client._transport._lock", "client._transport._pacer._lock", "client._run._lock"]
)
def test_the_child_opens_connections_of_its_own(
    embedded_quay: EmbeddedQuay, tmp_path: Path, lock: str
) -> None:
    """On a shared one, either process may read the answer to the other's question."""
    embedded_quay.registry.push("kolla", "a", "latest")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, lock],
        env=os.environ | command_environment(embedded_quay, tmp_path),
        capture_output=True,
        text=True,
        timeout=HANG_GUARD,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    # The parent goes on with the connection that it had.
    assert done.stdout.split() == ["1", "1", "0"], done.stderr
