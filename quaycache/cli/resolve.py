"""``quaycache resolve``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quaycache.api_base import DEFAULT_API_URL, parse_api_base
from quaycache.cached import CachedQuayClient
from quaycache.cli import exits
from quaycache.cli.cache_options import CacheChoice, cache_options
from quaycache.cli.logs import show_logs
from quaycache.cli.options import option, parallel, parsed
from quaycache.cli.output import FORMATS, format_time, stats_line
from quaycache.client import QuayClient
from quaycache.errors import QuayAPIError
from quaycache.query import parse_query, parse_since
from quaycache.resolver import DEFAULT_WORKERS
from quaycache.resolver import resolve as resolve_queries
from quaycache.retrying import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from quaycache.settings import find_token, parse_duration, parse_rate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quaycache.events import Listener
    from quaycache.model import Resolution
    from quaycache.tag_client import TagClient


# A line of so many names can still be read.
_NAMED = 5


def _api_url(text: str) -> str:
    return str(parse_api_base(text))


@click.command(short_help="Print the repositories that carry a tag.")
@click.argument("uris", metavar="URI...", nargs=-1, required=True)
@parallel(DEFAULT_WORKERS)
@option(
    "--since",
    callback=parsed(parse_since),
    metavar="WHEN",
    help="Only tags set since then: 2026-03-01 or 2026-03-01T12:00:00Z. A URI's own wins.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with an OAuth application token. A URI's own wins; QUAYCACHE_TOKEN comes last.",
)
@option(
    "--api-url",
    callback=parsed(_api_url),
    default=DEFAULT_API_URL,
    show_default=True,
    metavar="URL",
    help="The Quay to ask: https://host[:port].",
)
@option(
    "--retries",
    type=click.IntRange(0, 100),
    default=DEFAULT_RETRIES,
    show_default=True,
    metavar="N",
    help="Repeat a failed request N times; a refusal with 429 does not count.",
)
@option(
    "--timeout",
    callback=parsed(parse_duration),
    default=f"{DEFAULT_TIMEOUT:.0f}s",
    show_default=True,
    metavar="DURATION",
    help="Give up when the server has refused everything with 429 for this long.",
)
@option(
    "--rate-limit",
    callback=parsed(parse_rate),
    metavar="RATE",
    help="At most RATE requests a second over all workers.",
)
@cache_options
@option("--keep-going", is_flag=True, help="Print what can be had; exit 3 if anything failed.")
@option(
    "-o",
    "--output",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="repository:tag, repository@digest, one JSON object, or one for each image.",
)
@option("--stats", is_flag=True, help="Print what it cost, on stderr.")
@option(
    "--progress/--no-progress",
    default=None,
    help="Draw progress bars on stderr; by default if it is a terminal.",
)
@option("-q", "--quiet", is_flag=True, help="No progress bars and no warnings.")
@option("-v", "--verbose", count=True, help="Say what happens; twice for every repository.")
def resolve(
    uris: tuple[str, ...],
    parallel: int,
    since: int | None,
    token_file: Path | None,
    api_url: str,
    retries: int,
    timeout: float,
    rate_limit: float | None,
    cache: CacheChoice,
    keep_going: bool,
    output: str,
    stats: bool,
    progress: bool | None,
    quiet: bool,
    verbose: int,
) -> int:
    """Print the repositories of a namespace that match a glob and carry a tag.

    A URI is quay://NAMESPACE/GLOB:TAG[?since=WHEN][&token=TOKEN]. Without a glob it means every
    repository, without a tag 'latest'. Quote it: the shell has globs of its own.

    \b
    quaycache resolve 'quay://openstack.kolla/*:2025.1-debian-bookworm?since=2026-03-01'
    quaycache resolve -o digest -j 16 'quay://kolla/nova-*' 'quay://kolla/glance-api:master'

    Exit codes: 0 success, 1 failure, 2 usage, 3 partial with --keep-going, 4 offline and not all
    is known, 130 interrupted.
    """  # noqa: D301 - click's mark for lines to keep is the character, not the escape
    show_logs(verbose, quiet)
    queries = [parse_query(uri) for uri in uris]
    if since is not None:
        queries = [q if q.since is not None else replace(q, since=since) for q in queries]
    # A file that cannot be read is an error even where every URI brings a token of its own.
    token = find_token(token_file, os.environ)
    with ExitStack() as opened:
        client: TagClient
        client = asking = opened.enter_context(
            QuayClient(
                token, api_url=api_url, retries=retries, timeout=timeout, rate_limit=rate_limit
            )
        )
        store = cache.open()
        if store is not None:
            client = opened.enter_context(CachedQuayClient(asking, store, cache.policy))
        try:
            resolution = resolve_queries(
                queries,
                client=client,
                max_workers=parallel,
                keep_going=keep_going or cache.offline,
                on_event=opened.enter_context(_listener(progress, quiet)),
            )
        except QuayAPIError as error:
            raise _with_hint(error) from None
    _print(resolution, output, stats)
    if not quiet:
        _tell_age(resolution, cache)
    return _exit_code(resolution, cache)


def _listener(progress: bool | None, quiet: bool) -> AbstractContextManager[Listener | None]:
    if progress is None:
        progress = sys.stderr.isatty() and not quiet
    if not progress:
        return nullcontext()
    from quaycache.cli.progress import ProgressBars  # rich, only where there is a terminal

    return ProgressBars()


def _with_hint(error: QuayAPIError) -> QuayAPIError:
    found = len(error.partial.images) if error.partial else 0
    if not found:
        return error
    return type(error)(f"{error}; {found} found before are not printed: see --keep-going")


def _print(resolution: Resolution, output: str, stats: bool) -> None:
    lines = "".join(f"{line}\n" for line in FORMATS[output](resolution))
    click.echo(lines, nl=False)
    for failure in resolution.failures:
        click.echo(f"error: {failure.error}", err=True)
    if stats:
        click.echo(stats_line(resolution.stats), err=True)


def _tell_age(resolution: Resolution, cache: CacheChoice) -> None:
    """On stderr, what a reader of plain text would not see: that an answer is old."""
    stats, oldest = resolution.stats, resolution.oldest_checked_at
    if oldest is None:
        return
    if cache.offline:
        click.echo(f"offline: the oldest answer is of {format_time(oldest)}", err=True)
    elif stats.stale:
        names = [f"{image.repository}:{image.tag}" for image in resolution.images if image.stale]
        more = [] if len(names) <= _NAMED else [f"{len(names) - _NAMED} more"]
        shown = ", ".join((*names[:_NAMED], *more)) or "none of what is printed"
        click.echo(
            f"warning: the server failed, and {stats.stale} of {stats.matched} answers are stale,"
            f" the oldest of {format_time(oldest)}: {shown}",
            err=True,
        )


def _exit_code(resolution: Resolution, cache: CacheChoice) -> int:
    if not resolution.failures:
        return exits.SUCCESS
    if cache.offline:
        return exits.NOT_STORED
    answered = resolution.stats.matched - resolution.stats.failed
    return exits.PARTIAL if answered else exits.FAILURE
