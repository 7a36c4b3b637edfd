"""The life and end of connections: streams, GOAWAY, idle time, keep-alive."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from quaycache.testing import EmbeddedQuay

from .conftest import Connect
from .raw_http2 import RawHttp2, connect_tls

TAG = "/api/v1/repository/kolla/nova/tag/?specificTag=v1&onlyActiveTags=true&limit=1"
LISTED = "/api/v1/repository?namespace=kolla&public=true"
NO_PATIENCE = httpx.Timeout(60, read=0.05)


@pytest.fixture(autouse=True)
def nova(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.push("kolla", "nova", "v1")


def test_at_most_128_streams(embedded_quay: EmbeddedQuay) -> None:
    with RawHttp2(embedded_quay) as raw:
        settings = raw.wait_for(SettingsFrame).settings
        assert settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 128
        streams = raw.request_all(TAG, 128)
        for stream in streams:
            raw.wait_for_answer(stream)
    assert embedded_quay.counters().by_status == {200: 128}


@pytest.mark.parametrize("latency", [0, 0.05])
def test_goaway_precedes_the_last_answer_and_excludes_later_streams(
    embedded_quay: EmbeddedQuay, latency: float
) -> None:
    embedded_quay.configure(connection_requests=3, latency=latency)
    with RawHttp2(embedded_quay) as raw:
        streams = raw.request_all(TAG, 5)
        goaway = raw.wait_for_goaway()
        assert goaway.error_code == 0
        assert goaway.last_stream_id == streams[2]
        raw.wait_for_close()
        assert raw.answered == streams[:3]
        # nginx sends GOAWAY when the last request arrives, and then answers that request.
        last = raw.wait_for(DataFrame, streams[2])
        assert raw.frames.index(goaway) < raw.frames.index(last)
    assert embedded_quay.counters().requests == 3


def test_goaway_after_1000_requests_by_default(embedded_quay: EmbeddedQuay) -> None:
    with RawHttp2(embedded_quay) as raw:
        for _ in range(9):
            raw.wait_for_answer(raw.request_all("/", 111)[-1])
        last = raw.request("/")
        assert raw.wait_for_goaway().last_stream_id == last
        raw.wait_for_close()
        assert len(raw.answered) == 1000


def test_a_refused_request_counts_for_goaway(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(
        connection_requests=3, rate_limit={"rate": 0.001, "burst": 0, "key": "connection"}
    )
    with RawHttp2(embedded_quay) as raw:
        raw.request_all(TAG, 3)
        raw.wait_for_goaway()
        raw.wait_for_close()
    assert embedded_quay.counters().by_status == {200: 1, 429: 2}


def test_goaway_lets_streams_in_flight_finish(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(
        connection_requests=2, faults=[{"kind": "trickle", "interval": 0.0001, "times": 1}]
    )
    with RawHttp2(embedded_quay) as raw:
        streams = raw.request_all(TAG, 2)
        raw.wait_for_goaway()
        raw.wait_for_close()
        assert sorted(raw.answered) == streams


def test_an_idle_http2_connection_ends_with_goaway(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(idle_timeout=None)
    with RawHttp2(embedded_quay) as raw:
        stream = raw.request(TAG)
        raw.wait_for_answer(stream)
        embedded_quay.configure(idle_timeout=0.01)
        assert raw.wait_for_goaway().last_stream_id == stream
        raw.wait_for_close()
    assert embedded_quay.counters().open_connections == 0


def test_an_idle_http1_connection_is_closed(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(idle_timeout=0.01)
    with connect_tls(embedded_quay) as tls:
        assert tls.recv(1) == b""


def test_a_connection_with_a_request_in_flight_is_not_idle(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(idle_timeout=None, latency=0.2)
    with RawHttp2(embedded_quay) as raw:
        stream = raw.request(TAG)
        while not embedded_quay.counters().requests:
            pass
        embedded_quay.configure(idle_timeout=0.01)
        raw.wait_for_goaway()
        assert raw.answered == [stream]


def test_every_http1_answer_under_api_ends_its_connection(connect: Connect) -> None:
    client = connect(http2=False)
    assert client.get(TAG).headers["connection"] == "close"
    assert client.get("/api/v1/nothing").headers["connection"] == "close"
    assert client.get("/").headers["connection"] == "keep-alive"


def test_http1_keeps_its_connection_without_close_http1(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(close_http1=False)
    client = connect(http2=False)
    for _ in range(3):
        assert client.get(TAG).headers["connection"] == "keep-alive"
    assert embedded_quay.counters().connections == 1


def test_an_http1_connection_ends_after_connection_requests(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(close_http1=False, connection_requests=2)
    client = connect(http2=False)
    values = [client.get(TAG).headers["connection"] for _ in range(4)]
    assert values == ["keep-alive", "close"] * 2
    assert embedded_quay.counters().connections == 2


def test_http1_answers_pipelined_requests_in_order(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(close_http1=False)
    request = b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    sent = request % (TAG.encode(), b"") + request % (LISTED.encode(), b"Connection: close\r\n")
    answer = raw_http1(embedded_quay, sent)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.index(b'"tags"') < answer.index(b'"repositories"')


def test_a_malformed_http1_request_gets_a_400(embedded_quay: EmbeddedQuay) -> None:
    assert raw_http1(embedded_quay, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")


def raw_http1(quay: EmbeddedQuay, sent: bytes) -> bytes:
    with connect_tls(quay) as tls:
        tls.sendall(sent)
        answer = b""
        while piece := tls.recv(2**16):
            answer += piece
    return answer


def test_an_http2_protocol_error_ends_only_its_connection(
    embedded_quay: EmbeddedQuay, client: httpx.Client
) -> None:
    with RawHttp2(embedded_quay) as raw:
        # The streams of a client must have odd numbers.
        raw.send(raw.headers(2, TAG))
        assert raw.wait_for_goaway().error_code != 0
        raw.wait_for_close()
    assert client.get(TAG).status_code == 200


def test_http2_can_be_switched_off(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(http2=False)
    assert connect().get(TAG).http_version == "HTTP/1.1"
    embedded_quay.configure(http2=True)
    assert connect().get(TAG).http_version == "HTTP/2"


def test_a_reset_is_rst_stream_and_the_connection_goes_on(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "reset", "times": 1}])
    with RawHttp2(embedded_quay) as raw:
        first, second = raw.request_all(TAG, 2)
        raw.wait_for_answer(second)
        assert raw.reset == [first]


def test_a_client_can_reset_requests_immediately(embedded_quay: EmbeddedQuay) -> None:
    with RawHttp2(embedded_quay) as raw:
        for stream in range(1, 101, 2):
            raw.send(raw.headers(stream, TAG), RstStreamFrame(stream))
        raw.send(raw.headers(101, TAG))
        raw.wait_for_answer(101)
    assert embedded_quay.counters().peak_in_flight <= 2


def test_a_body_respects_a_small_flow_control_window(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.populate("kolla", 100)
    with RawHttp2(embedded_quay, window=1000) as raw:
        stream = raw.request(LISTED)
        length = int(raw.header(stream, "content-length"))
        granted = 1000
        while granted < length:
            while len(raw.body(stream)) < granted:
                assert raw.receive()
            assert len(raw.body(stream)) == granted
            raw.send(WindowUpdateFrame(stream, 1000))
            granted += 1000
        raw.wait_for_answer(stream)
        assert len(raw.body(stream)) == length


def test_each_endpoint_has_its_latency(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(listing_latency=3600, tag_latency=0, latency=3600)
    assert client.get(TAG).status_code == 200
    for path in (LISTED, "/"):
        with pytest.raises(httpx.ReadTimeout):
            client.get(path, timeout=NO_PATIENCE)
    embedded_quay.configure(listing_latency=None, latency=0)
    assert client.get(LISTED).status_code == 200
    embedded_quay.configure(jitter=3600, seed=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get(TAG, timeout=NO_PATIENCE)


def test_the_registry_is_read_when_the_request_arrives(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(latency=0.3)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.get, TAG)
        while not embedded_quay.counters().requests:
            pass
        embedded_quay.registry.delete_tag("kolla", "nova", "v1")
        assert len(asked.result().json()["tags"]) == 1


def test_clients_in_many_threads(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    clients = [connect() for _ in range(8)]
    start = threading.Barrier(len(clients))

    def ask(client: httpx.Client) -> set[int]:
        start.wait(60)
        return {client.get(TAG).status_code for _ in range(50)}

    with ThreadPoolExecutor(len(clients)) as pool:
        assert set().union(*pool.map(ask, clients)) == {200}
    assert embedded_quay.counters().connections == 8


def test_reset_drops_every_connection(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "hang"}])
    client = connect()
    with RawHttp2(embedded_quay) as raw:
        raw.request(TAG)
        with pytest.raises(httpx.ReadTimeout):
            client.get(TAG, timeout=NO_PATIENCE)
        embedded_quay.reset()
        raw.wait_for_close()
        counters = embedded_quay.counters()
        assert (counters.requests, counters.open_connections) == (0, 0)
    assert client.get(LISTED).json() == {"repositories": []}
    assert embedded_quay.counters().peak_in_flight == 1


def test_a_client_that_does_not_trust_the_ca_cannot_connect(embedded_quay: EmbeddedQuay) -> None:
    with httpx.Client() as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        client.get(embedded_quay.url)


def test_both_loopback_names_are_in_the_certificate(embedded_quay: EmbeddedQuay) -> None:
    context = embedded_quay.ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    with httpx.Client(verify=context) as client:
        for url in (embedded_quay.url, embedded_quay.url.replace("127.0.0.1", "localhost")):
            assert client.get(url).status_code == 404
