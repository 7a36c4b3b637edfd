"""The commands of the admin channel, one JSON object each."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any

from quaycache.testing import certificates
from quaycache.testing.connection import Connections
from quaycache.testing.errors import RegistryError
from quaycache.testing.front_end import FrontEnd
from quaycache.testing.registry import Registry

REGISTRY_METHODS = frozenset(
    name for name, value in vars(Registry).items() if callable(value) and not name.startswith("_")
)
"""What can be called on the registry from outside: every public method of `Registry`."""


class Admin:
    """Carries out commands, for the process that started this one."""

    def __init__(
        self, front_end: FrontEnd, connections: Connections, context: ssl.SSLContext
    ) -> None:
        self._front_end = front_end
        self._connections = connections
        self._context = context
        self._reset()

    def execute(self, command: dict[str, Any]) -> dict[str, Any]:
        """The reply to one command: ``{"value": ...}``, or ``{"error": "<type>", "message": ...}``.

        A command is ``{"do": "registry", "method": M, "args": [...], "kwargs": {...}}``,
        ``{"do": "configure", "changes": {...}}``, or "counters", "reset_counters" or "reset".
        """
        try:
            return {"value": self._carry_out(command)}
        except (RegistryError, TypeError, ValueError) as error:
            return {"error": type(error).__name__, "message": str(error)}

    def _carry_out(self, command: dict[str, Any]) -> object:
        match command:
            case {"do": "registry", "method": method, "args": args, "kwargs": kwargs}:
                result: object = getattr(self._front_end.registry, method)(*args, **kwargs)
                return result
            case {"do": "counters"}:
                counters = self._front_end.tally.read(len(self._connections.open))
                return dataclasses.asdict(counters)
            case {"do": "configure", "changes": changes}:
                self._configure(changes)
            case {"do": "reset_counters"}:
                self._front_end.reset_counters()
            case {"do": "reset"}:
                self._reset()
        return None

    def _configure(self, changes: dict[str, Any]) -> None:
        self._front_end.configure(changes)
        certificates.offer(self._context, http2=self._front_end.settings.http2)
        self._connections.restart_idle_timers()

    def _reset(self) -> None:
        # Connections carry over neither their requests nor their share of a limit.
        self._connections.abort_all()
        self._front_end.reset()
        certificates.offer(self._context, http2=self._front_end.settings.http2)
