"""Loggers that import `logging` when there is something to say, and somebody to hear it.

A run whose answers are all known says nothing, and is over before `logging` would be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_setups: list[Callable[[], None]] = []


def set_up_with(setup: Callable[[], None]) -> None:
    """Have `setup` called before the next record of any of these loggers."""
    _setups[:] = [setup]


class LazyLogger:
    """As `logging.Logger`, with the methods that are needed here."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *arguments: object) -> None:
        """For each repository and request."""
        if self._is_heard():
            self._logger().debug(message, *arguments)

    def info(self, message: str, *arguments: object) -> None:
        """What happens."""
        if self._is_heard():
            self._logger().info(message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        """What the user should know."""
        self._logger().warning(message, *arguments)

    def is_enabled_for_debug(self) -> bool:
        """Whether `debug` leads to anything."""
        return self._is_heard() and self._logger().isEnabledFor(10)

    @staticmethod
    def _is_heard() -> bool:
        # Who has not imported it cannot have asked for more than its warnings.
        return "logging" in sys.modules

    def _logger(self) -> logging.Logger:
        import logging

        while _setups:
            _setups.pop()()
        return logging.getLogger(self._name)
