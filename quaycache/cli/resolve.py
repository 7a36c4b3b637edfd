"""``quaycache resolve``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

from quaycache.api_base import DEFAULT_API_URL, parse_api_base
from quaycache.cached.client import CachedQuayClient
from quaycache.cli import exits
from quaycache.cli.commands import Command
from quaycache.cli.logs import show_logs
from quaycache.cli.options import add_cache_options, add_parallel, policy_of, store_for
from quaycache.cli.output import FORMATS, format_time, print_err, print_out, stats_line
from quaycache.cli.parser import Options, Parser, integer, one_of
from quaycache.errors import QuayAPIError, RateLimitedError
from quaycache.freshness import Mode
from quaycache.quay.client import QuayClient
from quaycache.quay.retrying import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from quaycache.query import parse_query, parse_since
from quaycache.resolving.resolver import DEFAULT_WORKERS
from quaycache.resolving.resolver import resolve as resolve_queries
from quaycache.settings import find_token, parse_duration, parse_rate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from quaycache.events import Listener
    from quaycache.model import Resolution
    from quaycache.query import Query
    from quaycache.resolving.tag_client import TagClient


# Repository names in one line of a warning.
_MAX_NAMES = 5
# Failures printed in text form.
_MAX_FAILURES = 20


_COMMAND = "quaycache resolve"

_DESCRIPTION = """\
Print the repositories of a namespace that match a glob and carry a tag.

A URI is quay://NAMESPACE/GLOB:TAG[?since=WHEN][&token=TOKEN]. The default glob is '*', which
means every repository; the default tag is 'latest'. Quote the URI: the shell expands globs too."""

_EPILOG = """\
examples:
  quaycache resolve 'quay://openstack.kolla/*:2025.1-debian-bookworm?since=2026-03-01'
  quaycache resolve -o digest -j 16 'quay://kolla/nova-*' 'quay://kolla/glance-api:master'

