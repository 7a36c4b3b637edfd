"""The options that say where answers are kept, and how old one may be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from quaycache.cli.options import is_on_command_line, option, parsed
from quaycache.freshness import Mode, Policy
from quaycache.settings import parse_duration

_DEFAULTS = Policy()


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """What the options come to.

    Attributes:
        directory: None means no cache at all.
    """

    directory: Path | None
    policy: Policy

    @property
    def offline(self) -> bool:
        """Whether nothing may be asked."""
        return self.policy.mode is Mode.OFFLINE


def cache_dir_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--cache-dir``, by default the platform's."""
    return option(
        "--cache-dir",
        type=click.Path(),
        callback=_directory,
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
        cache_dir: Path,
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
        directory = None if chosen == "no_cache" else cache_dir
        return function(cache=CacheChoice(directory, policy), **others)

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


def _directory(context: click.Context, parameter: click.Parameter, name: str | None) -> Path:
    if name is not None:
        if not name:
            why = "the name is empty; --no-cache keeps nothing"
            raise click.BadParameter(why, context, parameter)
        return Path(name).absolute()
    import platformdirs  # only where nobody says which directory

    return Path(platformdirs.user_cache_dir("quaycache", appauthor=False))
