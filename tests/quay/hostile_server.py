"""A server over HTTP/2 and TLS that does with frames what the embedded Quay never does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from quaycache.testing.certificates import issue, offer

TAG = b'{"tags": [], "page": 1, "has_additional": false}'


class Served:
    """One request as the server sees it: its connection, and ways to answer."""

    def __init__(self, tls: ssl.SSLSocket, connection: H2Connection, stream: int) -> None:
        self.tls = tls
        self.connection = connection
        self.stream = stream

    def answer(self, more: bytes = b"") -> None:
        """Answer that the tag is absent, and send more bytes in the same write."""
        self.connection.send_headers(self.stream, [(":status", "200")])
        self.connection.send_data(self.stream, TAG, end_stream=True)
        self.tls.sendall(self.connection.data_to_send() + more)

    def flush(self) -> None:
        """Send what h2 has prepared."""
        self.tls.sendall(self.connection.data_to_send())


class HostileServer:
    """A server that runs each connection in its own thread, until the client ends it.

    Args:
        serve: Called with each request and its number, counted over all connections.
    """

    def __init__(self, serve: Callable[[Served, int], None]) -> None:
        self._serve = serve
        self.requests = 0
        context, authority = issue()
        offer(context, http2=True)
        self._context = context
        self.ssl_context = ssl.create_default_context(cadata=authority.decode())
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._closed = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Accept no more, and wait until the connections end; close the client first."""
        self._closed = True
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            plain, _ = self._listener.accept()
            if self._closed:
                plain.close()
                return
            self._threads.append(threading.Thread(target=self._talk, args=(plain,)))
            self._threads[-1].start()

    def _talk(self, plain: socket.socket) -> None:
        # The client may close the connection at any moment, and the system may report it late.
        plain.settimeout(10)
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as tls,
        ):
            connection = H2Connection(H2Configuration(client_side=False))
            connection.initiate_connection()
            tls.sendall(connection.data_to_send())
            while data := tls.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, StreamEnded):
                        self.requests += 1
                        self._serve(Served(tls, connection, event.stream_id), self.requests)
                tls.sendall(connection.data_to_send())
