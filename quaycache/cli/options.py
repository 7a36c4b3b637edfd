"""Options that several commands share; each is also read from ``QUAYCACHE_...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from quaycache.errors import SettingsError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, Any], T | None]:
    """A click callback from one of our parsers, whose error becomes click's."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        if text is None:
            return None
        try:
            return parse(text)
        except SettingsError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return callback


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """`click.option` that is also read from the environment, by the name of its long form."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "QUAYCACHE_" + long.removeprefix("--").upper().replace("-", "_")
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


def is_on_command_line(context: click.Context, parameter: str) -> bool:
    """Whether a parameter was given there, and not in the environment or by default."""
    return context.get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def parallel(default: int) -> Callable[[F], F]:
    """``-j/--parallel``."""
    return option(
        "-j",
        "--parallel",
        type=click.IntRange(1, 256),
        default=default,
        show_default=True,
        metavar="N",
        help="Check N repositories at once.",
    )
