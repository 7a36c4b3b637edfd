"""Directories and servers for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from quaycache.store.protocol import Store
from quaycache.store.redis.store import RedisStore
from tests.store.samples import FOR_EVER as FOR_EVER
from tests.store.samples import disk_store, warnings


class Place(NamedTuple):
    """A location that any number of stores share.

    Attributes:
        words: A directory and a URL, one of them empty, as arguments of a process.
    """

    words: tuple[str, str]

    def open(self) -> Store:
        """Open another store; the caller closes it."""
        directory, url = self.words
        return RedisStore(url, retention=FOR_EVER) if url else disk_store(directory)


@pytest.fixture(params=["directory", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A directory, then a server."""
    if request.param == "directory":
        return Place((str(tmp_path / "cache"), ""))
    return Place(("", request.getfixturevalue("redis_url")))


@pytest.fixture
def store(place: Place, caplog: pytest.LogCaptureFixture) -> Iterator[Store]:
    """A store; the test fails if it logs a warning."""
    store = place.open()
    yield store
    store.close()
    assert warnings(caplog) == []
