"""The fixture ``embedded_quay`` of the pytest plugin ``quaycache``."""

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
    """An embedded Quay as good as new; its process serves the whole test session."""
    _quay_process.reset()
    return _quay_process
