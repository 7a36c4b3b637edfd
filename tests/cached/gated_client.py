"""A client on the registry model whose answers can be held back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from quaycache.model import Listed, ListingPage, TagAnswer
from quaycache.quay.bound import ListingCursor
from quaycache.testing.registry import Registry
from tests.cached.model_client import ModelClient
from tests.conftest import HANG_GUARD

T = TypeVar("T")


class GatedClient(ModelClient):
    """Holds the first request after `hold` until the body is left; all others pass."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry, lambda _: None)
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._holds = threading.Semaphore(0)

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._holds.release()
        try:
            yield
        finally:
            self._opened.set()

    def fetch_page(
        self, namespace: str, cursor: ListingCursor | None
    ) -> tuple[ListingPage, ListingCursor | None]:
        return self._pass(lambda: super(GatedClient, self).fetch_page(namespace, cursor))

    def fetch_tag(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        return self._pass(
            lambda: super(GatedClient, self).fetch_tag(namespace, repository, tag, listed=listed)
        )

    def _pass(self, request: Callable[[], T]) -> T:
        answer = request()
        if self._holds.acquire(blocking=False):
            self.reached.set()
            assert self._opened.wait(HANG_GUARD)
        return answer
