"""Log records of quaycache as lines on stderr."""

from __future__ import annotations

import contextlib
import logging

import click


class _Lines(logging.Handler):
    """Looks stderr up at each record: while progress bars are drawn, it is theirs."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # stderr is closed: there is nobody to tell
            click.echo(f"{record.levelname.lower()}: {record.getMessage()}", err=True)


def show_logs(verbose: int, quiet: bool) -> None:
    """Warnings, and with ``-v`` what happens, with ``-vv`` each repository; with ``-q`` nothing."""
    level = logging.ERROR if quiet else logging.WARNING
    if verbose:
        level = logging.INFO if verbose == 1 else logging.DEBUG
    logger = logging.getLogger("quaycache")
    logger.handlers = [_Lines()]
    logger.setLevel(level)
    logger.propagate = False
