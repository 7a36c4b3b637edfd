"""Proxies and certificates of the environment."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from quaycache import QuayClient, SettingsError, TransportError, resolve
from quaycache.testing import EmbeddedQuay


class ConnectProxy:
    """A proxy that knows CONNECT and remembers for whom."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
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
            host, port = self.asked[-1].rsplit(":", 1)
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
        for thread in self._threads:
            thread.join(30)
        for one in (*self._sockets, self._listener):
            one.close()


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    """A proxy on loopback."""
    one = ConnectProxy()
    yield one
    one.close()


def ask(quay: EmbeddedQuay) -> int:
    with QuayClient(api_url=quay.url, retries=0) as client:
        return len(resolve(["quay://kolla/*:latest"], client=client).images)


@pytest.fixture
def quay(embedded_quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch) -> EmbeddedQuay:
    """A Quay that the environment trusts."""
    embedded_quay.registry.populate("kolla", 5)
    monkeypatch.setenv("SSL_CERT_FILE", embedded_quay.ca_file)
    return embedded_quay


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_is_used(
    quay: EmbeddedQuay, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    assert ask(quay) == 5
    assert set(proxy.asked) == {quay.url.removeprefix("https://")}
    assert quay.counters().peak_streams == 1


def test_no_proxy_is_left_alone(
    quay: EmbeddedQuay, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(quay) == 5
    assert proxy.asked == []


def test_proxy_that_refuses(quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = ConnectProxy(refuses=True)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:s3cr3t@"))
    with pytest.raises(TransportError, match="the proxy refused") as caught:
        ask(quay)
    assert "s3cr3t" not in str(caught.value)
    proxy.close()


@pytest.mark.parametrize("value", ["ftp://u:s3cr3t@proxy:1", "socks5://u:s3cr3t@proxy:1"])
def test_proxy_that_cannot_be_used(
    quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(SettingsError, match="https_proxy") as caught:
        ask(quay)
    assert "s3cr3t" not in str(caught.value)


def test_plain_http_on_loopback_goes_by_http1(quay: EmbeddedQuay) -> None:
    with (
        QuayClient(api_url=quay.url.replace("https", "http"), retries=0) as client,
        pytest.raises(TransportError),
    ):
        client.tag_answer("kolla", "a", "v1")
