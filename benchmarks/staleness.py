"""The cost of a second run: k of n repositories have changed, or the answers are still fresh.

    python -m benchmarks.staleness [--quick]

The peers are occystrap, which has no cache, and the SQLite caches of hishel and requests-cache in
front of the same requests. Those two have only a time to live: after it, they repeat all requests,
for every k. With more than a hundred repositories, they are therefore measured only for k = 0.
`fresh` is measured after one run in the same process, so that the measured run imports nothing.
"""

from __future__ import annotations

import math
import tempfile

from benchmarks.measuring import (
    NAMESPACE,
    TAG,
    Measurement,
    Summary,
    fill,
    machine,
    measure,
    versions,
)
from benchmarks.report import Result, alone, heading, table
from quaycache.testing import EmbeddedQuay

_CACHING = ("quaycache", "hishel", "requests-cache")
_PEERS = ("quaycache", "occystrap", "hishel", "requests-cache")
_WORKERS = 16

# Up to this many repositories, the peers are measured for every k.
_EVERY_K_UP_TO = 100

# Seconds between two runs: more than the safety margin after a push.
_BETWEEN_RUNS = 1000.0


def run(quick: bool) -> Result:
    """Measure and print the tables."""
    sizes = ((60, 0.02, 1),) if quick else ((100, 0.15, 3), (1000, 0.15, 3), (5000, 0.03, 1))
    found = versions(_PEERS)
    results = []
    with EmbeddedQuay() as quay:
        for n, latency, rounds in sizes:
            heading(
                f"n = {n}, j = {_WORKERS}, latency {latency * 1000:.0f} ms, medians of {rounds}"
                f" (range); {machine()}; "
                + ", ".join(f"{name} {number}" for name, number in found.items())
            )
            runs: dict[tuple[str, str], list[Measurement]] = {}
            for _ in range(rounds):
                for name in found:
                    fill(quay, n, latency)
                    for kind, taken in _history(quay, name, n):
                        assert taken.found == n, taken
                        runs.setdefault((kind, name), []).append(taken)
            size_runs = [_result(kind, name, taken) for (kind, name), taken in runs.items()]
            size_runs.sort(key=lambda result: _KINDS.index(result["kind"]))
            columns = ("run", "contender", "requests", "wall clock", "CPU")
            table(columns, [_row(result) for result in size_runs])
            results.append({"n": n, "j": _WORKERS, "latency": latency, "runs": size_runs})
    return {"versions": found, "sizes": results}


_KINDS = ("cold", "k = 0", "k = 1", "k = 10 %", "k = 100 %", "fresh")


def _history(quay: EmbeddedQuay, name: str, n: int) -> list[tuple[str, Measurement]]:
    """Return the runs of one contender, in order."""
    taken = []
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as expired:
        taken.append(("cold", measure(name, quay, _WORKERS, cache_dir=kept)))
        if name in _CACHING:
            fresh = measure(name, quay, _WORKERS, cache_dir=kept, ttl=86_400.0, warm_up=True)
            taken.append(("fresh", fresh))
        # The peers store the time to live with an answer, so they need a cache of expired answers.
        cache_dir, ttl = (kept, 0.0) if name == "quaycache" else (expired, 0.001)
        changes = {"k = 0": 0, "k = 1": 1, "k = 10 %": n // 10, "k = 100 %": n}
        if name != "quaycache" and n > _EVERY_K_UP_TO:
            changes = {"k = 0": 0}
        for kind, changed in changes.items():
            quay.registry.advance(_BETWEEN_RUNS)
            for number in range(changed):
                quay.registry.push(NAMESPACE, f"repository-{number:05}", TAG)
            quay.registry.advance(_BETWEEN_RUNS)
            stale = measure(name, quay, _WORKERS, cache_dir=cache_dir, ttl=ttl)
            if name == "quaycache":
                assert stale.requests == math.ceil(n / 100) + changed, stale
            taken.append((kind, stale))
    return taken


def _result(kind: str, name: str, runs: list[Measurement]) -> Result:
    return {
        "kind": kind,
        "contender": name,
        "requests": runs[-1].requests,
        "wall": Summary.of([taken.elapsed for taken in runs]),
        "cpu": Summary.of([taken.cpu for taken in runs]),
    }


def _row(result: Result) -> tuple[object, ...]:
    wall = result["wall"].milliseconds() if result["kind"] == "fresh" else result["wall"].seconds()
    return (
        result["kind"],
        result["contender"],
        result["requests"],
        wall,
        result["cpu"].milliseconds(),
    )


if __name__ == "__main__":
    alone(run)
