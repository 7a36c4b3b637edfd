"""Rate limits: the contenders behind nginx with Quay's limits, and with a limit per address.

    python -m benchmarks.limits [--quick]

This benchmark requires nginx. The ideal time is the shortest that the limit allows: the burst
immediately, then the rate; or the time without a limit, if that is longer. A contender reacts to a
429 as its documentation shows; its failed runs are counted.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from pathlib import Path

from benchmarks.fanout import best
from benchmarks.measuring import Measurement, fill, machine, measure, versions
from benchmarks.report import Result, alone, heading, table
from quaycache.testing import EmbeddedQuay
from tests import programs
from tests.quay.nginx import QUAYS_LIMITS, nginx_before

_PEERS = ("quaycache", "occystrap", "httpx, threads", "requests", "aiohttp", "pycurl multi")
_LATENCY = 0.1
_ADDRESS_RATE, _ADDRESS_BURST = 10, 25
_BY_ADDRESS = f"limit_req zone=address burst={_ADDRESS_BURST} nodelay;"


def run(quick: bool) -> Result:
    """Measure and print the table."""
    if programs.find("nginx") is None:
        print("\nlimits: nginx is not installed")
        return {"skipped": "nginx is not installed"}
    rounds = 1 if quick else 3
    found = versions(_PEERS[:2] if quick else _PEERS)
    cases: list[tuple[str, str, int, tuple[int, ...]]] = [
        ("Quay's, by connection", QUAYS_LIMITS, 500, (16, 64)),
        ("10/s by address", _BY_ADDRESS, 150, (4, 64)),
    ]
    if quick:
        cases = [("Quay's, by connection", QUAYS_LIMITS, 150, (16,))]
    heading(
        f"cold behind nginx, latency {_LATENCY * 1000:.0f} ms, medians of {rounds}; {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in found.items())
    )
    rows, results = [], []
    for name, limits, n, jobs in cases:
        for workers in jobs:
            ideal = _ideal(n, workers, by_address=limits is _BY_ADDRESS)
            for contender in found:
                runs = [_run(contender, n, limits, workers) for _ in range(rounds)]
                walls = [taken.elapsed for taken in runs if taken.found == n]
                wall = statistics.median(walls) if walls else None
                failed = len(runs) - len(walls)
                results.append(
                    {
                        "limit": name,
                        "n": n,
                        "j": workers,
                        "contender": contender,
                        "ideal": ideal,
                        "wall": wall,
                        "failed": failed,
                        "failure": next((r.failure for r in runs if r.failure), None),
                    }
                )
                taken = "-" if wall is None else f"{wall:.2f} s"
                ratio = "-" if wall is None else f"{wall / ideal:.2f}"
                rows.append((name, n, workers, contender, f"{ideal:.2f} s", taken, ratio, failed))
    columns = ("limit", "n", "j", "contender", "ideal", "wall clock", "ratio", "failed runs")
    table(columns, rows)
    return {"latency": _LATENCY, "rounds": rounds, "versions": found, "runs": results}


def _run(contender: str, n: int, limits: str, workers: int) -> Measurement:
    # Each run needs a new server and a new nginx, because a limit keeps its state.
    with EmbeddedQuay() as quay, tempfile.TemporaryDirectory() as directory:
        fill(quay, n, _LATENCY)
        with nginx_before(
            quay, Path(directory), limits=limits, address_rate=_ADDRESS_RATE
        ) as nginx:
            return measure(contender, quay, workers, url=nginx.url, ca_file=nginx.ca_file)


def _ideal(n: int, workers: int, *, by_address: bool) -> float:
    unlimited = best(n, workers, _LATENCY)
    if not by_address:
        return unlimited
    requests = n + math.ceil(n / 100)
    return max(unlimited, (requests - _ADDRESS_BURST - 1) / _ADDRESS_RATE)


if __name__ == "__main__":
    alone(run)
