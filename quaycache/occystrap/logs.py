"""Log records in the manner of occystrap: under its name, printed by its handlers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NAME: Final = "occystrap.quaycache"


def _logger() -> logging.Logger:
    """The logger, with the handler that each of occystrap's modules gives its own."""
    try:
        from shakenfist_utilities import logs
    except ImportError:
        return logging.getLogger(_NAME)
    # It changes logging for the whole process, which occystrap takes back when it begins: this may
    # be imported later, or without it.
    level, logger_class = logging.root.level, logging.getLoggerClass()
    logs.setup_console(_NAME)
    logging.root.setLevel(level)
    logging.setLoggerClass(logger_class)
    return logging.getLogger(_NAME)


LOG: Final = _logger()


class _Forward(logging.Handler):
    """Warnings as they are; what else happens is for ``--verbose``."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno if record.levelno >= logging.WARNING else logging.DEBUG
        LOG.log(level, "%s", record.getMessage())


class _Forwarding:
    """How many calls forward at this moment, and what was before the first of them."""

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
    """While the body runs, the records of quaycache go where occystrap's own go."""
    _FORWARDING.begin()
    try:
        yield
    finally:
        _FORWARDING.end()
