"""Log records as lines on stderr; separate from `logs`, because most runs do not log."""

from __future__ import annotations

import logging

from quaycache.cli.output import print_err


class LineHandler(logging.Handler):
    """Prints records on the current ``sys.stderr``, which progress bars replace while they run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print_err(f"{record.levelname.lower()}: {record.getMessage()}")


def show_from(level: str) -> None:
    """Print quaycache's log records of *level* and above."""
    logger = logging.getLogger("quaycache")
    logger.handlers = [LineHandler()]
    logger.setLevel(level)
    logger.propagate = False
