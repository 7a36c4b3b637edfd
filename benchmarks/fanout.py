"""The cold fan-out beside occystrap: the same question, the same server, one run.

    python -m benchmarks.fanout [--repositories N] [--workers J,J] [--latency SECONDS] [--rounds R]

The server is the embedded Quay in a process of its own, over HTTP/2 and TLS on loopback; the
contenders take turns. The best possible time is the listing, then ceil(n/j) rounds of checks.
"""

from __future__ import annotations

import argparse
import math
import statistics

from benchmarks.contenders import NAMESPACE, TAG, Measurement, installed, machine, measure
from quaycache.testing import Counters, EmbeddedQuay


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout")
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--workers", default="4,16,64", help="comma-separated")
    parser.add_argument("--latency", type=float, default=0.1, help="seconds")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    n, latency, rounds = options.repositories, options.latency, options.rounds
    versions = installed()
    print(
        f"cold resolve, n = {n}, latency {latency * 1000:.0f} ms, medians of {rounds} (range);",
        f"{machine()},",
        ", ".join(f"{name} {number}" for name, number in versions.items()),
    )
    print(
        "  j  contender   best possible        wall clock (range)  efficiency"
        "  requests  connections  CPU/request   peak"
    )
    with EmbeddedQuay() as quay:
        quay.registry.populate(NAMESPACE, n, tag=TAG)
        quay.configure(latency=latency)
        for workers in map(int, options.workers.split(",")):
            pages = math.ceil(n / 100)
            best = latency * max(pages + 1, 1 + math.ceil(n / workers))
            runs: dict[str, list[tuple[Measurement, Counters]]] = {name: [] for name in versions}
            for _ in range(rounds):
                for name in versions:
                    quay.reset_counters()
                    taken = measure(name, quay.url, quay.ca_file, workers)
                    runs[name].append((taken, quay.counters()))
            for name in versions:
                print(_row(workers, name, best, runs[name], n))


def _row(
    workers: int, name: str, best: float, runs: list[tuple[Measurement, Counters]], n: int
) -> str:
    walls = [taken.elapsed for taken, _ in runs]
    wall = statistics.median(walls)
    cpu = statistics.median(taken.cpu / counters.requests for taken, counters in runs)
    wrong = sum(taken.found != n for taken, _ in runs)
    taken, counters = runs[-1]
    return (
        f"{workers:>3}  {name:<10}  {best:>11.2f} s  {wall:>8.2f} s ({min(walls):.2f}-"
        f"{max(walls):.2f})  {best / wall:>10.2f}  {counters.requests:>8}"
        f"  {counters.connections:>11}  {cpu * 1000:>8.2f} ms  {taken.peak_kb / 1024:>3.0f} MB"
        + (f"  {wrong} FAILED" if wrong else "")
    )


if __name__ == "__main__":
    main()
