"""A process that is forked while a run is in progress."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import HANG_GUARD

SCRIPT = """
import os, sys, threading
from quaycache import CachedQuayClient, DiskStore, resolve
from quaycache.testing.registry import Registry
from tests.cached.gated_client import GatedClient

registry = Registry()
registry.push("kolla", "a", "latest")
client = GatedClient(registry)
cached = CachedQuayClient(client, DiskStore(sys.argv[1]))
uri = sys.argv[2]
with client.hold():
    thread = threading.Thread(target=resolve, args=([uri],), kwargs={"client": cached})
    thread.start()
    assert client.reached.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(len(resolve([uri], client=cached).images))
    _, status = os.waitpid(child, 0)
thread.join()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_child_does_not_wait_for_a_thread_of_its_parent(tmp_path: Path) -> None:
    for uri in ("quay://kolla/a:latest", "quay://kolla/*:latest"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "cache"), uri],
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert done.stdout.split() == ["1"], done.stderr
