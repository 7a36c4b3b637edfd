"""The counters of the server."""

from __future__ import annotations

import socket

import pytest

from quaycache.testing import EmbeddedQuay

from .conftest import Connect
from .raw_http2 import RawHttp2

TAG = "/api/v1/repository/kolla/nova/tag/?specificTag=v1&onlyActiveTags=true&limit=1"
LISTED = "/api/v1/repository?namespace=kolla&public=true"


@pytest.fixture(autouse=True)
def nova(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.push("kolla", "nova", "v1")


def test_counters(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.add_user("ann", "good")
    first, second = connect(), connect(http2=False)
    first.get(LISTED, headers={"authorization": "Bearer good"})
    first.get(TAG)
    first.get(TAG.replace("nova", "missing"))
    second.get("/nothing")
    counters = embedded_quay.counters()
    assert counters.requests == 4
    assert (counters.listing, counters.tag) == (1, 2)
    assert counters.by_status == {200: 2, 401: 1, 404: 1}
    assert counters.authenticated == 1
    assert (counters.connections, counters.open_connections) == (2, 2)
    assert (counters.peak_streams, counters.peak_in_flight) == (1, 1)
    embedded_quay.reset_counters()
    assert embedded_quay.counters().requests == 0
    assert embedded_quay.counters().open_connections == 2


def test_resumed_sessions(embedded_quay: EmbeddedQuay) -> None:
    context = embedded_quay.ssl_context()
    address = ("127.0.0.1", int(embedded_quay.url.rpartition(":")[2]))
    session = None
    for resumed in (0, 1, 2):
        with (
            socket.create_connection(address, 60) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls,
        ):
            tls.sendall(f"GET {TAG} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            assert tls.recv(2**16).startswith(b"HTTP/1.1 200")
            session = tls.session
        counters = embedded_quay.counters()
        assert (counters.connections, counters.resumed) == (resumed + 1, resumed)


def test_peaks_per_connection_and_in_total(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "hang"}])
    with RawHttp2(embedded_quay) as one, RawHttp2(embedded_quay) as other:
        for raw, streams in ((one, 3), (other, 2)):
            for _ in range(streams):
                raw.request(TAG)
            # An answer without a fault shows that the requests before it have arrived.
            raw.wait_for_answer(raw.request("/"))
        counters = embedded_quay.counters()
        assert counters.peak_streams == 4
        assert counters.peak_in_flight == 3 + 3
        embedded_quay.reset_counters()
        assert embedded_quay.counters().peak_in_flight == 5


def test_a_closed_connection_discards_its_requests(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(latency=0.1)
    with RawHttp2(embedded_quay) as closed:
        closed.request_all(TAG, 3)
        while embedded_quay.counters().requests < 3:
            pass
    while embedded_quay.counters().open_connections:
        pass
    embedded_quay.reset_counters()
    with RawHttp2(embedded_quay) as other:
        # Its answer is due after the answers to the discarded requests would have been.
        other.wait_for_answer(other.request(TAG))
    assert embedded_quay.counters().by_status == {200: 1}
    assert embedded_quay.counters().peak_in_flight == 1
