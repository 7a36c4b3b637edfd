"""The installed occystrap, pointed at the embedded Quay; the tests are skipped without it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from quaycache.testing import EmbeddedQuay

NAMESPACE, TAG = "kolla", "v1"


def _restored(name: str) -> tuple[logging.Logger, int, bool, list[logging.Handler]]:
    logger = logging.getLogger(name)
    return logger, logger.level, logger.propagate, list(logger.handlers)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo occystrap's changes to logging, which affect the whole process."""
    if find_spec("occystrap") is not None:
        import occystrap.main  # noqa: F401 - creates its loggers
    before = [_restored(name) for name in ("occystrap", "occystrap.main", "quaycache")]
    root_level, root_handlers = logging.root.level, list(logging.root.handlers)
    yield
    logging.root.setLevel(root_level)
    logging.root.handlers = root_handlers
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


@pytest.fixture
def occystrap_quay(embedded_quay: EmbeddedQuay, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module ``occystrap.quay``, pointed at the embedded Quay."""
    if find_spec("occystrap") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("occystrap is not installed")
    import occystrap.main
    import occystrap.quay

    monkeypatch.setattr(occystrap.quay, "QUAY_API_BASE", f"{embedded_quay.url}/api/v1")
    monkeypatch.setenv("SSL_CERT_FILE", embedded_quay.ca_file)
    return occystrap.quay
