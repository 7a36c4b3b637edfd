"""Behind nginx with Quay's limits, and with a limit by address: does it finish, and how fast?

    python -m benchmarks.limits [--rounds R]

nginx has to be installed. The ideal time is what the limit allows at most: a burst at once, then
the rate, or the time without a limit where that is longer. A contender that fails is counted.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path

from benchmarks.contenders import NAMESPACE, TAG, installed, machine, measure
from quaycache.testing import EmbeddedQuay
from tests.nginx import QUAYS_LIMITS, nginx_before

_LATENCY = 0.1
_ADDRESS_RATE, _ADDRESS_BURST = 10, 25
_BY_ADDRESS = f"limit_req zone=address burst={_ADDRESS_BURST} nodelay;"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    versions = installed()
    print(
        f"cold resolve behind nginx, latency {_LATENCY * 1000:.0f} ms,",
        f"medians of {options.rounds}; {machine()},",
        ", ".join(f"{name} {number}" for name, number in versions.items()),
    )
    print("limit                      n   j  contender     ideal  wall clock  ratio  failed runs")
    for n, limits, name, jobs in (
        (500, QUAYS_LIMITS, "Quay's, by connection", (16, 64)),
        (150, _BY_ADDRESS, "10/s by address", (4, 16, 64)),
    ):
        for workers in jobs:
            for contender in versions:
                runs = [_run(contender, n, limits, workers) for _ in range(options.rounds)]
                finished = [elapsed for elapsed, failure in runs if failure is None]
                ideal = _ideal(n, workers, by_address=limits is _BY_ADDRESS)
                wall = statistics.median(finished) if finished else math.nan
                print(
                    f"{name:<22}  {n:>4}  {workers:>2}  {contender:<10}  {ideal:>6.2f} s"
                    f"  {wall:>8.2f} s  {wall / ideal:>5.2f}  {len(runs) - len(finished)}",
                    flush=True,
                )


def _run(contender: str, n: int, limits: str, workers: int) -> tuple[float, str | None]:
    # A new server and a new nginx each time: a limit remembers who has been there.
    with EmbeddedQuay() as quay, tempfile.TemporaryDirectory() as directory:
        quay.registry.populate(NAMESPACE, n, tag=TAG)
        quay.configure(latency=_LATENCY)
        with nginx_before(
            quay, Path(directory), limits=limits, address_rate=_ADDRESS_RATE
        ) as nginx:
            taken = measure(contender, nginx.url, nginx.ca_file, workers)
    wrong = None if taken.found == n else f"{taken.found} of {n}"
    return taken.elapsed, taken.failure or wrong


def _ideal(n: int, workers: int, *, by_address: bool) -> float:
    unlimited = _LATENCY * max(math.ceil(n / 100) + 1, 1 + math.ceil(n / workers))
    if not by_address:
        return unlimited
    requests = n + math.ceil(n / 100)
    return max(unlimited, (requests - _ADDRESS_BURST - 1) / _ADDRESS_RATE)


if __name__ == "__main__":
    main()
