"""The request rate of the embedded Quay, which must exceed the rates of the other benchmarks.

Run as ``python benchmarks/embedded_server.py``. Raw HTTP/2 clients on asyncio, in a separate
process, send requests to the tag endpoint over many TLS connections, with one request in flight on
each, like the threaded client of this library. The output is the rate of each round and the median.

The load generator does not parse responses: it waits for END_STREAM and counts. It shares the CPUs
with the server, so the result is a lower bound of the server's rate.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import ssl
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version

from hpack import Encoder
from hyperframe.frame import HeadersFrame, SettingsFrame, WindowUpdateFrame

from quaycache.testing import EmbeddedQuay

_FRAME_HEADER = 9
_END_STREAM = 0x1
_HEADERS, _DATA, _SETTINGS = 0x1, 0x0, 0x4
_REQUESTS_PER_CONNECTION = 900  # fewer than the 1,000 after which Quay ends a connection


class _Client(asyncio.Protocol):
    """One connection, which sends each request after the answer to the previous one."""

    def __init__(self, targets: list[str], done: asyncio.Future[None]) -> None:
        self._targets = targets
        self._done = done
        self._buffer = b""
        self._sent = 0
        self._encoder = Encoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        window = WindowUpdateFrame(0, window_increment=2**30)
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize() + window.serialize()
        )
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _FRAME_HEADER:
            size = _FRAME_HEADER + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < size:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            self._buffer = self._buffer[size:]
            if kind == _SETTINGS and not flags:
                self._transport.write(SettingsFrame(0, flags=["ACK"]).serialize())
            elif kind in (_HEADERS, _DATA) and flags & _END_STREAM:
                self._answered()

    def _answered(self) -> None:
        if self._sent < len(self._targets):
            self._send()
        else:
            self._done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        headers = [
            (":method", "GET"),
            (":authority", "127.0.0.1"),
            (":scheme", "https"),
            (":path", self._targets[self._sent]),
            ("accept", "*/*"),
            ("user-agent", "embedded_server.py"),
        ]
        frame = HeadersFrame(
            2 * self._sent + 1,
            data=self._encoder.encode(headers),
            flags=["END_STREAM", "END_HEADERS"],
        )
        self._sent += 1
        self._transport.write(frame.serialize())


async def _load(port: int, ca_file: str, connections: int, requests: int) -> float:
    """Return the seconds that all requests took, including the TLS handshakes."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    each = requests // connections
    finished = []
    begun = time.perf_counter()
    for number in range(connections):
        targets = [
            f"/api/v1/repository/bench/repository-{(number * each + i) % 1000:05d}/tag/"
            "?specificTag=latest&onlyActiveTags=true&limit=1"
            for i in range(each)
        ]
        done: asyncio.Future[None] = loop.create_future()
        finished.append(done)
        await loop.create_connection(
            partial(_Client, targets, done), "127.0.0.1", port, ssl=context
        )
    await asyncio.gather(*finished)
    return time.perf_counter() - begun


def _round(port: int, ca_file: str, connections: int, requests: int) -> float:
    return asyncio.run(_load(port, ca_file, connections, requests))


def main() -> None:
    """Print the requests per second of each round, and their median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=int, default=16_000, help="requests per round")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    assert chosen.requests // chosen.connections <= _REQUESTS_PER_CONNECTION
    print(
        f"Python {platform.python_version()}, h2 {version('h2')}, {ssl.OPENSSL_VERSION}, "
        f"{os.cpu_count()} cores, {chosen.connections} connections (HTTP/2, TLS), "
        f"{chosen.requests} requests per round"
    )
    rates = []
    with EmbeddedQuay() as quay, ProcessPoolExecutor(1) as clients:
        quay.registry.populate("bench", 1000)
        for number in range(chosen.rounds):
            seconds = clients.submit(
                _round,
                int(quay.url.rpartition(":")[2]),
                quay.ca_file,
                chosen.connections,
                chosen.requests,
            )
            rates.append(chosen.requests / seconds.result())
            print(f"round {number + 1}: {rates[-1]:,.0f} requests/s")
        assert set(quay.counters().by_status) == {200}
    print(f"median: {statistics.median(rates):,.0f} requests/s")


if __name__ == "__main__":
    main()
