"""The effect of each event on a repository's last_modified and on the tag itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from quaycache.testing import Registry

from .reader import NOON, Reader

pytestmark = pytest.mark.usefixtures("digest")

THEN = int(NOON)
NOW = THEN + 100


@pytest.fixture
def digest(registry: Registry) -> str:
    """Return the digest of v1 in kolla/nova, at NOW.

    The tag old was pushed at THEN - 100, v1 at THEN.
    """
    registry.advance(-100)
    registry.push("kolla", "nova", "old")
    registry.advance(100)
    made = registry.push("kolla", "nova", "v1")
    registry.advance(100)
    return made


def started(read: Reader, tag: str = "v1") -> Any:
    row = read.tag(tag)
    return None if row is None else row["start_ts"]


def test_last_modified_is_the_newest_start_floored_to_the_second(read: Reader) -> None:
    assert read.last_modified() == THEN
    assert started(read) == THEN


def test_a_push_sets_it_to_now(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v2")
    assert read.last_modified() == started(read, "v2") == NOW


def test_a_retarget_sets_it_to_now(digest: str, registry: Registry, read: Reader) -> None:
    assert registry.push("kolla", "nova", "old") != digest
    assert read.last_modified() == started(read, "old") == NOW


def test_a_push_of_the_same_digest_sets_it_to_now(
    digest: str, registry: Registry, read: Reader
) -> None:
    assert registry.push("kolla", "nova", "v1", digest) == digest
    assert read.last_modified() == started(read) == NOW


def test_a_restore_sets_it_to_now_and_is_a_reversion(
    digest: str, registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "v1")
    registry.advance(1)
    registry.restore("kolla", "nova", "v1", digest)
    row = read.tag()
    assert row is not None
    assert (row["manifest_digest"], row["reversion"]) == (digest, True)
    assert read.last_modified() == row["start_ts"] == NOW + 1


def test_deletion_of_the_newest_tag_moves_it_back(registry: Registry, read: Reader) -> None:
    registry.delete_tag("kolla", "nova", "v1")
    assert read.last_modified() == THEN - 100
    assert read.tag() is None


def test_deletion_of_the_last_tag_makes_it_null(registry: Registry, read: Reader) -> None:
    registry.delete_tag("kolla", "nova", "v1")
    registry.delete_tag("kolla", "nova", "old")
    assert read.last_modified() is None


def test_expiry_of_the_newest_tag_moves_it_back(registry: Registry, read: Reader) -> None:
    registry.set_expiry("kolla", "nova", "v1", registry.now() + 10)
    assert read.last_modified() == THEN
    registry.advance(10)
    assert read.last_modified() == THEN - 100
    assert read.tag() is None


def test_deletion_or_expiry_of_an_older_tag_does_not_change_it(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "brief", lifetime=10)
    registry.push("kolla", "nova", "newest")
    registry.delete_tag("kolla", "nova", "old")
    registry.advance(10)
    assert read.tag("brief") is None
    assert read.tag("old") is None
    assert read.last_modified() == NOW


def test_changes_of_an_expiry_do_not_change_it(registry: Registry, read: Reader) -> None:
    for expires_at in (NOW + 50, NOW + 60, None):
        registry.set_expiry("kolla", "nova", "v1", expires_at)
        row = read.tag()
        assert row is not None
        assert row.get("end_ts") == expires_at
        assert read.last_modified() == row["start_ts"] == THEN


def test_a_push_by_digest_does_not_change_it(registry: Registry, read: Reader) -> None:
    registry.push_hidden("kolla", "nova")
    assert read.last_modified() == THEN
    assert len(read.tags(onlyActiveTags="true")) == 2


def test_it_is_null_with_only_hidden_tags(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "bare")
    registry.push_hidden("kolla", "bare")
    assert read.last_modified("bare") is None


def test_a_change_of_state_does_not_change_it(registry: Registry, read: Reader) -> None:
    registry.set_state("kolla", "nova", "READ_ONLY")
    assert read.last_modified() == started(read) == THEN


def test_a_repository_hidden_for_a_while_keeps_it(registry: Registry, read: Reader) -> None:
    registry.set_public("kolla", "nova", False)
    assert read.last_modified() == "unlisted"
    registry.set_public("kolla", "nova", True)
    assert read.last_modified() == started(read) == THEN


def test_a_recreated_repository_starts_with_null(registry: Registry, read: Reader) -> None:
    registry.delete_repository("kolla", "nova")
    assert read.last_modified() == "unlisted"
    registry.create_repository("kolla", "nova")
    assert read.last_modified() is None
    assert read.tag() is None


def test_it_is_the_newest_start_of_an_alive_tag_in_random_histories(
    registry: Registry, read: Reader
) -> None:
    chance = random.Random(20261124)  # noqa: S311 - the same histories in every run
    registry.create_repository("kolla", "busy")
    for _ in range(2000):
        tag = chance.choice("abc")
        alive = read.tag(tag, "busy") is not None
        event = chance.choice(("push", "brief", "delete", "expire", "hidden", "wait"))
        if event == "push":
            registry.push("kolla", "busy", tag)
        elif event == "brief":
            registry.push("kolla", "busy", tag, lifetime=chance.uniform(0.1, 5))
        elif event == "delete" and alive:
            registry.delete_tag("kolla", "busy", tag)
        elif event == "expire" and alive:
            registry.set_expiry("kolla", "busy", tag, registry.now() + chance.uniform(0.1, 5))
        elif event == "hidden":
            registry.push_hidden("kolla", "busy")
        registry.advance(chance.uniform(0, 1.5))
        starts = [row["start_ts"] for row in read.tags("busy", onlyActiveTags="true")]
        assert read.last_modified("busy") == max(starts, default=None)
