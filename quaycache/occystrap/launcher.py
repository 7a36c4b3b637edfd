"""occystrap's command line with options for a cache, on an unmodified occystrap.

While a command runs with ``--cache-dir`` or ``--cache-url``, the function
``occystrap.quay.resolve_quay_uri`` is replaced with the one of `quaycache.occystrap.bridge`. The
files of occystrap do not change.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from quaycache.cli import exits
from quaycache.errors import MissingExtraError, SettingsError
from quaycache.freshness import Policy
from quaycache.settings import parse_duration

if TYPE_CHECKING:
    import click

_PROGRAM: Final = "occystrap-quaycache"
_OLDEST: Final = "0.4.12"
_DEFAULT_TTL: Final = f"{Policy().ttl / 60:.0f}m"


def main() -> NoReturn:
    """Run occystrap's command line and exit with its code."""
    try:
        cli = launcher_cli()
    except (MissingExtraError, SettingsError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(exits.USAGE)
    try:
        cli(prog_name=_PROGRAM)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        exits.leave(end.code or exits.SUCCESS)
    exits.leave(exits.SUCCESS)


def launcher_cli() -> click.Group:
    """Return a copy of occystrap's click group with the options for a cache.

    If occystrap's own group has ``--cache-dir``, return that group unchanged.

    Raises:
        MissingExtraError: If occystrap is not installed.
        SettingsError: If the installed version is unsuitable. The message names a suitable one.
    """
    installed, main_module, quay = _hooks()
    original: Any = getattr(main_module, "cli", None)
    if not (
        callable(getattr(quay, "resolve_quay_uri", None))
        and getattr(main_module, "quay_module", None) is quay
        and hasattr(original, "commands")
    ):
        raise SettingsError(
            f"{_PROGRAM} needs occystrap {_OLDEST} or newer, with"
            f" occystrap.quay.resolve_quay_uri; the installed version is {installed}"
        )
    if any("--cache-dir" in parameter.opts for parameter in original.params):
        return cast("click.Group", original)
    cli: click.Group = copy.copy(original)
    cli.params = [*original.params, *_options()]
    cli.commands = dict(original.commands)
    cli.callback = _with_cache(original.callback, quay)
    return cli


def _hooks() -> tuple[str, Any, Any]:
    """Return the version of occystrap and the two modules to patch; None for a missing module."""
    try:
        installed = version("occystrap")
    except PackageNotFoundError:
        raise MissingExtraError(
            f"{_PROGRAM} needs occystrap: pip install 'quaycache[occystrap]'"
        ) from None
    try:
        return installed, import_module("occystrap.main"), import_module("occystrap.quay")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("occystrap"):
            raise
        return installed, None, None


def _options() -> list[click.Option]:
    import click

    def seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
        try:
            return parse_duration(text)
        except SettingsError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return [
        click.Option(
            ["--cache-dir"],
            envvar="OCCYSTRAP_CACHE_DIR",
            metavar="DIR",
            help="Directory that stores the answers for quay:// URIs (default: no cache)",
        ),
        click.Option(
            ["--cache-url"],
            envvar="OCCYSTRAP_CACHE_URL",
            metavar="URL",
            help="Redis or Valkey that stores them instead, redis://host:port/db",
        ),
        click.Option(
            ["--cache-ttl"],
            envvar="OCCYSTRAP_CACHE_TTL",
            callback=seconds,
            default=_DEFAULT_TTL,
            metavar="DURATION",
            help=f"How long answers are used without a request (default: {_DEFAULT_TTL})",
        ),
    ]


def _with_cache(callback: Callable[..., Any], quay: Any) -> Callable[..., Any]:
    """Return a callback that calls the group's own, then patches occystrap until the group ends."""

    @functools.wraps(callback)
    def run(
        *args: Any, cache_dir: str | None, cache_url: str | None, cache_ttl: float, **kwargs: Any
    ) -> Any:
        import click

        # Import before the callback: occystrap's --verbose sets the level of existing loggers.
        from quaycache.occystrap.bridge import resolve_quay_uri

        result = callback(*args, **kwargs)
        if cache_dir and cache_url:
            context = click.get_current_context()
            given = click.core.ParameterSource.COMMANDLINE
            if context.get_parameter_source("cache_dir") is not given:
                cache_dir = None
            elif context.get_parameter_source("cache_url") is not given:
                cache_url = None
        if cache_dir or cache_url:
            # Before 0.4.13, occystrap has no --retries and no --rate-limit, and ignores -j.
            settings = {name: kwargs[name] for name in ("retries", "rate_limit") if name in kwargs}
            resolve = functools.partial(
                resolve_quay_uri,
                max_workers=kwargs["parallel"],
                cache_dir=cache_dir,
                cache_url=cache_url,
                cache_ttl=cache_ttl,
                error=quay.QuayAPIError,
                **settings,
            )
            click.get_current_context().with_resource(_patched(quay, resolve))
        return result

    return run


@contextmanager
def _patched(quay: Any, resolve: Callable[..., Any]) -> Iterator[None]:
    before = quay.resolve_quay_uri
    quay.resolve_quay_uri = resolve
    try:
        yield
    finally:
        quay.resolve_quay_uri = before
