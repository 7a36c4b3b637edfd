from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from quaycache.testing import EmbeddedQuay, QuayApi, Registry

from .reader import NOON, Reader


@pytest.fixture
def registry() -> Registry:
    return Registry(lambda: NOON)


@pytest.fixture
def api(registry: Registry) -> QuayApi:
    return QuayApi(registry)


@pytest.fixture
def read(api: QuayApi) -> Reader:
    return Reader(api)


Connect = Callable[..., httpx.Client]


@pytest.fixture
def connect(embedded_quay: EmbeddedQuay) -> Iterator[Connect]:
    """Return a function that makes httpx clients of the embedded Quay."""
    clients = []
    context = embedded_quay.ssl_context()

    def connected(*, http2: bool = True, **settings: Any) -> httpx.Client:
        client = httpx.Client(
            base_url=embedded_quay.url, verify=context, http2=http2, timeout=60, **settings
        )
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> httpx.Client:
    return connect()
