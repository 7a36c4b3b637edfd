"""A cached client, the embedded Quay and clocks that move together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from quaycache import (
    CachedQuayClient,
    DiskStore,
    Policy,
    QuayClient,
    Resolution,
    resolve,
)
from quaycache.testing import EmbeddedQuay

URI = "quay://kolla/*:latest"
TTL, MARGIN, MAX_AGE = 300.0, 120.0, 86_400.0
POLICY = Policy(ttl=TTL, margin=MARGIN, max_age=MAX_AGE)


@pytest.fixture(autouse=True)
def local_clock() -> Iterator[FrozenDateTimeFactory]:
    """A local clock that stands still, far from the server's."""
    with freeze_time("2031-05-05") as clock:
        assert isinstance(clock, FrozenDateTimeFactory)
        yield clock
        # In a thread that asks for the time at the moment of thawing, freezegun raises IndexError.
        for thread in threading.enumerate():
            if thread.name.startswith("quaycache"):
                thread.join(30)


class Cost(NamedTuple):
    """The requests that the server has counted."""

    listing: int
    tag: int


class Run(NamedTuple):
    """A resolve and the requests that it sent."""

    resolution: Resolution
    cost: Cost


class Site:
    """The embedded Quay, a cache directory, and clocks that move together."""

    def __init__(
        self, quay: EmbeddedQuay, directory: Path, clock: FrozenDateTimeFactory, workers: int = 16
    ) -> None:
        self.quay = quay
        self.registry = quay.registry
        self.directory = directory
        self._clock = clock
        self._workers = workers

    def client(self, token: str | None = None, **options: float) -> QuayClient:
        return QuayClient(
            token,
            api_url=self.quay.url,
            ssl_context=self.quay.ssl_context(),
            **options,  # type: ignore[arg-type]  # a test's own options
        )

    def cached(self, client: QuayClient) -> CachedQuayClient:
        return CachedQuayClient(client, DiskStore(self.directory), POLICY)

    def resolve(
        self,
        *uris: str,
        policy: Policy = POLICY,
        token: str | None = None,
        keep_going: bool = False,
        **options: float,
    ) -> Run:
        before = self.cost()
        with self.client(token, **{"retries": 0, **options}) as client:
            resolution = resolve(
                uris or [URI],
                client=client,
                max_workers=self._workers,
                cache_dir=self.directory,
                policy=policy,
                keep_going=keep_going,
            )
        after = self.cost()
        return Run(resolution, Cost(after.listing - before.listing, after.tag - before.tag))

    def cost(self) -> Cost:
        counters = self.quay.counters()
        return Cost(counters.listing, counters.tag)

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.registry.advance(seconds)
        self._clock.tick(seconds)

    def move_local_clock(self, seconds: float) -> None:
        self._clock.tick(seconds)


@pytest.fixture
def site(embedded_quay: EmbeddedQuay, tmp_path: Path, local_clock: FrozenDateTimeFactory) -> Site:
    return Site(embedded_quay, tmp_path / "cache", local_clock)
