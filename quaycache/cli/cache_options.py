"""The options that say where answers are kept, and how old one may be."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from quaycache.cli.options import is_on_command_line, option, parsed
from quaycache.errors import SettingsError
from quaycache.freshness import Mode, Policy
from quaycache.settings import parse_duration
from quaycache.store.disk import DiskStore

LOG = logging.getLogger(__name__)

_DEFAULTS = Policy()


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """What the options come to.

    Attributes:
        wanted: whether there is to be a cache at all.
        directory: as it was given; None means the platform's.
    """

    wanted: bool
    directory: str | None
    policy: Policy

    @property
    def offline(self) -> bool:
        """Whether nothing may be asked."""
        return self.policy.mode is Mode.OFFLINE

    def open(self) -> DiskStore | None:
        """The store, or None: none is wanted, or there is no place for one, which is a warning.

        Raises:
            SettingsError: no directory has this name; or offline, there is no place for one.
        """
        if not self.wanted:
            return None
        try:
            return open_store(self.directory)
        except NoHomeError as error:
            if self.offline:
                raise
            LOG.warning("%s; running without a cache", error)
            return None


class NoHomeError(SettingsError):
    """Nobody says where caches go."""


def open_store(directory: str | None) -> DiskStore:
    """The store in a directory.

    Args:
        directory: None means the platform's.

    Raises:
        NoHomeError: the platform has none, because the user has no home.
        SettingsError: no directory has this name.
    """
    if directory is not None:
        return DiskStore(directory)
    import platformdirs  # only where nobody says which directory

    try:
        return DiskStore(platformdirs.user_cache_dir("quaycache", appauthor=False))
    except RuntimeError:
        raise NoHomeError("there is no home directory for a cache: see --cache-dir") from None


def cache_dir_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--cache-dir``; the command gets what was given, or None."""
    return option(
        "--cache-dir",
        metavar="DIR",
        help="Keep answers there; by default in the platform's cache directory.",
    )(function)


def max_age_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--max-age``."""
    return option(
        "--max-age",
        callback=parsed(parse_duration),
        default=f"{_DEFAULTS.max_age / 3600:.0f}h",
        show_default=True,
        metavar="DURATION",
        help="A tag that was there is asked for again after so long, changed or not.",
    )(function)


def cache_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All options of the cache; the command gets a `CacheChoice` as ``cache``."""

    @cache_dir_option
    @option("--no-cache", is_flag=True, help="Keep nothing, and use nothing that is kept.")
    @option(
        "--ttl",
        callback=parsed(parse_duration),
        default=f"{_DEFAULTS.ttl / 60:.0f}m",
        show_default=True,
        metavar="DURATION",
        help="For so long, an answer is used without asking anything.",
    )
    @max_age_option
    @option(
        "--stale-if-error",
        callback=parsed(parse_duration),
        default="0",
        show_default=True,
        metavar="DURATION",
        help="If the server fails, use an answer for so long after its time.",
    )
    @option("--refresh", is_flag=True, help="Ask everything anew, and keep what is learned.")
    @option("--offline", is_flag=True, help="Ask nothing; exit 4 if anything is not in the cache.")
    @functools.wraps(function)
    def command(
        *,
        cache_dir: str | None,
        no_cache: bool,
        ttl: float,
        max_age: float,
        stale_if_error: float,
        refresh: bool,
        offline: bool,
        **others: Any,
    ) -> Any:
        chosen = _one_of(no_cache=no_cache, refresh=refresh, offline=offline)
        mode = Mode(chosen) if chosen in ("refresh", "offline") else Mode.NORMAL
        policy = Policy(ttl=ttl, max_age=max_age, stale_if_error=stale_if_error, mode=mode)
        return function(cache=CacheChoice(chosen != "no_cache", cache_dir, policy), **others)

    return command


def _one_of(**flags: bool) -> str | None:
    """The one that is set; the command line beats the environment.

    Raises:
        click.UsageError: there are two. The message says where each was set.
    """
    context = click.get_current_context()
    is_set = [name for name, value in flags.items() if value]
    on_command_line = [name for name in is_set if is_on_command_line(context, name)]
    chosen = on_command_line or is_set
    if len(chosen) > 1:
        names = (
            f"--{name.replace('_', '-')}" if on_command_line else f"QUAYCACHE_{name.upper()}"
            for name in chosen
        )
        raise click.UsageError(f"{' and '.join(names)} exclude each other")
    return chosen[0] if chosen else None
