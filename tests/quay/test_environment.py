"""Proxies and certificates of the environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quaycache import QuayClient, SettingsError, TransportError, resolve
from quaycache.testing import EmbeddedQuay
from tests.quay.connect_proxy import ConnectProxy
from tests.quay.plain_server import PlainServer


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


def test_no_proxy_is_honoured(
    quay: EmbeddedQuay, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(quay) == 5
    assert proxy.asked == []


def test_no_more_than_four_over_http1_at_once_through_a_proxy(
    quay: EmbeddedQuay, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    quay.registry.populate("named", 32)
    quay.configure(http2=False, latency=0.1)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    queries = [f"quay://named/repository-{number:05d}:latest" for number in range(32)]
    with QuayClient(api_url=quay.url, retries=0) as client:
        assert len(resolve(queries, client=client, max_workers=32).images) == 32
    assert quay.counters().peak_in_flight <= 4


def test_no_more_than_four_over_plain_http_at_once() -> None:
    with PlainServer() as server, QuayClient(api_url=server.url, retries=0) as client:
        queries = [f"quay://kolla/{letter}:v1" for letter in "abcdefghijklmnop"]
        assert resolve(queries, client=client, max_workers=16).images == ()
    assert server.peak == 4


def test_a_proxy_that_refuses_is_an_error(
    quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ConnectProxy(refuses=True)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:s3cr3t@"))
    with pytest.raises(TransportError, match="the proxy refused") as caught:
        ask(quay)
    assert "s3cr3t" not in str(caught.value)
    proxy.close()


@pytest.mark.parametrize("value", ["ftp://u:s3cr3t@proxy:1", "socks5://u:s3cr3t@proxy:1"])
def test_an_unusable_proxy_is_refused(
    quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(SettingsError, match="https_proxy") as caught:
        ask(quay)
    assert "s3cr3t" not in str(caught.value)


def test_plain_http_on_loopback_uses_http1(quay: EmbeddedQuay) -> None:
    with (
        QuayClient(api_url=quay.url.replace("https", "http"), retries=0) as client,
        pytest.raises(TransportError),
    ):
        client.tag_answer("kolla", "a", "v1")
