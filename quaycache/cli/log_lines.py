"""Log records as lines on stderr; apart from `logs`, because most runs have none."""

from __future__ import annotations

import logging

from quaycache.cli.output import complain


class LineHandler(logging.Handler):
    """Looks stderr up at each record: while progress bars are drawn, it is theirs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        complain(f"{record.levelname.lower()}: {record.getMessage()}")


def show_from(level: str) -> None:
    """Print the records of quaycache from `level` on."""
    logger = logging.getLogger("quaycache")
    logger.handlers = [LineHandler()]
    logger.setLevel(level)
    logger.propagate = False
