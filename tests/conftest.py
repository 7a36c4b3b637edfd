"""Clients of the embedded Quay that the plugin's fixture starts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import freezegun
import pytest
from hypothesis import HealthCheck, settings

from quaycache import QuayClient
from quaycache.testing import EmbeddedQuay
from tests.redis_server import RedisServer, running_redis

HANG_GUARD = 60.0

SHRINKING_GUARD = 900.0
"""Seconds. hypothesis shrinks a failing example for up to 300 s, and only then prints it."""

# The same examples in every run: a red test is about the last change. `tox run -e fuzz` loads the
# other profile, with another seed in each run. A slow machine is not a failure in either.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", settings.get_profile("repeatable"), derandomize=False, database=None
)
settings.load_profile("repeatable")

# Whatever the time is in a test: pytest says how long it took, and hypothesis ends its shrinking.
freezegun.configure(extend_ignore_list=["_pytest.timing", "hypothesis.internal.conjecture"])

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores it, and so would every process that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave hypothesis the time to print what fails, whose plugin has marked its tests."""
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker(pytest.mark.timeout(SHRINKING_GUARD))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no proxy of whoever runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("QUAYCACHE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Every test draws the same random numbers in every run."""
    random.seed(20)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One for all tests that do it no harm; who uses it empties it first."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """An empty database."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def client(embedded_quay: EmbeddedQuay) -> Iterator[QuayClient]:
    """An anonymous client."""
    with QuayClient(
        api_url=embedded_quay.url, ssl_context=embedded_quay.ssl_context()
    ) as anonymous:
        yield anonymous


@pytest.fixture
def make_client(embedded_quay: EmbeddedQuay) -> Iterator[Callable[..., QuayClient]]:
    """Makes clients with a token or other options, and closes them."""
    made: list[QuayClient] = []

    def make(token: str | None = None, **options: object) -> QuayClient:
        options = {"ssl_context": embedded_quay.ssl_context(), **options}
        made.append(
            QuayClient(
                token,
                api_url=embedded_quay.url,
                **options,  # type: ignore[arg-type]  # a test's own options
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(embedded_quay: EmbeddedQuay, tmp_path: Path) -> Callable[..., Finished]:
    """Runs ``quaycache`` as its user would, in a process of its own, with a cache of the test's."""

    def run(*arguments: str, **environment: str) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "quaycache", *arguments],
            env=os.environ | command_environment(embedded_quay, tmp_path) | environment,
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def command_environment(quay: EmbeddedQuay, directory: Path) -> dict[str, str]:
    """What a command needs to talk to the embedded Quay, and to keep its cache in `directory`."""
    return {
        "QUAYCACHE_API_URL": quay.url,
        "SSL_CERT_FILE": quay.ca_file,
        "QUAYCACHE_CACHE_DIR": str(directory / "quaycache"),
    }
