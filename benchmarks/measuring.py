"""The measurement of one contender in a new process, after its imports."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import PEERS, Question
from quaycache.testing import EmbeddedQuay

ROOT = Path(__file__).parent.parent
NAMESPACE = "bench"
TAG = "latest"


class Measurement(NamedTuple):
    """The result and the cost of one run.

    Attributes:
        found: the number of repositories that carry the tag; 0 if the run failed.
        elapsed: the wall-clock time in seconds.
        cpu: the CPU time in seconds.
        peak_kb: the peak memory in kilobytes.
        failure: the exception, if the run failed.
        requests: the number of requests that the server counted.
        connections: the number of connections that the server counted.
    """

    found: int
    elapsed: float
    cpu: float
    peak_kb: int
    failure: str | None
    requests: int = 0
    connections: int = 0


def machine() -> str:
    """Return a short description of the machine."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the installed contenders; name the others on standard error."""
    installed = {name: _version(PEERS[name].distribution) for name in names}
    for name in names:
        if installed[name] is None:
            print(f"{PEERS[name].distribution} is not installed: skipped", file=sys.stderr)
    return {name: number for name, number in installed.items() if number is not None}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def fill(quay: EmbeddedQuay, repositories: int, latency: float) -> None:
    """Reset the server and create repositories that all carry the tag."""
    quay.reset()
    quay.configure(latency=latency)
    quay.registry.populate(NAMESPACE, repositories, tag=TAG)


def measure(
    contender: str,
    quay: EmbeddedQuay,
    workers: int,
    *,
    url: str | None = None,
    ca_file: str | None = None,
    cache_dir: str | None = None,
    ttl: float = 300.0,
    warm_up: bool = False,
) -> Measurement:
    """Run a contender and return its measurement.

    Args:
        contender: a name in `PEERS`.
        quay: the server, which counts the requests.
        workers: the number of the contender's workers.
        url: the URL of a front end before the server; None means that there is no front end.
        ca_file: the CA certificate of the front end; None means the server's.
        cache_dir: the directory of the contender's cache; see `Question`.
        ttl: the time to live of the cache in seconds; see `Question`.
        warm_up: whether to run the contender once before the measurement, so that the measured run
            imports nothing.
    """
    quay.reset_counters()
    base = quay.url if url is None else url
    question = Question(f"{base}/api/v1", NAMESPACE, TAG, workers, cache_dir, ttl)
    done = subprocess.run(
        command(contender, question, warm_up=warm_up),
        cwd=ROOT,
        env=os.environ | {"SSL_CERT_FILE": quay.ca_file if ca_file is None else ca_file},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = Measurement(*json.loads(done.stdout.splitlines()[-1]))
    counters = quay.counters()
    return taken._replace(requests=counters.requests, connections=counters.connections)


def command(contender: str, question: Question, *, warm_up: bool = False) -> list[str]:
    """Return the command line of a measurement; its working directory must be `ROOT`."""
    arguments = [contender, json.dumps(question), *(["--warm-up"] if warm_up else [])]
    return [sys.executable, "-m", "benchmarks.measuring", *arguments]


class Summary(NamedTuple):
    """The median and the range of repeated measurements, in their unit."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Summary:
        """Return the summary of one or more figures."""
        return cls(statistics.median(figures), min(figures), max(figures))

    def seconds(self) -> str:
        """Return a text such as ``1.23 s (1.20-1.31)``."""
        return f"{self.median:.2f} s ({self.least:.2f}-{self.most:.2f})"

    def milliseconds(self) -> str:
        """Return a text such as ``12.3 ms (12-14)``."""
        low, middle, high = (1000 * figure for figure in (self.least, self.median, self.most))
        return f"{middle:.1f} ms ({low:.0f}-{high:.0f})"


def _measure_here(contender: str, question: Question, *, warm_up: bool) -> Measurement:
    peer = PEERS[contender]
    for module in peer.imports:
        import_module(module)
    answer = import_module(f"benchmarks.peers.{peer.module}").answer
    if warm_up:
        answer(question)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    found, failure = 0, None
    try:
        found = answer(question)
    except Exception as error:  # noqa: BLE001 - a contender's failure is a result
        failure = f"{type(error).__name__}: {error}"[:200]
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(found, elapsed, cpu, after.ru_maxrss, failure)


if __name__ == "__main__":
    print(
        json.dumps(
            _measure_here(
                sys.argv[1], Question(*json.loads(sys.argv[2])), warm_up="--warm-up" in sys.argv
            )
        )
    )
