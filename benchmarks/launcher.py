"""occystrap, plain and with a cache: time, requests, and the delay after Ctrl-C.

    python -m benchmarks.launcher [--repositories N] [--workers J] [--latency SECONDS] [--rounds R]

The contenders are whole processes of `occystrap info`, which alternate. No repository carries the
tag, so the processes do nothing but resolve it. The server is the embedded Quay in a separate
process, over HTTP/2 and TLS on loopback; `occystrap.quay.QUAY_API_BASE` points to it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from benchmarks.measuring import NAMESPACE, machine
from quaycache.testing import EmbeddedQuay

_URI = f"quay://{NAMESPACE}/*:nobodys"
_PLAIN = "from occystrap.main import cli; cli()"
_LAUNCHED = "from quaycache.occystrap.launcher import main; main()"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launcher")
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(
        f"occystrap {version('occystrap')} info, n = {options.repositories},",
        f"j = {options.workers}, latency {options.latency * 1000:.0f} ms,",
        f"medians of {options.rounds} (range); {machine()}, quaycache {version('quaycache')}",
    )
    print("contender                 wall clock (range)  requests")
    with EmbeddedQuay() as quay:
        quay.registry.populate(NAMESPACE, options.repositories)
        quay.configure(latency=options.latency)
        rows: dict[str, list[tuple[float, int]]] = {}
        for _ in range(options.rounds):
            for name, taken in _round(quay, options.workers):
                rows.setdefault(name, []).append(taken)
        for name, runs in rows.items():
            times = [elapsed for elapsed, _ in runs]
            print(
                f"{name:<22}  {statistics.median(times):>8.2f} s"
                f" ({min(times):.2f}-{max(times):.2f})  {runs[-1][1]:>8}"
            )
        print("\nafter Ctrl-C, with all repositories in the queue")
        print("contender                 ends after  later requests")
        for name, program, cached in (("plain", _PLAIN, False), ("launched", _LAUNCHED, True)):
            elapsed, requests = _interrupted(quay, program, cached=cached)
            print(f"{name:<22}  {elapsed:>10.2f} s  {requests:>14}")


def _round(quay: EmbeddedQuay, workers: int) -> Iterator[tuple[str, tuple[float, int]]]:
    with tempfile.TemporaryDirectory() as cache_dir:
        launched = ["--cache-dir", cache_dir, "-j", str(workers)]
        runs = (
            ("plain", _PLAIN, ["-j", str(workers)]),
            ("launched, cold", _LAUNCHED, launched),
            ("launched, past the ttl", _LAUNCHED, [*launched, "--cache-ttl", "0"]),
            ("launched, warm", _LAUNCHED, launched),
        )
        for name, program, arguments in runs:
            quay.reset_counters()
            with _started(quay, program, arguments) as process:
                began = time.perf_counter()
                process.wait()
                assert process.returncode == 0
            yield name, (time.perf_counter() - began, quay.counters().requests)


def _interrupted(quay: EmbeddedQuay, program: str, *, cached: bool) -> tuple[float, int]:
    """Return the seconds from the signal to the end of the process, and the requests after it."""
    with tempfile.TemporaryDirectory() as cache_dir:
        arguments = ["--cache-dir", cache_dir] if cached else []
        quay.reset_counters()
        with _started(quay, program, arguments) as process:
            while quay.counters().tag < 8:
                time.sleep(0.01)
            before = quay.counters().requests
            began = time.perf_counter()
            process.send_signal(signal.SIGINT)
            process.wait()
            return time.perf_counter() - began, quay.counters().requests - before


@contextmanager
def _started(
    quay: EmbeddedQuay, program: str, arguments: list[str]
) -> Iterator[subprocess.Popen[bytes]]:
    api = f"import occystrap.quay as q; q.QUAY_API_BASE = {quay.url + '/api/v1'!r}; "
    with subprocess.Popen(
        [sys.executable, "-c", api + program, *arguments, "info", _URI],
        env=os.environ | {"SSL_CERT_FILE": quay.ca_file},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process


if __name__ == "__main__":
    main()
