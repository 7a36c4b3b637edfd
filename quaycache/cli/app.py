"""The command ``quaycache`` and what becomes of errors: one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from quaycache.cli import exits
from quaycache.errors import MissingExtraError, QuaycacheError, QueryError, SettingsError
from quaycache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


# Imported when they are called for: most runs want one, and want it soon.
_COMMANDS = ("resolve", "cache", "demo")


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"quaycache.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Click would print an empty line first.
            raise click.Abort from None


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="quaycache %(version)s")
def app() -> None:
    """Which repositories of a Quay namespace carry a tag right now, and at which digest?"""


def run(arguments: Sequence[str]) -> NoReturn:
    """Run the command line and exit."""
    try:
        code = app.main(list(arguments), prog_name="quaycache", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = exits.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "quaycache"
        message = error.format_message().rstrip(".")
        code = _fail(f"{message}; see '{where} --help'", exits.USAGE)
    except click.ClickException as error:
        code = _fail(error.format_message(), error.exit_code)
    except (QueryError, SettingsError, MissingExtraError) as error:
        code = _fail(str(error), exits.USAGE)
    except QuaycacheError as error:
        code = _fail(str(error), exits.FAILURE)
    except click.Abort:
        code = _fail("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        # Who reads has had enough. Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.SUCCESS
    except OSError as error:
        code = _fail(f"{error.strerror or error}", exits.FAILURE)
    exits.leave(code or exits.SUCCESS)


def _fail(message: str, code: int) -> int:
    line = " ".join(message.split())
    with contextlib.suppress(OSError):  # stderr is closed: the exit code is all that is left
        click.echo(f"error: {line}", err=True)
    return code
