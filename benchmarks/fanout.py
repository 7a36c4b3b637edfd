"""Cold resolves: the fit T = a + b n / j, and the peers in comparison.

    python -m benchmarks.fanout [--quick]

n is the number of repositories, j the number of workers. The server is the embedded Quay in a
separate process, over HTTP/2 and TLS on loopback, with a fixed latency for every answer. The best
possible time is the time of the listing, one page after the other, while ceil(n / j) rounds of
checks run in parallel.
"""

from __future__ import annotations

import math
import statistics

from benchmarks.measuring import Measurement, Summary, fill, machine, measure, versions
from benchmarks.report import Result, alone, heading, table
from quaycache.testing import EmbeddedQuay

_PEERS = ("quaycache", "occystrap", "httpx, threads", "requests", "aiohttp", "pycurl multi")
_ONE_BY_ONE = "one by one"


def best(n: int, workers: int, latency: float) -> float:
    """Return the best possible time of a cold run, in seconds."""
    pages = math.ceil(n / 100)
    return latency * max(pages + 1, 1 + math.ceil(n / workers))


def run(quick: bool) -> Result:
    """Measure and print the tables."""
    latency = 0.02 if quick else 0.1
    with EmbeddedQuay() as quay:
        law = _law(quay, latency, quick)
        peers = _side_by_side(quay, latency, quick)
    return {"latency": latency, "law": law, "peers": peers}


def _law(quay: EmbeddedQuay, latency: float, quick: bool) -> Result:
    rounds = 1 if quick else 3
    cases = [(n, j, rounds) for n in (100, 500, 1000) for j in (4, 8, 16, 32, 64)]
    cases = [(100, 1, 1), (100, 2, 1), *cases]
    if quick:
        cases = [(100, 8, 1), (100, 32, 1), (200, 8, 1), (200, 32, 1)]
    heading(
        f"cold, latency {latency * 1000:.0f} ms, medians of {rounds} (range); {machine()},"
        f" quaycache {versions(['quaycache'])['quaycache']}"
    )
    rows, points = [], []
    filled = 0
    for n, workers, times in sorted(cases):
        if n != filled:
            fill(quay, n, latency)
            filled = n
        runs = [measure("quaycache", quay, workers) for _ in range(times)]
        assert all(taken.found == n for taken in runs), runs
        wall = Summary.of([taken.elapsed for taken in runs])
        cpu = statistics.median(taken.cpu / taken.requests for taken in runs)
        floor = best(n, workers, latency)
        points.append({"n": n, "j": workers, "wall": wall, "best": floor, "cpu": cpu})
        rows.append(
            (
                f"{n}",
                f"{workers}",
                f"{floor:.2f} s",
                wall.seconds(),
                f"{floor / wall.median:.2f}",
                runs[-1].requests,
                runs[-1].connections,
                f"{cpu * 1000:.2f} ms",
                f"{runs[-1].peak_kb / 1024:.0f} MB",
            )
        )
    columns = ("n", "j", "best possible", "wall clock", "efficiency", "requests", "connections")
    table((*columns, "CPU per request", "peak"), rows)
    fit = _fit(points, latency)
    print(
        f"T = a + b n / j: a = {fit['a']:.3f} s, b = {fit['b']:.4f} s,"
        f" b / latency = {fit['b_by_latency']:.3f}, R^2 = {fit['r_squared']:.4f}"
    )
    return {"points": points, "fit": fit}


def _fit(points: list[Result], latency: float) -> dict[str, float]:
    by_law = [point["n"] / point["j"] for point in points]
    walls = [point["wall"].median for point in points]
    b, a = statistics.linear_regression(by_law, walls)
    r = statistics.correlation(by_law, walls)
    return {"a": a, "b": b, "b_by_latency": b / latency, "r_squared": r * r}


def _side_by_side(quay: EmbeddedQuay, latency: float, quick: bool) -> Result:
    n, rounds = (60, 1) if quick else (500, 5)
    workers_of = (8,) if quick else (4, 16, 64)
    fill(quay, n, latency)
    found = versions(_PEERS)
    heading(
        f"cold, with the peers, n = {n}, latency {latency * 1000:.0f} ms,"
        f" medians of {rounds} (range), alternating; {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in found.items())
    )
    rows, result = [], []
    alone_run = measure(_ONE_BY_ONE, quay, 1)
    result.append(_summary(_ONE_BY_ONE, 1, [alone_run], n))
    rows.append(_row(result[-1], latency, n))
    for workers in workers_of:
        runs: dict[str, list[Measurement]] = {name: [] for name in found}
        for _ in range(rounds):
            for name in found:
                runs[name].append(measure(name, quay, workers))
        for name in found:
            result.append(_summary(name, workers, runs[name], n))
            rows.append(_row(result[-1], latency, n))
    columns = ("contender", "j", "wall clock", "efficiency", "requests", "connections")
    table((*columns, "CPU per request", "peak", "failed runs"), rows)
    return {"n": n, "versions": found, "runs": result}


def _summary(name: str, workers: int, runs: list[Measurement], n: int) -> Result:
    return {
        "contender": name,
        "j": workers,
        "wall": Summary.of([taken.elapsed for taken in runs]),
        "cpu": statistics.median(taken.cpu / max(1, taken.requests) for taken in runs),
        "peak_kb": runs[-1].peak_kb,
        "requests": runs[-1].requests,
        "connections": runs[-1].connections,
        "failed": sum(taken.found != n for taken in runs),
    }


def _row(result: Result, latency: float, n: int) -> tuple[object, ...]:
    return (
        result["contender"],
        result["j"],
        result["wall"].seconds(),
        f"{best(n, result['j'], latency) / result['wall'].median:.2f}",
        result["requests"],
        result["connections"],
        f"{result['cpu'] * 1000:.2f} ms",
        f"{result['peak_kb'] / 1024:.0f} MB",
        result["failed"],
    )


if __name__ == "__main__":
    alone(run)
