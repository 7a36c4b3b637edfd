"""What most runs do without: loggers that import `logging` late, patterns that compile late.

A run that answers everything from the cache logs nothing, and ends in less time than the import of
`logging` takes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, AnyStr, cast

if TYPE_CHECKING:
    import logging

_setups: list[Callable[[], None]] = []


def set_up_with(setup: Callable[[], None]) -> None:
    """Call *setup* before the next record of any of these loggers."""
    _setups[:] = [setup]


class LazyLogger:
    """A `logging.Logger` with few methods, created at the first record."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *arguments: object) -> None:
        """Log an event of one repository or request."""
        if self._is_imported():
            self._logger().debug(message, *arguments)

    def info(self, message: str, *arguments: object) -> None:
        """Log the progress of a run."""
        if self._is_imported():
            self._logger().info(message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        """Log what the user should know."""
        self._logger().warning(message, *arguments)

    def is_enabled_for_debug(self) -> bool:
        """Return whether `debug` logs anything."""
        return self._is_imported() and self._logger().isEnabledFor(10)

    @staticmethod
    def _is_imported() -> bool:
        # A program that has not imported `logging` cannot have enabled more than its warnings.
        return "logging" in sys.modules

    def _logger(self) -> logging.Logger:
        import logging

        while _setups:
            _setups.pop()()
        return logging.getLogger(self._name)


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return the pattern as `re.compile` does, but compile it at its first use."""
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))


class _LazyPattern:
    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._pattern = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, value)
        return value
