"""The commands of the admin channel, each one JSON object."""

from __future__ import annotations

import dataclasses
import ssl
from typing import Any

from quaycache.testing import certificates
from quaycache.testing.connection import Connections
from quaycache.testing.errors import RegistryError
from quaycache.testing.front_end import FrontEnd


class Admin:
    """Executor of the commands that the parent process sends."""

    def __init__(
        self, front_end: FrontEnd, connections: Connections, context: ssl.SSLContext
    ) -> None:
        self._front_end = front_end
        self._connections = connections
        self._context = context
        self._reset()

    def execute(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to one command: ``{"value": ...}``, or ``{"error": T, "message": ...}``.

        A command is ``{"do": "registry", "method": M, "args": [...], "kwargs": {...}}``,
        ``{"do": "configure", "changes": {...}}``, or ``{"do": C}`` where C is ``counters``,
        ``reset_counters`` or ``reset``.
        """
        try:
            return {"value": self._dispatch(command)}
        except (RegistryError, TypeError, ValueError) as error:
            return {"error": type(error).__name__, "message": str(error)}

    def _dispatch(self, command: dict[str, Any]) -> object:
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
        # An old connection would carry over its requests and its use of a rate limit.
        self._connections.abort_all()
        self._front_end.reset()
        certificates.offer(self._context, http2=self._front_end.settings.http2)
