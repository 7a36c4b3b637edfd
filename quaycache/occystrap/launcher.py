"""occystrap's own command with a few options more, on an unmodified occystrap.

While one of its commands runs with ``--cache-dir`` or ``--cache-url``,
``occystrap.quay.resolve_quay_uri`` is the one of `quaycache.occystrap.bridge`; afterwards it is its
own again. Nothing of it is changed on disk.
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
    """Run occystrap's command line and exit as it does."""
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
    """A copy of occystrap's click group that takes ``--cache-dir`` and its like.

    If occystrap's own takes ``--cache-dir``, it is that, untouched.

    Raises:
        MissingExtraError: occystrap is not installed.
        SettingsError: the installed one has not what is needed; the message says which has.
    """
    installed, main_module, quay = _hooks()
    original: Any = getattr(main_module, "cli", None)
    if not (
        callable(getattr(quay, "resolve_quay_uri", None))
        and getattr(main_module, "quay_module", None) is quay
        and hasattr(original, "commands")
    ):
        raise SettingsError(
            f"{_PROGRAM} needs an occystrap that has occystrap.quay.resolve_quay_uri, {_OLDEST}"
            f" or newer; installed is {installed}"
        )
    if any("--cache-dir" in parameter.opts for parameter in original.params):
        return cast("click.Group", original)
    cli: click.Group = copy.copy(original)
    cli.params = [*original.params, *_options()]
    cli.commands = dict(original.commands)
    cli.callback = _with_cache(original.callback, quay)
    return cli


def _hooks() -> tuple[str, Any, Any]:
    """The version of occystrap, and its modules that are called; None where there is none."""
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
            help="Directory for what quay:// URIs have resolved to (default: none is kept)",
        ),
        click.Option(
            ["--cache-url"],
            envvar="OCCYSTRAP_CACHE_URL",
            metavar="URL",
            help="Redis or Valkey for the same, redis://host:port/db (default: none)",
        ),
        click.Option(
            ["--cache-ttl"],
            envvar="OCCYSTRAP_CACHE_TTL",
            callback=seconds,
            default=_DEFAULT_TTL,
            metavar="DURATION",
            help=f"How long that is used without asking quay.io (default: {_DEFAULT_TTL})",
        ),
    ]


def _with_cache(callback: Callable[..., Any], quay: Any) -> Callable[..., Any]:
    """The group's own callback, and after it the exchange until its context is closed."""

    @functools.wraps(callback)
    def run(
        *args: Any, cache_dir: str | None, cache_url: str | None, cache_ttl: float, **kwargs: Any
    ) -> Any:
        import click

        # Imported now: occystrap's --verbose sets the level of the loggers that are there.
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
            # Before 0.4.13 there are no retries and no rate limit, and -j is not passed on.
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
            click.get_current_context().with_resource(_exchanged(quay, resolve))
        return result

    return run


@contextmanager
def _exchanged(quay: Any, resolve: Callable[..., Any]) -> Iterator[None]:
    before = quay.resolve_quay_uri
    quay.resolve_quay_uri = resolve
    try:
        yield
    finally:
        quay.resolve_quay_uri = before
