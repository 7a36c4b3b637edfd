"""The time of whole processes, from start to end, compared with an empty Python.

    python -m benchmarks.startup [--quick]

The processes alternate. The fresh resolve reads a cache that a cold run against the embedded Quay
has filled, and sends no requests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import NAMESPACE, TAG, Summary, fill, machine, versions
from benchmarks.report import Result, alone, heading, table
from quaycache import QuayClient, resolve
from quaycache.testing import EmbeddedQuay

_URI = f"quay://{NAMESPACE}/*:{TAG}"
_SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(quick: bool) -> Result:
    """Measure and print the table."""
    rounds, sizes = (3, (100,)) if quick else (21, (1000, 5000))
    found = versions(("quaycache", "occystrap"))
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "QUAYCACHE_API_URL": "https://127.0.0.1",
            "QUAYCACHE_TTL": "1h",
        }
        # With this variable, a source tree has no byte code, unlike an installed package.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import quaycache": [sys.executable, "-c", "import quaycache"],
        }
        for n in sizes:
            cache_dir = f"{directory}/{n}"
            url = _filled(n, cache_dir)
            commands[f"quaycache resolve, fresh, n = {n}"] = [
                str(_SCRIPTS / "quaycache"),
                *("resolve", "--api-url", url, "--cache-dir", cache_dir, _URI),
            ]
        if "occystrap" in found:
            commands["occystrap --help"] = [str(_SCRIPTS / "occystrap"), "--help"]
        walls: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in commands.items():
                elapsed = _timed(command, environment)
                if number:  # round 0 compiles the byte code
                    walls[name].append(elapsed)
    summaries = {name: Summary.of(times) for name, times in walls.items()}
    empty = summaries["python -c pass"].median
    heading(
        f"whole processes, medians of {rounds} (range), alternating; {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in found.items())
    )
    table(
        ("process", "wall clock", "ratio to python -c pass"),
        [
            (name, wall.milliseconds(), f"{wall.median / empty:.1f}")
            for name, wall in summaries.items()
        ],
    )
    return {"versions": found, "processes": summaries}


def _filled(n: int, cache_dir: str) -> str:
    """Fill a cache from a server and return the URL of the server, which has ended."""
    with EmbeddedQuay() as quay:
        fill(quay, n, 0.0)
        with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
            resolve([_URI], client=client, max_workers=16, cache_dir=cache_dir)
        return quay.url


def _timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    alone(run)
