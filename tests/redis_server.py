"""A real Redis: Debian's `redis-server` on a free port of loopback, with nothing on disk."""

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
    """A running one.

    Attributes:
        url: of its first database.
        socket: where it listens as well.
    """

    url: str
    socket: str
    process: subprocess.Popen[bytes]

    def client(self) -> redis.Redis:
        """Somebody else's connection to it."""
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It accepts connections meanwhile, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(*options: str, port: int | None = None) -> Iterator[RedisServer]:
    """A server of its own while the body runs.

    Args:
        options: more of `redis-server`'s, such as ``--maxmemory``.
        port: None means a free one.
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
