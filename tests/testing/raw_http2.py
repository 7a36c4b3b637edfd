"""A bare HTTP/2 client on a blocking socket, which records every frame and can violate rules."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import TypeVar

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from quaycache.testing import EmbeddedQuay

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER = 9
# A hang guard in seconds; a working server never reaches it.
_PATIENCE = 60

_F = TypeVar("_F", bound=Frame)


def connect_tls(quay: EmbeddedQuay, *protocols: str) -> ssl.SSLSocket:
    """Return a TLS connection to `quay` that offers these protocols by ALPN."""
    context = quay.ssl_context()
    context.set_alpn_protocols(protocols)
    port = int(quay.url.rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


class RawHttp2:
    """One connection, with all frames that it has received.

    Args:
        quay: The server.
        window: The flow control window of each stream, in bytes.
    """

    def __init__(self, quay: EmbeddedQuay, *, window: int = 2**20) -> None:
        self.frames: list[Frame] = []
        self._socket = connect_tls(quay, "h2")
        self._buffer = b""
        self._encoder = Encoder()
        self._next_stream = 1
        self._socket.sendall(
            _PREFACE
            + SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: window}).serialize()
            + WindowUpdateFrame(0, 2**30).serialize()
        )

    def __enter__(self) -> RawHttp2:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, *frames: Frame) -> None:
        self._socket.sendall(b"".join(frame.serialize() for frame in frames))

    def request(self, path: str) -> int:
        """Send a GET and return its stream."""
        return self.request_all(path, 1)[0]

    def request_all(self, path: str, count: int) -> list[int]:
        """Send `count` GETs in one write and return their streams."""
        streams = [self._next_stream + 2 * number for number in range(count)]
        self._next_stream += 2 * count
        self.send(*(self.headers(stream, path) for stream in streams))
        return streams

    def headers(self, stream: int, path: str) -> HeadersFrame:
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "127.0.0.1"),
            (":path", path),
        ]
        flags = ["END_HEADERS", "END_STREAM"]
        return HeadersFrame(stream, self._encoder.encode(fields), flags=flags)

    def receive(self) -> bool:
        """Receive the next frames; return False if the server has closed the connection."""
        try:
            data = self._socket.recv(2**16)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        self._buffer += data
        while len(self._buffer) >= _FRAME_HEADER:
            frame, size = Frame.parse_frame_header(memoryview(self._buffer[:_FRAME_HEADER]))
            end = _FRAME_HEADER + size
            if len(self._buffer) < end:
                break
            frame.parse_body(memoryview(self._buffer[_FRAME_HEADER:end]))
            self._buffer = self._buffer[end:]
            self.frames.append(frame)
        return bool(data)

    def wait_for(self, kind: type[_F], stream: int = 0) -> _F:
        """Return the first frame of a kind on a stream; wait until it arrives."""
        while True:
            for frame in self.frames:
                if isinstance(frame, kind) and frame.stream_id == stream:
                    return frame
            assert self.receive(), f"the server hung up: {self.frames}"

    def wait_for_answer(self, stream: int) -> None:
        while stream not in self.answered:
            assert self.receive(), f"the server hung up: {self.frames}"

    def wait_for_goaway(self) -> GoAwayFrame:
        return self.wait_for(GoAwayFrame)

    def wait_for_close(self) -> None:
        while self.receive():
            pass

    @property
    def answered(self) -> list[int]:
        """The streams whose answers are complete, in the order of completion."""
        return [frame.stream_id for frame in self.frames if "END_STREAM" in frame.flags]

    @property
    def reset(self) -> list[int]:
        """The streams that the server has reset."""
        return [frame.stream_id for frame in self.frames if isinstance(frame, RstStreamFrame)]

    def body(self, stream: int) -> bytes:
        """Return the received part of a body."""
        return b"".join(
            frame.data
            for frame in self.frames
            if isinstance(frame, DataFrame) and frame.stream_id == stream
        )

    def header(self, stream: int, name: str) -> str:
        """Return a header of the connection's first answer; HPACK needs state for later ones."""
        frame = self.wait_for(HeadersFrame, stream)
        fields = {str(key): str(value) for key, value in Decoder().decode(frame.data)}
        return fields[name]
