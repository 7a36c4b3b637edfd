"""Options that several commands share: workers, where answers are kept, how old one may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quaycache.cli.parser import UsageError, integer
from quaycache.errors import SettingsError
from quaycache.freshness import Mode, Policy
from quaycache.lazy_logger import LazyLogger
from quaycache.settings import parse_duration
from quaycache.store.choice import store_at
from quaycache.store.disk import DiskStore

if TYPE_CHECKING:
    from quaycache.cli.parser import Options, Parser
    from quaycache.store.protocol import Store

LOG = LazyLogger(__name__)

_DEFAULTS = Policy()


class NoHomeError(SettingsError):
    """Nobody says where caches go."""


def add_parallel(parser: Parser, default: int) -> None:
    """``-j/--parallel``."""
    parser.add_option(
        "-j",
        "--parallel",
        convert=integer(1, 256),
        default=str(default),
        metavar="N",
        about="Check N repositories at once.",
    )


def add_cache_place(parser: Parser) -> None:
    """``--cache-dir`` and ``--cache-url``, as `open_store` reads them."""
    parser.add_option(
        "--cache-dir",
        metavar="DIR",
        about="Keep answers there; by default in the platform's cache directory.",
    )
    parser.add_option(
        "--cache-url",
        metavar="URL",
        about="Keep answers in a Redis or Valkey instead: redis://[user:password@]host:port/db,"
        " rediss:// for TLS, unix:///path.",
    )


def add_max_age(parser: Parser) -> None:
    """``--max-age``, in seconds."""
    parser.add_option(
        "--max-age",
        convert=parse_duration,
        default=f"{_DEFAULTS.max_age / 3600:.0f}h",
        metavar="DURATION",
        about="A tag that was there is asked for again after so long, changed or not.",
    )


def add_cache_options(parser: Parser) -> None:
    """All of them, as `policy_of` and `store_for` read them."""
    add_cache_place(parser)
    parser.add_flag("--no-cache", about="Keep nothing, and use nothing that is kept.")
    parser.add_option(
        "--ttl",
        convert=parse_duration,
        default=f"{_DEFAULTS.ttl / 60:.0f}m",
        metavar="DURATION",
        about="For so long, an answer is used without asking anything.",
    )
    add_max_age(parser)
    parser.add_option(
        "--stale-if-error",
        convert=parse_duration,
        default="0",
        metavar="DURATION",
        about="If the server fails, use an answer for so long after its time.",
    )
    parser.add_flag("--refresh", about="Ask everything anew, and keep what is learned.")
    parser.add_flag("--offline", about="Ask nothing; exit 4 if anything is not in the cache.")


def policy_of(options: Options, command: str) -> Policy | None:
    """The policy that the options come to; None means no cache at all.

    Of ``--no-cache``, ``--refresh`` and ``--offline`` one is enough; the command line beats the
    environment.

    Raises:
        UsageError: there are two. The message says where each was set.
    """
    is_set = [name for name in ("no_cache", "refresh", "offline") if getattr(options, name)]
    on_command_line = [name for name in is_set if name in options.on_command_line]
    chosen = on_command_line or is_set
    if len(chosen) > 1:
        names = (
            f"--{name.replace('_', '-')}" if on_command_line else f"QUAYCACHE_{name.upper()}"
            for name in chosen
        )
        raise UsageError(command, f"{' and '.join(names)} exclude each other")
    if chosen == ["no_cache"]:
        return None
    return Policy(
        ttl=options.ttl,
        max_age=options.max_age,
        stale_if_error=options.stale_if_error,
        mode=Mode(chosen[0]) if chosen else Mode.NORMAL,
    )


def store_for(options: Options, policy: Policy) -> Store | None:
    """The store, or None if there is no place for one, which is a warning.

    Raises:
        MissingExtraError, SettingsError: as `open_store`; or offline, there is no place for one.
    """
    try:
        return open_store(options)
    except NoHomeError as error:
        if policy.mode is Mode.OFFLINE:
            raise
        LOG.warning("%s; running without a cache", error)
        return None


def open_store(options: Options) -> Store:
    """The store in the directory or at the URL of the options, or in the platform's directory.

    The command line beats the environment; there, and here, one of the two is enough.

    Raises:
        MissingExtraError: the URL needs redis-py.
        NoHomeError: the platform has no directory, because the user has no home.
        SettingsError: there are both, or one is wrong.
    """
    directory, url = options.cache_dir, options.cache_url
    if directory is not None and url is not None:
        given = options.on_command_line.intersection(("cache_dir", "cache_url"))
        if len(given) == 2:
            raise SettingsError("--cache-dir and --cache-url exclude each other")
        if not given:
            raise SettingsError("QUAYCACHE_CACHE_DIR and QUAYCACHE_CACHE_URL exclude each other")
        directory, url = (directory, None) if "cache_dir" in given else (None, url)
    if (store := store_at(directory, url)) is not None:
        return store
    import platformdirs  # only where nobody says which directory

    try:
        return DiskStore(platformdirs.user_cache_dir("quaycache", appauthor=False))
    except RuntimeError:
        raise NoHomeError("there is no home directory for a cache: see --cache-dir") from None
