"""The server process as seen from the one that started it: start, ask, stop."""

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
    """A running ``python -m quaycache.testing``, spoken to over its standard input and output.

    It ends when its standard input does, so it cannot outlive this process, however this ends.

    Attributes:
        port: that it listens on.
        ca_file: the PEM of its CA.

    Raises:
        MissingExtraError: the extra ``testing`` is not installed.
        EmbeddedQuayError: it ended before it listened.
    """

    def __init__(self) -> None:
        self.port = 0
        self.ca_file = ""
        # The child imports what this process would: an editable install, a path that pytest
        # inserted. Its working directory, which Python puts before all of that, is harmless.
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        self._lock = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "quaycache.testing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C is for the parent; the child ends with its standard input.
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
        """The value that the server returns for a command.

        Raises:
            RegistryError, TypeError or ValueError: what the command raised there.
            EmbeddedQuayError: the server has ended.
        """
        line = json.dumps(command, default=_plain).encode() + b"\n"
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
        """Ends the process and waits for it; does nothing the second time."""
        # Unsent bytes of a command that failed half way cannot be flushed any more.
        with contextlib.suppress(OSError):
            self._commands.close()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._replies.close()
        if self.ca_file:
            # The server removes it, unless it was killed.
            Path(self.ca_file).unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise EmbeddedQuayError("the embedded Quay has ended; standard error may say why")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _plain(value: object) -> object:
    """What JSON has for a dataclass (an object) and for any other collection (a list)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{value!r} cannot be sent to the embedded Quay")
