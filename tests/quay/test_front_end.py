"""The client against a real nginx, with Quay's limits."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from quaycache import QuayClient, resolve
from quaycache.testing import EmbeddedQuay
from tests import programs
from tests.quay.nginx import nginx_before

BY_ADDRESS = "limit_req zone=address burst=25 nodelay;"

MakeFrontEnd = Callable[..., QuayClient]


@pytest.fixture
def behind(embedded_quay: EmbeddedQuay, tmp_path: Path) -> Iterator[MakeFrontEnd]:
    """A function that makes a client of the embedded Quay behind nginx."""
    programs.required("nginx")
    with ExitStack() as stack:

        def make(**options: object) -> QuayClient:
            nginx = stack.enter_context(
                nginx_before(embedded_quay, tmp_path, **options)  # type: ignore[arg-type]
            )
            context = ssl.create_default_context(cafile=nginx.ca_file)
            return stack.enter_context(QuayClient(api_url=nginx.url, ssl_context=context))

        yield make


@pytest.mark.parametrize("workers", [16, 64])
def test_quays_limits_on_http2(
    embedded_quay: EmbeddedQuay, behind: MakeFrontEnd, workers: int
) -> None:
    embedded_quay.registry.populate("kolla", 500)
    resolution = resolve(["quay://kolla/*:latest"], client=behind(), max_workers=workers)
    assert len(resolution.images) == 500
    assert embedded_quay.counters().requests == 505, "what nginx refuses does not arrive"


@pytest.mark.parametrize("workers", [4, 64])
def test_limit_by_address(embedded_quay: EmbeddedQuay, behind: MakeFrontEnd, workers: int) -> None:
    embedded_quay.registry.populate("kolla", 150)
    client = behind(limits=BY_ADDRESS, address_rate=60)
    resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=workers)
    assert len(resolution.images) == 150
    assert 1 <= resolution.stats.usage.rate_limited <= workers + 15
    assert embedded_quay.counters().requests == 152


def test_quays_limits_on_http1(embedded_quay: EmbeddedQuay, behind: MakeFrontEnd) -> None:
    embedded_quay.registry.populate("kolla", 35)
    embedded_quay.configure(latency=0.05)
    client = behind(http2=False)
    resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=16)
    assert len(resolution.images) == 35
    assert resolution.stats.usage.rate_limited >= 1
    assert embedded_quay.counters().peak_in_flight <= 4
    assert resolution.stats.usage.connections == resolution.stats.usage.requests


def test_connection_ends_after_1000_requests(
    embedded_quay: EmbeddedQuay, behind: MakeFrontEnd
) -> None:
    embedded_quay.registry.populate("kolla", 1100)
    client = behind(limits="")
    resolution = resolve(["quay://kolla/*:latest"], client=client, max_workers=1)
    assert len(resolution.images) == 1100
    assert resolution.stats.usage.retries == 0
