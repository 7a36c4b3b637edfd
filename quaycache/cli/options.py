"""Options that several commands share: workers, place of the cache, age of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache._lazy import LazyLogger
from quaycache.cli.parser import UsageError, integer
from quaycache.errors import SettingsError
from quaycache.freshness import Mode, Policy
from quaycache.settings import parse_duration
from quaycache.store.choice import store_at
from quaycache.store.disk.store import DiskStore

if TYPE_CHECKING:
    from quaycache.cli.parser import Options, Parser
    from quaycache.store.protocol import Store

LOG = LazyLogger(__name__)

_DEFAULTS = Policy()


class NoHomeError(SettingsError):
    """The platform's cache directory cannot be determined."""


def add_parallel(parser: Parser, default: int) -> None:
    """Add ``-j/--parallel``."""
    parser.add_option(
        "-j",
        "--parallel",
        convert=integer(1, 256),
        default=str(default),
        metavar="N",
        about="Check N repositories at once.",
    )


def add_cache_place(parser: Parser) -> None:
    """Add ``--cache-dir`` and ``--cache-url``, which `open_store` reads."""
    parser.add_option(
        "--cache-dir",
        metavar="DIR",
        about="Store answers in this directory; by default in the platform's cache directory.",
    )
    parser.add_option(
        "--cache-url",
        metavar="URL",
        about="Store answers in a Redis or Valkey instead: redis://[user:password@]host:port/db,"
        " rediss:// for TLS, unix:///path.",
    )


def add_max_age(parser: Parser) -> None:
    """Add ``--max-age``, in seconds."""
    parser.add_option(
        "--max-age",
        convert=parse_duration,
        default=f"{_DEFAULTS.max_age / 3600:.0f}h",
        metavar="DURATION",
        about="Look up a found tag again after this long, even if the listing shows no change.",
    )


def add_cache_options(parser: Parser) -> None:
    """Add all options of the cache, which `policy_of` and `store_for` read."""
    add_cache_place(parser)
    parser.add_flag("--no-cache", about="Neither read nor write a cache.")
    parser.add_option(
        "--ttl",
        convert=parse_duration,
        default=f"{_DEFAULTS.ttl / 60:.0f}m",
        metavar="DURATION",
        about="Use an answer without any request for this long.",
    )
    add_max_age(parser)
    parser.add_option(
        "--stale-if-error",
        convert=parse_duration,
        default="0",
        metavar="DURATION",
        about="If the server fails, serve stale answers up to this long past their freshness"
        " lifetime.",
    )
    parser.add_flag("--refresh", about="Ignore stored answers, and store the new ones.")
    parser.add_flag("--offline", about="Send no requests; exit 4 if anything is not in the cache.")


def policy_of(options: Options, command: str) -> Policy | None:
    """Return the policy that the options describe, or None for ``--no-cache``.

    Only one of ``--no-cache``, ``--refresh`` and ``--offline`` may be set. The command line
    overrides the environment.

    Raises:
        UsageError: If two of them are set. The message names where.
    """
    is_set = [name for name in ("no_cache", "refresh", "offline") if getattr(options, name)]
    on_command_line = [name for name in is_set if name in options.on_command_line]
    chosen = on_command_line or is_set
    if len(chosen) > 1:
        names = (
            f"--{name.replace('_', '-')}" if on_command_line else f"QUAYCACHE_{name.upper()}"
            for name in chosen
        )
        raise UsageError(command, f"{' and '.join(names)} are mutually exclusive")
    if chosen == ["no_cache"]:
        return None
    return Policy(
        ttl=options.ttl,
        max_age=options.max_age,
        stale_if_error=options.stale_if_error,
        mode=Mode(chosen[0]) if chosen else Mode.NORMAL,
    )


def store_for(options: Options, policy: Policy) -> Store | None:
    """Return the store; without a home directory, log a warning and return None.

    Raises:
        MissingExtraError: If the URL needs redis-py.
        SettingsError: If the options are invalid, or there is no home directory and *policy* is
            offline.
    """
    try:
        return open_store(options)
    except NoHomeError as error:
        if policy.mode is Mode.OFFLINE:
            raise
        LOG.warning("%s; running without a cache", error)
        return None


def open_store(options: Options) -> Store:
    """Return the store in the options' directory or at their URL, or in the platform's directory.

    The command line overrides the environment. Each of them may set one of the two options.

    Raises:
        MissingExtraError: If the URL needs redis-py.
        NoHomeError: If the user has no home directory, and so no platform cache directory.
        SettingsError: If both options are set, or one is invalid.
    """
    directory, url = options.cache_dir, options.cache_url
    if directory is not None and url is not None:
        given = options.on_command_line.intersection(("cache_dir", "cache_url"))
        if len(given) == 2:
            raise SettingsError("--cache-dir and --cache-url are mutually exclusive")
        if not given:
            raise SettingsError(
                "QUAYCACHE_CACHE_DIR and QUAYCACHE_CACHE_URL are mutually exclusive"
            )
        directory, url = (directory, None) if "cache_dir" in given else (None, url)
    if (store := store_at(directory, url)) is not None:
        return store
    import platformdirs  # needed only for the default directory

    try:
        return DiskStore(platformdirs.user_cache_dir("quaycache", appauthor=False))
    except RuntimeError:
        raise NoHomeError("no home directory for the cache: set --cache-dir") from None
