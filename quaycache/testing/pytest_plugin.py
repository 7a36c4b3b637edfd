"""The pytest plugin ``quaycache``, with the fixture ``embedded_quay``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quaycache.testing import EmbeddedQuay


@pytest.fixture(scope="session")
def _quay_process() -> Iterator[EmbeddedQuay]:
    from quaycache.testing import EmbeddedQuay

    with EmbeddedQuay() as quay:
        yield quay


@pytest.fixture
def embedded_quay(_quay_process: EmbeddedQuay) -> EmbeddedQuay:
    """Return the session's `EmbeddedQuay`, reset to an empty registry and default settings.

    One server process serves all tests of the session, or of one pytest-xdist worker. It starts
    with the first test that uses the fixture.
    """
    _quay_process.reset()
    return _quay_process
