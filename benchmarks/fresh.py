"""A fresh resolve: no request, one read of the store. In the library, and as a whole process.

    python -m benchmarks.fresh [--repositories N,N] [--rounds R]

The cache is filled by a cold run against the embedded Quay. In the library, the time is from the
opening of client and store to their closing; each round is a process of its own, and runs once
before it is measured, so that nothing is imported meanwhile. A whole process of the command is
compared with `python -c pass`, side by side.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

from benchmarks.contenders import NAMESPACE, TAG, machine
from quaycache import QuayClient, __version__, resolve
from quaycache.testing import EmbeddedQuay

_URI = f"quay://{NAMESPACE}/*:{TAG}"
_COMMAND = [os.path.join(sysconfig.get_path("scripts"), "quaycache"), "resolve", _URI]

_IN_THE_LIBRARY = """
import sys, time
from quaycache import QuayClient, resolve

def run():
    with QuayClient(api_url=sys.argv[1]) as client:
        return resolve([sys.argv[2]], client=client, cache_dir=sys.argv[3])

run()
began = time.perf_counter()
stats = run().stats
print(time.perf_counter() - began, stats.usage.requests, "httpx" in sys.modules)
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fresh")
    parser.add_argument("--repositories", default="1000,5000", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(
        f"fresh resolve, medians of {options.rounds} (range); {machine()}, quaycache {__version__}"
    )
    print(
        "     n  in the library            requests  httpx   whole process  python -c pass  ratio"
    )
    for repositories in map(int, options.repositories.split(",")):
        print(_row(repositories, options.rounds))


def _row(repositories: int, rounds: int) -> str:
    with EmbeddedQuay() as quay, tempfile.TemporaryDirectory() as cache_dir:
        quay.registry.populate(NAMESPACE, repositories, tag=TAG, every=2)
        with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
            resolve([_URI], client=client, max_workers=16, cache_dir=cache_dir)
        environment = {
            **os.environ,
            "QUAYCACHE_API_URL": quay.url,
            "QUAYCACHE_CACHE_DIR": cache_dir,
            "QUAYCACHE_TTL": "1h",
        }
        # An installed package has its byte code, which this would keep a source tree from having.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _timed(_COMMAND, environment)
        library, process, empty = [], [], []
        requests, imported = "", ""
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", _IN_THE_LIBRARY, quay.url, _URI, cache_dir],
                capture_output=True,
                text=True,
                check=True,
            )
            taken, requests, imported = done.stdout.split()
            library.append(float(taken))
            process.append(_timed(_COMMAND, environment))
            empty.append(_timed([sys.executable, "-c", "pass"], environment))
    return (
        f"{repositories:>6}  {_milliseconds(library):<20}  {requests:>8}  {imported:>5}"
        f"  {_milliseconds(process):<20}  {_milliseconds(empty):<20}"
        f"  {statistics.median(process) / statistics.median(empty):>5.1f}"
    )


def _timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _milliseconds(times: list[float]) -> str:
    low, middle, high = (1000 * of(times) for of in (min, statistics.median, max))
    return f"{middle:.1f} ms ({low:.0f}-{high:.0f})"


if __name__ == "__main__":
    main()
