"""The real occystrap, with and without the launcher, against a complete quay.io on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quaycache.testing import EmbeddedQuay
from tests.occystrap.site import Site, quay_io

URI = "quay://kolla/*:v1"
PLAIN, LAUNCHED = "occystrap", "occystrap-quaycache"


@pytest.fixture
def site(occystrap_quay: Any, embedded_quay: EmbeddedQuay, tmp_path: Path) -> Iterator[Site]:
    del occystrap_quay  # requested only to skip the test without occystrap
    with quay_io(embedded_quay, tmp_path) as running:
        yield running


def images_of(printed: str) -> list[dict[str, Any]]:
    """Return the images that ``info`` prints as JSON after any log lines, in a fixed order."""
    document = json.loads(printed[printed.index("[\n") :])
    return sorted(document, key=lambda image: str(image["image"]))


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_same_images_with_fewer_requests(site: Site) -> None:
    launched = ["--cache-dir", str(site.directory / "cache")]
    seen: list[Any] = []
    costs: list[int] = []
    for number, (program, options) in enumerate(
        ((PLAIN, []), (LAUNCHED, launched), (LAUNCHED, launched))
    ):
        site.quay.reset_counters()
        info = site.run(program, *options, "-O", "json", "info", URI)
        costs.append(site.quay.counters().requests)
        target = site.directory / f"out-{number}"
        site.run(program, *options, "process", URI, f"dir://{target}?unique_names=true")
        seen.append((images_of(info.stdout), tree(target)))
        assert site.quay.counters().requests == costs[-1] * (2 if program == PLAIN else 1)
    assert [image["image"] for image in seen[0][0]] == [
        "kolla/glance",
        "kolla/nova-api",
        "kolla/nova-compute",
    ]
    assert len(seen[0][1]) > 6
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    # One listing and five repositories; the listing alone shows that one of them is empty.
    assert costs == [6, 5, 0]
