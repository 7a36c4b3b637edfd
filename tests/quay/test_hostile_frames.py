"""Hostile frames: they may fail a request, but never exceed its time or a bound of memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame

from quaycache import QuayClient, TransportError
from tests.quay.hostile_server import HostileServer, Served

PING = PingFrame(0, opaque_data=b"12345678").serialize()

Attack = Callable[[Callable[[Served, int], None]], tuple[HostileServer, QuayClient]]


@pytest.fixture
def attacked() -> Iterator[Attack]:
    """A function that makes a hostile server and a client of it."""
    made: list[tuple[HostileServer, QuayClient]] = []

    def make(serve: Callable[[Served, int], None]) -> tuple[HostileServer, QuayClient]:
        server = HostileServer(serve)
        client = QuayClient(api_url=server.url, ssl_context=server.ssl_context, retries=0)
        made.append((server, client))
        return made[-1]

    yield make
    for server, client in made:
        client.close()
        server.close()


def flood(served: Served, frame: bytes) -> None:
    """Send a frame for as long as the client takes it."""
    while True:
        served.tls.sendall(frame * 1000)


def test_pings_without_end_on_an_idle_connection(attacked: Attack) -> None:
    flooded = threading.Event()

    def serve(served: Served, number: int) -> None:
        # As many as fit into the client's buffer, before its next request.
        served.answer(PING * 2000 if number == 1 else b"")
        flooded.set()
        if number == 1:
            flood(served, PING)

    server, client = attacked(serve)
    for _ in range(3):
        assert client.tag_answer("kolla", "a", "v1").tag is None
        assert flooded.wait(60)
    assert server.requests == 3


def pings(served: Served, _: int) -> None:
    flood(served, PING)


def early_hints(served: Served, _: int) -> None:
    while True:
        served.connection.send_headers(served.stream, [(":status", "103"), ("link", "<x>")])
        served.flush()


def nothing(served: Served, _: int) -> None:
    """Keep the connection open."""


@pytest.mark.parametrize("serve", [pings, early_hints, nothing], ids=lambda serve: serve.__name__)
def test_a_stream_of_other_frames_ends_with_the_deadline(
    attacked: Attack, serve: Callable[[Served, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quaycache.quay.transport.connection.REQUEST_TIMEOUT", 2.0)
    _, client = attacked(serve)
    with pytest.raises(TransportError, match=r"no complete answer from 127.0.0.1:\d+ within 2 s"):
        client.tag_answer("kolla", "a", "v1")


def continuations(served: Served, _: int) -> None:
    served.tls.sendall(HeadersFrame(served.stream, b"").serialize())
    flood(served, ContinuationFrame(served.stream, b"\x00\x01a\x01b").serialize())


def header_bomb(served: Served, _: int) -> None:
    # A value of 4,000 bytes goes into the table, and each byte after it refers to that value.
    value = b"x" * 4000
    field = b"\x40\x01a\x7f" + bytes([(len(value) - 127) % 128 | 128, (len(value) - 127) // 128])
    block = b"\x88" + field + value + b"\xbe" * 12_000
    served.tls.sendall(
        HeadersFrame(served.stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
    )


def no_status(served: Served, _: int) -> None:
    frame = HeadersFrame(served.stream, b"\x40\x01a\x01b", flags=["END_HEADERS", "END_STREAM"])
    served.tls.sendall(frame.serialize())


def status_of(value: bytes) -> Callable[[Served, int], None]:
    def serve(served: Served, _: int) -> None:
        length = bytes([127, len(value) - 127]) if len(value) >= 127 else bytes([len(value)])
        frame = HeadersFrame(
            served.stream, b"\x08" + length + value, flags=["END_HEADERS", "END_STREAM"]
        )
        served.tls.sendall(frame.serialize())

    return serve


@pytest.mark.parametrize("status", [b"2_0_0", b"+200", b"-500", b"200.0", b"", b"20", b"9" * 200])
def test_an_invalid_status_is_one_error(attacked: Attack, status: bytes) -> None:
    _, client = attacked(status_of(status))
    with pytest.raises(TransportError, match=r"the connection to 127.0.0.1:\d+ broke: ") as caught:
        client.tag_answer("kolla", "a", "v1")
    assert len(str(caught.value)) < 200


def no_frames(served: Served, _: int) -> None:
    flood(served, b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize(
    "serve",
    [continuations, header_bomb, no_status, no_frames],
    ids=lambda serve: serve.__name__,
)
def test_an_invalid_answer_is_one_error(
    attacked: Attack, serve: Callable[[Served, int], None]
) -> None:
    _, client = attacked(serve)
    with pytest.raises(TransportError, match=r"the connection to 127.0.0.1:\d+ broke: ") as caught:
        client.tag_answer("kolla", "a", "v1")
    assert str(caught.value).isprintable()


def test_a_connection_that_takes_no_more_streams_is_replaced(attacked: Attack) -> None:
    def serve(served: Served, _: int) -> None:
        served.connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        served.answer()

    server, client = attacked(serve)
    for _ in range(3):
        assert client.tag_answer("kolla", "a", "v1").tag is None
    assert server.requests == 3
