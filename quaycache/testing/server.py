"""The server process: a TLS listener on the loopback interface, and the admin channel."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from quaycache.testing import certificates
from quaycache.testing.admin import Admin
from quaycache.testing.connection import Connections
from quaycache.testing.front_end import FrontEnd
from quaycache.testing.http1 import Http1Connection
from quaycache.testing.http2 import Http2Connection

_BACKLOG = 1024


async def serve() -> None:
    """Serve until standard input ends.

    Standard output gets one line of JSON when the server listens, with its port and the path of
    its CA, and then one line for each command; see `Admin`.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    context, authority = certificates.issue()
    front_end = FrontEnd()
    connections = Connections(front_end)
    admin = Admin(front_end, connections, context)
    listener = await loop.create_server(
        lambda: _ProtocolSelector(connections), "127.0.0.1", 0, ssl=context, backlog=_BACKLOG
    )
    descriptor, ca_file = tempfile.mkstemp(prefix="quaycache-ca-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(authority)
        _write({"port": listener.sockets[0].getsockname()[1], "ca_file": ca_file})
        commands = asyncio.StreamReader(limit=2**26)
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin.buffer
        )
        async for line in commands:
            _write(admin.execute(json.loads(line)))
        pipe.close()
    finally:
        Path(ca_file).unlink(missing_ok=True)
        listener.close()
        connections.abort_all()


class _ProtocolSelector(asyncio.Protocol):
    """Replaces itself with the protocol that the TLS handshake has negotiated."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls = cast("ssl.SSLObject", transport.get_extra_info("ssl_object"))
        kind = Http2Connection if tls.selected_alpn_protocol() == "h2" else Http1Connection
        connection = kind(self._connections)
        cast("asyncio.Transport", transport).set_protocol(connection)
        connection.connection_made(transport)


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(message)}\n")
    sys.stdout.flush()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A client that disconnects at any moment is part of a test, not an error of the server.
    if not isinstance(context.get("exception"), ConnectionError | ssl.SSLError | TimeoutError):
        loop.default_exception_handler(context)
