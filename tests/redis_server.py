"""A real Redis: Debian's `redis-server` on a free loopback port, without persistence."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from tests import programs


@dataclass(frozen=True)
class RedisServer:
    """A running server.

    Attributes:
        url: The URL of its first database.
        socket: The path of its Unix socket.
    """

    url: str
    socket: str
    process: subprocess.Popen[bytes]

    def client(self) -> redis.Redis:
        """Return a connection of another program."""
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Stop the server while the body runs: it accepts connections and never replies."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(*options: str, port: int | None = None) -> Iterator[RedisServer]:
    """Run a server of the test's own while the body runs.

    Args:
        options: Further options of `redis-server`, such as ``--maxmemory``.
        port: The port; None means a free one.
    """
    port = port or programs.free_port()
    with tempfile.TemporaryDirectory() as directory:
        socket = f"{directory}/redis.sock"
        command = [
            programs.required("redis-server"),
            *("--port", str(port), "--bind", "127.0.0.1", "--unixsocket", socket),
            *("--save", "", "--appendonly", "no", "--dir", directory),
            *options,
        ]
        with programs.running(command, port) as process:
            yield RedisServer(f"redis://127.0.0.1:{port}/0", socket, process)
