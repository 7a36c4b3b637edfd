"""The answers of the tag endpoint and the repository endpoint."""

from __future__ import annotations

import pytest

from quaycache.testing import QuayApi, Registry

from .reader import NOON, Reader

DIGEST = "sha256:" + "ab" * 32


def test_the_fields_of_a_tag_and_their_order(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v1", DIGEST)
    answer = read.tag_answer(specificTag="v1", onlyActiveTags="true", limit="1")
    assert list(answer.document) == ["tags", "page", "has_additional"]
    assert answer.document["page"] == 1
    assert answer.document["has_additional"] is False
    assert list(answer.document["tags"][0].items()) == [
        ("name", "v1"),
        ("reversion", False),
        ("start_ts", int(NOON)),
        ("manifest_digest", DIGEST),
        ("is_manifest_list", False),
        ("size", 29),
        ("last_modified", "Tue, 24 Nov 2026 00:00:00 -0000"),
    ]


def test_only_an_expiry_adds_end_ts_floored_and_expiration(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "v1", lifetime=60.9)
    tag = read.tag()
    assert tag is not None
    assert tag["end_ts"] == int(NOON + 60.9) == int(NOON) + 61
    assert tag["expiration"] == "Tue, 24 Nov 2026 00:01:01 -0000"
    registry.set_expiry("kolla", "nova", "v1", None)
    tag = read.tag()
    assert tag is not None
    assert "end_ts" not in tag
    assert "expiration" not in tag


def test_a_manifest_list_has_additional_fields(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v1", manifest_list=True)
    tag = read.tag()
    assert tag is not None
    assert tag["is_manifest_list"] is True
    assert {"is_sparse", "child_manifest_count"} <= set(tag)
    assert "immutable" not in tag


def test_a_missing_expired_deleted_or_hidden_tag_gets_an_empty_list(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "expired", lifetime=10)
    registry.push("kolla", "nova", "deleted")
    registry.delete_tag("kolla", "nova", "deleted")
    registry.push_hidden("kolla", "nova")
    registry.advance(10)
    for name in ("missing", "expired", "deleted", "$temp-1"):
        assert read.tags(specificTag=name, onlyActiveTags="true", limit="1") == []


def test_a_tag_is_alive_until_the_millisecond_of_its_expiry(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "v1", lifetime=10)
    registry.advance(9.999)
    assert read.tag() is not None
    registry.advance(0.001)
    assert read.tag() is None


def test_tag_names_are_case_sensitive(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "V1")
    assert read.tag("v1") is None
    assert read.tag("V1") is not None


def test_an_empty_specific_tag_drops_the_filter(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "other")
    tags = read.tags(specificTag="", onlyActiveTags="true", limit="1")
    assert [tag["name"] for tag in tags] == ["other"]


def test_dead_tags_are_shown_without_only_active_tags(registry: Registry, read: Reader) -> None:
    first = registry.push("kolla", "nova", "v1")
    registry.advance(1)
    second = registry.push("kolla", "nova", "v1")
    registry.push_hidden("kolla", "nova")
    history = [(row["manifest_digest"], row.get("end_ts")) for row in read.tags()]
    assert history == [(second, None), (first, int(NOON) + 1)]


def test_all_tags_in_pages_of_at_most_100_newest_first(registry: Registry, read: Reader) -> None:
    for number in range(150):
        registry.push("kolla", "nova", f"v{number:03d}")
        registry.advance(1)
    query = {"onlyActiveTags": "true", "limit": "1000"}
    first = read.tag_answer(page="1", **query).document
    second = read.tag_answer(page="2", **query).document
    third = read.tag_answer(page="3", **query).document
    pages = (first, second, third)
    assert [len(page["tags"]) for page in pages] == [100, 50, 0]
    assert [page["has_additional"] for page in pages] == [True, False, False]
    assert [page["page"] for page in pages] == [1, 2, 3]
    names = [tag["name"] for page in pages for tag in page["tags"]]
    assert names == [f"v{number:03d}" for number in reversed(range(150))]
    assert len(read.tags(onlyActiveTags="true")) == 50
    assert len(read.tags(onlyActiveTags="true", limit="0")) == 1


def test_tags_are_in_order_of_start_to_the_millisecond_and_then_of_name(
    registry: Registry, read: Reader
) -> None:
    for name in ("b", "a", "later", "latest"):
        registry.push("kolla", "nova", name)
        if name != "b":
            registry.advance(0.001)
    tags = read.tags(onlyActiveTags="true")
    assert [tag["name"] for tag in tags] == ["latest", "later", "a", "b"]
    assert {tag["start_ts"] for tag in tags} == {int(NOON)}


def test_each_row_of_a_tag_listing_equals_the_answer_for_that_tag(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "plain")
    registry.push("kolla", "nova", "brief", lifetime=60)
    registry.push("kolla", "nova", "list", manifest_list=True)
    rows = read.tags(onlyActiveTags="true", limit="100")
    assert len(rows) == 3
    assert rows == [read.tag(row["name"]) for row in rows]


def test_pages_of_tags_are_by_offset_so_changes_between_them_shift_rows(
    registry: Registry, read: Reader
) -> None:
    for number in range(4):
        registry.push("kolla", "nova", f"v{number}")
        registry.advance(1)

    def page(number: int) -> list[str]:
        rows = read.tags(onlyActiveTags="true", limit="2", page=str(number))
        return [row["name"] for row in rows]

    assert (page(1), page(2)) == (["v3", "v2"], ["v1", "v0"])
    registry.push("kolla", "nova", "v4")
    assert page(2) == ["v2", "v1"]
    registry.delete_tag("kolla", "nova", "v4")
    registry.delete_tag("kolla", "nova", "v3")
    assert page(2) == ["v0"]


def test_a_comma_separated_list_of_tags_matches_nothing(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v1")
    registry.push("kolla", "nova", "v2")
    assert read.tags(specificTag="v1,v2", onlyActiveTags="true") == []


def test_has_additional_is_false_for_exactly_100_tags(registry: Registry, read: Reader) -> None:
    for number in range(100):
        registry.push("kolla", "nova", f"v{number}")
    answer = read.tag_answer(onlyActiveTags="true", limit="100")
    assert answer.document["has_additional"] is False


def test_a_limit_that_is_not_a_number_is_400(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v1")
    assert read.tag_answer(limit="many").status == 400


def test_a_repository_has_its_500_newest_tags_as_a_map(registry: Registry, api: QuayApi) -> None:
    for number in range(501):
        registry.push("kolla", "nova", f"v{number}", lifetime=9000 if number == 500 else None)
        registry.advance(1)
    document = api.repository("kolla", "nova", {}).document
    assert len(document["tags"]) == 500
    assert "v0" not in document["tags"]
    assert set(document["tags"]["v1"]) == {"name", "size", "last_modified", "manifest_digest"}
    assert "expiration" in document["tags"]["v500"]
    assert "tags" not in api.repository("kolla", "nova", {"includeTags": "false"}).document
    assert document["state"] == "NORMAL"


@pytest.mark.parametrize("name", ["deep/name", "tag", "a/tag/b", "a.b_c-d", "0", "n" * 255])
def test_repository_names_that_quay_allows(registry: Registry, read: Reader, name: str) -> None:
    registry.push("kolla", name, "v1")
    assert read.names() == [name]
    assert read.tag("v1", name) is not None


def test_a_lagging_replica_shows_earlier_tags(registry: Registry, api: QuayApi) -> None:
    first = registry.push("kolla", "nova", "v1")
    registry.advance(10)
    registry.push("kolla", "nova", "v1")
    registry.set_expiry("kolla", "nova", "v1", registry.now() + 60)

    def seen(lag: float) -> list[tuple[str, bool]]:
        answer = api.tags("kolla", "nova", {"onlyActiveTags": "true"}, replica_lag=lag)
        return [(tag["manifest_digest"], "end_ts" in tag) for tag in answer.document["tags"]]

    assert seen(5) == [(first, False)]
    registry.advance(5)
    assert seen(5) != [(first, False)]
    assert seen(5) == seen(0)


def test_a_lagging_replica_shows_a_deleted_tag(registry: Registry, api: QuayApi) -> None:
    registry.push("kolla", "nova", "v1")
    registry.advance(10)
    registry.delete_tag("kolla", "nova", "v1")
    query = {"onlyActiveTags": "true", "specificTag": "v1"}
    assert len(api.tags("kolla", "nova", query, replica_lag=5).document["tags"]) == 1
    assert api.tags("kolla", "nova", query).document["tags"] == []


def test_a_lagging_replica_applies_an_expiry_at_once(registry: Registry, api: QuayApi) -> None:
    registry.push("kolla", "nova", "v1", lifetime=10)
    registry.advance(10)
    answer = api.tags("kolla", "nova", {"onlyActiveTags": "true"}, replica_lag=5)
    assert answer.document["tags"] == []


def test_a_lagging_replica_shows_a_tag_as_absent_at_its_old_expiry(
    registry: Registry, api: QuayApi
) -> None:
    registry.push("kolla", "nova", "v1", lifetime=10)
    registry.advance(9)
    registry.set_expiry("kolla", "nova", "v1", None)
    registry.advance(1)

    def seen(lag: float) -> int:
        answer = api.tags("kolla", "nova", {"onlyActiveTags": "true"}, replica_lag=lag)
        return len(answer.document["tags"])

    assert (seen(5), seen(0)) == (0, 1)
    registry.advance(4)
    assert seen(5) == 1


def test_a_lagging_replica_shows_the_repository_before_it_was_recreated(
    registry: Registry, api: QuayApi
) -> None:
    registry.push("kolla", "nova", "old")
    registry.advance(10)
    registry.delete_repository("kolla", "nova")
    registry.push("kolla", "nova", "new")

    def seen(lag: float) -> list[str]:
        answer = api.tags("kolla", "nova", {"onlyActiveTags": "true"}, replica_lag=lag)
        return [tag["name"] for tag in answer.document["tags"]]

    assert seen(5) == ["old"]
    assert seen(0) == ["new"]
