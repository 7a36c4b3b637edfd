"""Log records in occystrap's style: under its logger, and printed by its handlers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NAME: Final = "occystrap.quaycache"


def _logger() -> logging.Logger:
    """Return the logger, with the same handler as the loggers of occystrap's modules."""
    try:
        from shakenfist_utilities import logs
    except ImportError:
        return logging.getLogger(_NAME)
    # setup_console() changes logging for the whole process. occystrap undoes that when it starts,
    # but this module may be imported later, or without occystrap.
    level, logger_class = logging.root.level, logging.getLoggerClass()
    logs.setup_console(_NAME)
    logging.root.setLevel(level)
    logging.setLoggerClass(logger_class)
    return logging.getLogger(_NAME)


LOG: Final = _logger()


class _Forward(logging.Handler):
    """Forwards warnings unchanged, and other records as debug records for ``--verbose``."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.WARNING else logging.DEBUG
        LOG.log(level, "%s", record.getMessage())


class _Forwarding:
    """Counts the active calls, and restores quaycache's logger after the last of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._handler = _Forward()
        self._before = (logging.NOTSET, True)

    def begin(self) -> None:
        logger = logging.getLogger("quaycache")
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                self._before = (logger.level, logger.propagate)
                logger.addHandler(self._handler)
                logger.propagate = False
                verbose = LOG.isEnabledFor(logging.DEBUG)
                logger.setLevel(logging.DEBUG if verbose else logging.WARNING)

    def end(self) -> None:
        logger = logging.getLogger("quaycache")
        with self._lock:
            self._calls -= 1
            if self._calls == 0:
                logger.removeHandler(self._handler)
                logger.level, logger.propagate = self._before


_FORWARDING: Final = _Forwarding()


@contextmanager
def forwarded_logs() -> Iterator[None]:
    """Send the log records of quaycache to occystrap's handlers while the body runs."""
    _FORWARDING.begin()
    try:
        yield
    finally:
        _FORWARDING.end()
