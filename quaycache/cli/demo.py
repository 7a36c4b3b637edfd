"""``quaycache demo``: the main job against an embedded Quay, and the n/j law."""

from __future__ import annotations

import math
from importlib.util import find_spec

import click

from quaycache.cli.logs import show_logs
from quaycache.cli.options import parallel
from quaycache.client import QuayClient
from quaycache.errors import MissingExtraError
from quaycache.model import Resolution
from quaycache.resolver import resolve

_REPOSITORIES = 100
_LATENCY = 0.1
_URI = "quay://demo/*:latest"


@click.command(short_help="Show the speed-up against an embedded Quay, without a network.")
@parallel(16)
def demo(parallel: int) -> None:
    """Resolve a pattern of an embedded Quay one worker at a time, then with N.

    The server runs on loopback in a process of its own, with 100 repositories and 100 ms for each
    answer. The n/j law is the best possible time: the listing, then ceil(n/j) rounds of checks.
    """
    if find_spec("trustme") is None:
        raise MissingExtraError(
            "the demo needs the package 'trustme': pip install 'quaycache[cli,testing]'"
        )
    from quaycache.testing import EmbeddedQuay

    show_logs(0, quiet=False)
    with EmbeddedQuay() as quay:
        quay.registry.populate("demo", _REPOSITORIES, tag="latest", every=2)
        quay.configure(latency=_LATENCY)
        click.echo(
            f"{_URI} on an embedded Quay over HTTP/2:"
            f" {_REPOSITORIES} repositories, {_LATENCY * 1000:.0f} ms an answer\n"
        )
        click.echo("workers   found   requests       time    n/j law   speed-up")
        alone = None
        for workers in dict.fromkeys((1, parallel)):
            with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
                resolution = resolve([_URI], client=client, max_workers=workers)
            alone = alone or resolution.stats.elapsed_s
            click.echo(_row(workers, resolution, alone))


def _row(workers: int, resolution: Resolution, alone: float) -> str:
    stats = resolution.stats
    best = _LATENCY * (1 + math.ceil(stats.matched / workers))
    return (
        f"{workers:>7}   {stats.found:>5}   {stats.usage.requests:>8}"
        f"   {stats.elapsed_s:>6.2f} s   {best:>6.2f} s   {alone / stats.elapsed_s:>6.1f} x"
    )
