"""One large namespace: does the cost grow linearly?

    python -m benchmarks.scale [--quick]

The runs are cold, resumed after a kill half-way, stale but unchanged, and fresh. The slopes are
fitted over the sizes. The latency is 5 ms; there are 32 workers.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import (
    NAMESPACE,
    ROOT,
    TAG,
    Measurement,
    command,
    fill,
    machine,
    measure,
    versions,
)
from benchmarks.peers import Question
from benchmarks.report import Result, alone, heading, table
from quaycache.testing import EmbeddedQuay

_WORKERS = 32
_LATENCY = 0.005
_KINDS = ("cold", "resumed", "stale", "fresh")


def run(quick: bool) -> Result:
    """Measure and print the table and the slopes."""
    sizes = (200, 400) if quick else (1000, 5000, 20_000, 50_000)
    heading(
        f"one namespace, j = {_WORKERS}, latency {_LATENCY * 1000:.0f} ms; {machine()},"
        f" quaycache {versions(['quaycache'])['quaycache']}"
    )
    points, rows = [], []
    with EmbeddedQuay() as quay:
        for n in sizes:
            measured = _measured(quay, n)
            points.append({"n": n, **measured})
            for kind in _KINDS:
                taken = measured[kind]
                rows.append(
                    (
                        n,
                        kind,
                        taken.requests,
                        f"{taken.elapsed:.2f} s",
                        f"{taken.peak_kb / 1024:.0f} MB",
                        f"{measured['size'] / n:.0f} bytes",
                    )
                )
    columns = ("n", "run", "requests", "wall clock", "peak memory", "cache per repository")
    table(columns, rows)
    slopes = {kind: _slope(points, kind, "elapsed") for kind in _KINDS}
    slopes |= {f"{kind}, memory": _slope(points, kind, "peak_kb") for kind in _KINDS}
    table(
        ("slope over n", "per repository", "R^2"),
        [
            (
                name,
                f"{slope * 1024:.0f} bytes" if "memory" in name else f"{slope * 1e6:.1f} us",
                f"{r_squared:.4f}",
            )
            for name, (slope, r_squared) in slopes.items()
        ],
    )
    return {"j": _WORKERS, "latency": _LATENCY, "points": points, "slopes": slopes}


def _measured(quay: EmbeddedQuay, n: int) -> Result:
    fill(quay, n, _LATENCY)
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as broken:
        cold = measure("quaycache", quay, _WORKERS, cache_dir=whole)
        _kill_half_way(quay, n, broken)
        resumed = measure("quaycache", quay, _WORKERS, cache_dir=broken)
        stale = measure("quaycache", quay, _WORKERS, cache_dir=whole, ttl=0.0)
        fresh = measure("quaycache", quay, _WORKERS, cache_dir=whole, ttl=86_400.0, warm_up=True)
        size = sum(path.stat().st_size for path in Path(whole).rglob("*") if path.is_file())
    runs: dict[str, Measurement] = dict(zip(_KINDS, (cold, resumed, stale, fresh), strict=True))
    assert all(taken.found == n for taken in runs.values()), runs
    return {**runs, "size": size}


def _kill_half_way(quay: EmbeddedQuay, n: int, cache_dir: str) -> None:
    quay.reset_counters()
    question = Question(f"{quay.url}/api/v1", NAMESPACE, TAG, _WORKERS, cache_dir)
    with subprocess.Popen(
        command("quaycache", question),
        cwd=ROOT,
        env=os.environ | {"SSL_CERT_FILE": quay.ca_file},
        stdout=subprocess.DEVNULL,
    ) as process:
        while quay.counters().tag < n / 2:
            time.sleep(0.01)
        process.kill()


def _slope(points: list[Result], kind: str, figure: str) -> tuple[float, float]:
    sizes = [point["n"] for point in points]
    figures = [getattr(point[kind], figure) for point in points]
    slope, _ = statistics.linear_regression(sizes, figures)
    if len(set(figures)) == 1:
        return slope, 1.0
    return slope, statistics.correlation(sizes, figures) ** 2


if __name__ == "__main__":
    alone(run)
