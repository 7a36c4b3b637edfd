"""Invalid changes of a registry, generated digests, and the clock."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from quaycache.testing import Registry, RegistryError

from .reader import NOON

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.create_repository("kolla", "nova"),
        lambda registry: registry.create_repository("kolla", "Upper"),
        lambda registry: registry.create_repository("kolla", ""),
        lambda registry: registry.create_repository("kolla", "a//b"),
        lambda registry: registry.create_repository("kolla", "n" * 256),
        lambda registry: registry.create_repository("kolla", "new\n"),
        lambda registry: registry.create_repository("", "new"),
        lambda registry: registry.create_repository("kolla", "new", state="ODD"),
        lambda registry: registry.delete_repository("kolla", "missing"),
        lambda registry: registry.delete_repository("nobody", "nova"),
        lambda registry: registry.set_public("kolla", "missing", True),
        lambda registry: registry.set_state("kolla", "nova", "ODD"),
        lambda registry: registry.push("kolla", "nova", ".v1"),
        lambda registry: registry.push("kolla", "nova", "v1", "sha256:short"),
        lambda registry: registry.push_hidden("kolla", "missing"),
        lambda registry: registry.push_hidden("kolla", "nova", "sha256:short"),
        lambda registry: registry.delete_tag("kolla", "nova", "missing"),
        lambda registry: registry.restore("kolla", "nova", "v1", DIGEST),
        lambda registry: registry.set_expiry("kolla", "nova", "v1", NOON),
        lambda registry: registry.set_expiry("kolla", "nova", "missing", None),
    ],
)
def test_an_invalid_change_raises_registry_error(
    registry: Registry, change: Callable[[Registry], object]
) -> None:
    registry.push("kolla", "nova", "v1")
    with pytest.raises(RegistryError):
        change(registry)


def test_generated_digests_are_valid_unique_and_reproducible() -> None:
    def digests() -> list[str]:
        registry = Registry()
        return [registry.push("kolla", "nova", "v1") for _ in range(3)]

    assert digests() == digests()
    assert len(set(digests())) == 3
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests())


def test_the_clock_moves_forward_and_back(registry: Registry) -> None:
    assert registry.now() == NOON
    registry.advance(3600)
    assert registry.now() == NOON + 3600
    registry.advance(-7200.5)
    assert registry.now() == NOON - 3600.5
