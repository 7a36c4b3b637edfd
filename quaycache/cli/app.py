"""The command ``quaycache`` and what becomes of errors: one line on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

from quaycache.cli import exits
from quaycache.cli.commands import Group
from quaycache.cli.output import complain, replace_closed_streams
from quaycache.cli.parser import UsageError
from quaycache.errors import MissingExtraError, QuaycacheError, QueryError, SettingsError
from quaycache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = Group(
    "quaycache",
    "Which repositories of a Quay namespace carry a tag right now, and at which digest?",
    {
        "resolve": (
            "Print the repositories that carry a tag.",
            "quaycache.cli.resolve",
            "command",
        ),
        "cache": ("See and tidy what is kept between runs.", "quaycache.cli.cache", "group"),
        "demo": (
            "Show what it does against an embedded Quay, without a network.",
            "quaycache.cli.demo",
            "command",
        ),
    },
    version=f"quaycache {__version__}",
)


def run(arguments: Sequence[str]) -> NoReturn:
    """Run the command line and exit."""
    try:
        replace_closed_streams()
        code = COMMANDS.run(arguments)
    except UsageError as error:
        code = _fail(f"{error}; see '{error.command} --help'", exits.USAGE)
    except (QueryError, SettingsError, MissingExtraError) as error:
        code = _fail(str(error), exits.USAGE)
    except QuaycacheError as error:
        code = _fail(str(error), exits.FAILURE)
    except KeyboardInterrupt:
        code = _fail("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        # Who reads has had enough. Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.SUCCESS
    except OSError as error:
        code = _fail(f"{error.strerror or error}", exits.FAILURE)
    exits.leave(code)


def _fail(message: str, code: int) -> int:
    # The user may have typed a URL with a password where none is expected. What precedes a
    # digest, and the form of a URL in our own text, are not secret.
    secret = r"://(?!\[user:password@\])\S*@(?!sha\d+:)"
    shown = re.sub(secret, "://***@", " ".join(message.split()))
    complain(f"error: {shown}")
    return code
