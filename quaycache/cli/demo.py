"""``quaycache demo``: resolve a pattern on an embedded Quay, first with workers, then cached."""

from __future__ import annotations

import math
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from quaycache.cli.commands import Command
from quaycache.cli.exits import SUCCESS
from quaycache.cli.logs import show_logs
from quaycache.cli.options import add_parallel
from quaycache.cli.output import print_out
from quaycache.cli.parser import Options, Parser
from quaycache.errors import MissingExtraError
from quaycache.freshness import Policy
from quaycache.model import Resolution
from quaycache.quay.client import QuayClient
from quaycache.resolving.resolver import resolve

_REPOSITORIES = 100
_LATENCY = 0.1
_URI = "quay://demo/*:latest"


_DESCRIPTION = """\
Resolve a pattern on an embedded Quay: one at a time, with N workers, and from the cache.

The server runs on loopback in a separate process. It has 100 repositories and takes 100 ms for
each answer. The best possible time is that of the listing plus ceil(n/j) rounds of checks."""


def command() -> Command:
    """``quaycache demo``."""
    parser = Parser("quaycache demo", _DESCRIPTION)
    add_parallel(parser, 16)
    return Command(parser, demo)


def demo(options: Options) -> int:
    """Run the demonstration; return the exit code."""
    parallel = options.parallel
    if find_spec("trustme") is None:
        raise MissingExtraError(
            "the package 'trustme' is missing: pip install 'quaycache[cli,testing]'"
        )
    from quaycache.testing import EmbeddedQuay

    show_logs(0, quiet=False)
    with EmbeddedQuay() as quay, TemporaryDirectory() as cache_dir:
        quay.registry.populate("demo", _REPOSITORIES, tag="latest", every=2)
        quay.configure(latency=_LATENCY)

        def run(workers: int, policy: Policy | None) -> Resolution:
            with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
                return resolve(
                    [_URI],
                    client=client,
                    max_workers=workers,
                    cache_dir=cache_dir if policy else None,
                    policy=policy,
                )

        print_out(
            f"{_URI} on an embedded Quay over HTTP/2:"
            f" {_REPOSITORIES} repositories, {_LATENCY * 1000:.0f} ms per answer\n"
        )
        print_out("run                    workers   found   requests      time   best possible")
        runs = (
            ("one at a time", 1, None),
            ("cold", parallel, Policy()),
            ("stale but unchanged", parallel, Policy(ttl=0)),
            ("fresh", parallel, Policy()),
        )
        for name, workers, policy in runs:
            print_out(_row(name, workers, run(workers, policy)))
    return SUCCESS


def _row(name: str, workers: int, resolution: Resolution) -> str:
    stats = resolution.stats
    rounds = stats.usage.listing_pages + math.ceil(stats.fetched / workers)
    return (
        f"{name:<20}   {workers:>7}   {stats.found:>5}   {stats.usage.requests:>8}"
        f"   {stats.elapsed_s:>5.2f} s   {_LATENCY * rounds:>11.2f} s"
    )
