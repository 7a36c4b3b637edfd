"""A shared cache: the requests of runners that start together, and the time of a warm run.

    python -m benchmarks.fleet [--quick]

Each runner is a process of `quaycache resolve`. All use one cache: a local Redis or a directory.
This benchmark requires redis-server. The server is the embedded Quay over HTTP/2 and TLS on
loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import NAMESPACE, TAG, Summary, fill, machine
from benchmarks.report import Result, alone, heading, table
from quaycache import QuayClient, resolve
from quaycache.testing import EmbeddedQuay
from tests import programs
from tests.redis_server import running_redis

_URI = f"quay://{NAMESPACE}/*:{TAG}"
_LATENCY = 0.1
_COLUMNS = ("runners", "tag requests", "requests / n", "last runner ends after")


def run(quick: bool) -> Result:
    """Measure and print the tables."""
    if programs.find("redis-server") is None:
        print("\nfleet: redis-server is not installed")
        return {"skipped": "redis-server is not installed"}
    n, herds, workers = (60, (1, 3), (4,)) if quick else (500, (1, 5, 20), (4, 16))
    rounds = 3 if quick else 11
    with EmbeddedQuay() as quay:
        totals = {
            f"{place}, j = {j}": _herds(quay, place, n, herds, j)
            for j in workers
            for place in ("Redis", "directory")
        }
        warm = _warm(quay, 100 if quick else 1000, rounds)
    return {"n": n, "latency": _LATENCY, "herds": totals, "warm": warm}


def _herds(
    quay: EmbeddedQuay, place: str, n: int, sizes: tuple[int, ...], workers: int
) -> list[dict[str, float]]:
    heading(
        f"runners that start together on an empty cache, {place}: n = {n}, j = {workers} each,"
        f" latency {_LATENCY * 1000:.0f} ms; {machine()}"
    )
    results = []
    for runners in sizes:
        with _place(place) as options:
            fill(quay, n, _LATENCY)
            began = time.perf_counter()
            herd = [_runner(quay, workers, options) for _ in range(runners)]
            for process in herd:
                out, _ = process.communicate()
                assert len(out.splitlines()) == n
            elapsed = time.perf_counter() - began
            requests = quay.counters().tag
        results.append({"runners": runners, "tag_requests": requests, "elapsed": elapsed})
    table(
        _COLUMNS,
        [
            (runners, requests, f"{requests / n:.2f}", f"{elapsed:.2f} s")
            for runners, requests, elapsed in (result.values() for result in results)
        ],
    )
    return results


@contextmanager
def _place(kind: str) -> Iterator[list[str]]:
    """Yield the command-line options for a new cache."""
    if kind == "Redis":
        with running_redis() as server:
            yield ["--cache-url", server.url]
    else:
        with tempfile.TemporaryDirectory() as directory:
            yield ["--cache-dir", directory]


def _runner(quay: EmbeddedQuay, workers: int, options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "quaycache", "resolve", "--api-url", quay.url]
    return subprocess.Popen(
        [*command, "-j", str(workers), *options, _URI],
        env=os.environ | {"SSL_CERT_FILE": quay.ca_file},
        stdout=subprocess.PIPE,
        text=True,
    )


def _warm(quay: EmbeddedQuay, n: int, rounds: int) -> dict[str, Summary]:
    walls: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, running_redis() as server:
        fill(quay, n, 0.0)
        places = {"directory": (directory, None), "Redis": (None, server.url)}
        for number in range(rounds + 1):
            for name, (cache_dir, cache_url) in places.items():
                began = time.perf_counter()
                with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
                    resolution = resolve(
                        [_URI], client=client, cache_dir=cache_dir, cache_url=cache_url
                    )
                elapsed = time.perf_counter() - began
                assert len(resolution.images) == n
                if number:  # round 0 fills the cache
                    walls.setdefault(name, []).append(elapsed)
    assert quay.counters().tag == 2 * n
    summaries = {name: Summary.of(times) for name, times in walls.items()}
    heading(
        f"a warm run of n = {n}, in the library, open to close, medians of {rounds} (range),"
        f" alternating; {machine()}"
    )
    least = summaries["directory"].median
    table(
        ("cache", "wall clock", "ratio to directory"),
        [
            (name, wall.milliseconds(), f"{wall.median / least:.1f}")
            for name, wall in summaries.items()
        ],
    )
    return summaries


if __name__ == "__main__":
    alone(run)
