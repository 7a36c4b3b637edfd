"""A proxy on loopback, like one that a job's environment names."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping


class ConnectProxy:
    """A proxy that supports CONNECT, and records the targets.

    Args:
        refuses: Whether to answer every request with 407.
        routes: The address to connect to instead, by the requested host and port.
    """

    def __init__(self, refuses: bool = False, routes: Mapping[str, str] | None = None) -> None:
        self.refuses = refuses
        self.routes = routes or {}
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            self._sockets.append(client)
            head = client.recv(65536).decode("ascii")
            if not head:
                return
            self.asked.append(head.splitlines()[0].split()[1])
            if self.refuses:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                client.close()
                continue
            asked = self.asked[-1]
            host, port = self.routes.get(asked, asked).rsplit(":", 1)
            server = socket.create_connection((host, int(port)))
            self._sockets.append(server)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
                self._threads[-1].start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the other side may have gone
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join(30)
        # One side may keep its half of a connection open for as long as it likes.
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for one in (*self._sockets, self._listener):
            one.close()
