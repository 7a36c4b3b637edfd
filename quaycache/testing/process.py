"""The parent's view of the server process: start it, send commands, stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

from quaycache.errors import MissingExtraError
from quaycache.testing.errors import EmbeddedQuayError, RegistryError

_STOP_SECONDS = 10.0
_ERRORS = {error.__name__: error for error in (RegistryError, TypeError, ValueError)}


class ServerProcess:
    """A running ``python -m quaycache.testing``, with its standard input and output as a channel.

    It ends when its standard input ends, so it cannot outlive this process, even a killed one.

    Attributes:
        port: The TCP port of the server.
        ca_file: The path of its CA certificate in PEM.

    Raises:
        MissingExtraError: If the extra ``testing`` is not installed.
        EmbeddedQuayError: If the server ended before it listened.
    """

    def __init__(self) -> None:
        self.port = 0
        self.ca_file = ""
        # The child finds the same modules as this process, for example on a path that pytest
        # inserted. With -m, Python searches the working directory first; "/" contains no modules.
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        self._lock = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "quaycache.testing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C must reach only the parent; the child ends with its standard input.
            start_new_session=True,
        )
        self._commands = cast("IO[bytes]", self._child.stdin)
        self._replies = cast("IO[bytes]", self._child.stdout)
        try:
            started = self._read()
            if "missing" in started:
                raise MissingExtraError(
                    f"the embedded Quay needs {started['missing']}: "
                    "pip install 'quaycache[testing]'"
                )
        except BaseException:
            self.stop()
            raise
        self.port = started["port"]
        self.ca_file = started["ca_file"]

    def ask(self, command: dict[str, Any]) -> Any:
        """Send a command and return its value.

        Raises:
            RegistryError: If the registry refused the command.
            TypeError: If an argument is missing, unknown or of a wrong type.
            ValueError: If an argument is out of range.
            EmbeddedQuayError: If the server has ended.
        """
        line = json.dumps(command, default=_as_json).encode() + b"\n"
        with self._lock:
            try:
                self._commands.write(line)
                self._commands.flush()
            except (OSError, ValueError):
                raise EmbeddedQuayError("the embedded Quay has ended") from None
            reply = self._read()
        if "error" in reply:
            raise _ERRORS[reply["error"]](reply["message"])
        return reply["value"]

    def stop(self) -> None:
        """End the process and wait for it; a second call does nothing."""
        # Closing tries to flush a command that was only partly sent, and fails.
        with contextlib.suppress(OSError):
            self._commands.close()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._replies.close()
        if self.ca_file:
            # A server that was killed has not removed it.
            Path(self.ca_file).unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise EmbeddedQuayError("the embedded Quay has ended; see its standard error")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _as_json(value: object) -> object:
    """Return a dataclass as a dict, and any other iterable as a list."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{value!r} cannot be sent to the embedded Quay")