exit codes:
  0 success, 1 failure, 2 usage, 3 partial with --keep-going, 4 something not in the cache with
  --offline, 130 interrupted"""


def _api_url(text: str) -> str:
    return str(parse_api_base(text))


def command() -> Command:
    """Return ``quaycache resolve``."""
    parser = Parser(_COMMAND, _DESCRIPTION, _EPILOG)
    parser.add_argument("uris", metavar="URI", nargs="+", help="The images to find.")
    add_parallel(parser, DEFAULT_WORKERS)
    parser.add_option(
        "--since",
        convert=parse_since,
        metavar="WHEN",
        about="Find only tags set at this time or later: 2026-03-01 or 2026-03-01T12:00:00Z."
        " A URI's since= overrides it.",
    )
    parser.add_option(
        "--token-file",
        metavar="FILE",
        about="Read an OAuth application token from this file. It overrides QUAYCACHE_TOKEN;"
        " a URI's token= overrides both.",
    )
    parser.add_option(
        "--api-url",
        convert=_api_url,
        default=DEFAULT_API_URL,
        metavar="URL",
        about="The Quay server: https://host[:port].",
    )
    parser.add_option(
        "--retries",
        convert=integer(0, 100),
        default=str(DEFAULT_RETRIES),
        metavar="N",
        about="Repeat a failed request up to N times; responses with 429 do not count.",
    )
    parser.add_option(
        "--timeout",
        convert=parse_duration,
        default=f"{DEFAULT_TIMEOUT:.0f}s",
        metavar="DURATION",
        about="Give up when the server has refused every request with 429 for this long.",
    )
    parser.add_option(
        "--rate-limit",
        convert=parse_rate,
        metavar="RATE",
        about="Send at most RATE requests per second, all workers together.",
    )
    add_cache_options(parser)
    parser.add_flag(
        "--keep-going",
        about="Continue after a failure: print what was found, and exit 3 (1 if nothing was"
        " answered).",
    )
    parser.add_option(
        "-o",
        "--output",
        convert=one_of(*FORMATS),
        default="text",
        metavar="FORMAT",
        about="text: repository:tag; digest: repository@digest; json: one object;"
        " jsonl: one object per image.",
    )
    parser.add_flag("--stats", about="Print request and cache statistics on stderr.")
    parser.add_switch(
        "--progress", about="Draw progress bars on stderr; the default if it is a terminal."
    )
    parser.add_flag("-q", "--quiet", about="Print no progress bars and no warnings.")
    parser.add_counter("-v", "--verbose", about="Log progress on stderr; -vv logs each repository.")
    return Command(parser, resolve)


def resolve(options: Options) -> int:
    """Resolve the URIs and print the result; return the exit code."""
    show_logs(options.verbose, options.quiet)
    policy = policy_of(options, _COMMAND)
    queries = [parse_query(uri) for uri in options.uris]
    if options.since is not None:
        queries = [
            query if query.since is not None else query._replace(since=options.since)
            for query in queries
        ]
    # Read the file even if every URI has a token: an unreadable file is always an error.
    token = find_token(options.token_file, os.environ)
    offline = policy is not None and policy.mode is Mode.OFFLINE
    with ExitStack() as opened:
        client: TagClient
        client = uncached = opened.enter_context(
            QuayClient(
                token,
                api_url=options.api_url,
                retries=options.retries,
                timeout=options.timeout,
                rate_limit=options.rate_limit,
            )
        )
        store = None if policy is None else store_for(options, policy)
        if store is not None:
            client = opened.enter_context(CachedQuayClient(uncached, store, policy))
        try:
            resolution = resolve_queries(
                queries,
                client=client,
                max_workers=options.parallel,
                keep_going=options.keep_going or offline,
                on_event=opened.enter_context(_listener(options)),
            )
        except QuayAPIError as error:
            raise _with_hints(error) from None
    _print(resolution, options.output, options.stats)
    if not options.quiet:
        _warn_stale(resolution, offline=offline)
        _warn_nothing_found(resolution)
    return _exit_code(queries, resolution, offline=offline)


def _listener(options: Options) -> AbstractContextManager[Listener | None]:
    progress = options.progress
    if progress is None:
        progress = sys.stderr.isatty() and not options.quiet
    if not progress:
        return nullcontext()
    from quaycache.cli.progress import ProgressBars  # imports rich

    return ProgressBars()


def _with_hints(error: QuayAPIError) -> QuayAPIError:
    hints = []
    if isinstance(error, RateLimitedError):
        hints.append("send fewer requests at once (-j, --rate-limit) or wait longer (--timeout)")
    if found := len(error.partial.images) if error.partial else 0:
        images = "1 image" if found == 1 else f"{found} images"
        hints.append(f"{images} found before the failure not printed: see --keep-going")
    return error.with_message("; ".join([str(error), *hints])) if hints else error


def _print(resolution: Resolution, output: str, stats: bool) -> None:
    print_out(*FORMATS[output](resolution))
    failures = resolution.failures
    for failure in failures[:_MAX_FAILURES]:
        print_err(f"error: {failure.error}")
    if len(failures) > _MAX_FAILURES:
        print_err(f"error: {len(failures) - _MAX_FAILURES} more failures: see --output json")
    if stats:
        print_err(stats_line(resolution.stats))


def _warn_stale(resolution: Resolution, *, offline: bool) -> None:
    """Print the age of old answers on stderr; the plain output does not show it."""
    stats, oldest = resolution.stats, resolution.oldest_checked_at
    if oldest is None:
        return
    if offline:
        print_err(f"offline: the oldest answer is from {format_time(oldest)}")
    elif stats.stale:
        names = [f"{image.repository}:{image.tag}" for image in resolution.images if image.stale]
        more = [] if len(names) <= _MAX_NAMES else [f"{len(names) - _MAX_NAMES} more"]
        shown = ", ".join((*names[:_MAX_NAMES], *more)) or "no printed image"
        print_err(
            f"warning: the server failed, and {stats.stale} of {stats.matched} answers are stale,"
            f" the oldest from {format_time(oldest)}: {shown}"
        )


def _warn_nothing_found(resolution: Resolution) -> None:
    """Print a warning if the result is empty; the usual cause is a mistake in the URI."""
    stats = resolution.stats
    if resolution.images or resolution.failures or not (stats.repositories or stats.matched):
        return
    print_err(
        f"warning: no matching tag found (repositories listed: {stats.repositories},"
        f" tags looked up: {stats.matched})"
    )


def _exit_code(queries: Iterable[Query], resolution: Resolution, *, offline: bool) -> int:
    if not resolution.failures:
        return exits.SUCCESS
    if offline:
        return exits.NOT_STORED
    return exits.PARTIAL if _is_partly_answered(queries, resolution) else exits.FAILURE


def _is_partly_answered(queries: Iterable[Query], resolution: Resolution) -> bool:
    """Return whether any lookup was answered, or any query in full (an empty result is one)."""
    if resolution.stats.matched > resolution.stats.failed:
        return True
    failed: dict[str, list[str]] = {}
    for failure in resolution.failures:
        namespace, _, repository = failure.repository.partition("/")
        failed.setdefault(namespace, []).append(repository)
    return any(
        # The empty name stands for the listing itself.
        "" not in (names := failed.get(query.namespace, [])) and not query.matching(names)
        for query in queries
    )
