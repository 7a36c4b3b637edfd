"""The command ``quaycache``. Each error ends it with one line on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

from quaycache.cli import exits
from quaycache.cli.commands import Group
from quaycache.cli.output import print_err, replace_closed_streams
from quaycache.cli.parser import UsageError
from quaycache.errors import MissingExtraError, QuaycacheError, QueryError, SettingsError
from quaycache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = Group(
    "quaycache",
    "Find the repositories of a Quay namespace that carry a tag, and the digest in each.",
    {
        "resolve": (
            "Print the repositories that carry a tag.",
            "quaycache.cli.resolve",
            "command",
        ),
        "cache": (
            "Show and clean up the answers stored between runs.",
            "quaycache.cli.cache",
            "group",
        ),
        "demo": (
            "Run against an embedded Quay, without a network.",
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
        # The reader has gone away. Without this, Python flushes again at exit and reports it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.SUCCESS
    except OSError as error:
        code = _fail(f"{error.strerror or error}", exits.FAILURE)
    exits.leave(code)


def _fail(message: str, code: int) -> int:
    # The user may have typed a URL with a password where no URL is expected. Text before a
    # digest is not secret, nor is the placeholder that explains the form of a URL.
    user_part = r"://(?!\[user:password@\])\S*@(?!sha\d+:)"
    shown = re.sub(user_part, "://***@", " ".join(message.split()))
    print_err(f"error: {shown}")
    return code
