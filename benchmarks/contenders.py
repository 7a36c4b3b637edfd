"""Who is measured, and how: each measurement in a fresh process, after its imports."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

NAMESPACE = "bench"
TAG = "latest"


class Measurement(NamedTuple):
    """What one run took: seconds, kilobytes, and how it ended."""

    found: int
    elapsed: float
    cpu: float
    peak_kb: int
    failure: str | None


def _quaycache(url: str, workers: int) -> int:
    from quaycache import QuayClient, resolve

    with QuayClient(api_url=url) as client:
        uri = f"quay://{NAMESPACE}/*:{TAG}"
        return len(resolve([uri], client=client, max_workers=workers).images)


def _occystrap(url: str, workers: int) -> int:
    from occystrap import quay

    quay.QUAY_API_BASE = f"{url}/api/v1"
    return len(quay.resolve_quay_uri(NAMESPACE, "*", TAG, max_workers=workers))


_RUN: dict[str, Callable[[str, int], int]] = {"quaycache": _quaycache, "occystrap": _occystrap}
_IMPORTS = {
    "quaycache": ("quaycache.resolver", "quaycache.transport", "tenacity"),
    "occystrap": ("occystrap.quay",),
}


def installed() -> dict[str, str]:
    """The contenders that are installed, and their versions."""
    found = {
        distribution.metadata["Name"]: distribution.version for distribution in distributions()
    }
    for name in _RUN.keys() - found.keys():
        print(f"{name} is not installed: left out", file=sys.stderr)
    return {name: found[name] for name in _RUN if name in found}


def machine() -> str:
    """What the figures were measured on, in a few words."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


def measure(contender: str, url: str, ca_file: str, workers: int) -> Measurement:
    """Let a contender resolve the benchmark's namespace in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", contender, url, str(workers)],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"SSL_CERT_FILE": ca_file},
        capture_output=True,
        text=True,
        check=True,
    )
    return Measurement(*json.loads(done.stdout.splitlines()[-1]))


def _measure_here(contender: str, url: str, workers: int) -> Measurement:
    for module in _IMPORTS[contender]:
        import_module(module)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    found, failure = 0, None
    try:
        found = _RUN[contender](url, workers)
    except Exception as error:  # noqa: BLE001 - a contender's failure is a result
        failure = f"{type(error).__name__}: {error}"
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(found, elapsed, cpu, after.ru_maxrss, failure)


if __name__ == "__main__":
    print(json.dumps(_measure_here(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
