"""The requests that get 401, 403 and 404, and the tokens that Quay silently ignores."""

from __future__ import annotations

import pytest

from quaycache.testing import QuayApi, Registry

from .reader import Reader


@pytest.fixture(autouse=True)
def users(registry: Registry) -> None:
    registry.push("kolla", "open", "v1")
    registry.create_repository("kolla", "private", public=False)
    registry.push("kolla", "private", "v1")
    registry.create_repository("kolla", "dying", state="MARKED_FOR_DELETION")
    registry.add_user("ann", "member", namespaces=["kolla"])
    registry.add_user("ann", "narrow", namespaces=["kolla"], scopes=["user:read"])
    registry.add_user("bob", "outsider")


@pytest.mark.parametrize(
    ("name", "token", "status", "error_type"),
    [
        ("missing", None, 401, "invalid_token"),
        ("private", None, 401, "invalid_token"),
        ("dying", None, 401, "invalid_token"),
        ("missing", "outsider", 403, "insufficient_scope"),
        ("private", "outsider", 403, "insufficient_scope"),
        ("missing", "member", 404, "not_found"),
        ("dying", "member", 404, "not_found"),
        ("private", "narrow", 403, "insufficient_scope"),
        ("private", "no such token", 401, "invalid_token"),
    ],
)
def test_refused_requests(
    api: QuayApi, name: str, token: str | None, status: int, error_type: str
) -> None:
    for answer in (
        api.tags("kolla", name, {"specificTag": "v1"}, token),
        api.repository("kolla", name, {}, token),
    ):
        assert answer.status == status
        assert set(answer.document) == {
            "detail",
            "error_message",
            "error_type",
            "title",
            "type",
            "status",
        }
        assert answer.document["error_type"] == answer.document["title"] == error_type
        assert answer.document["status"] == status


def test_a_missing_namespace_looks_like_a_missing_repository(api: QuayApi) -> None:
    assert api.tags("nobody", "nova", {}).status == 401
    assert api.tags("nobody", "nova", {}, "member").status == 403


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("open", None),
        ("open", "no such token"),
        ("open", "outsider"),
        ("open", "narrow"),
        ("private", "member"),
    ],
)
def test_allowed_requests(api: QuayApi, name: str, token: str | None) -> None:
    assert api.tags("kolla", name, {"specificTag": "v1"}, token).status == 200
    assert api.repository("kolla", name, {}, token).status == 200


def test_a_repository_that_the_replica_lacks_is_404(registry: Registry, api: QuayApi) -> None:
    registry.push("kolla", "new", "v1")
    registry.create_repository("kolla", "new-private", public=False)
    assert api.tags("kolla", "new", {}, replica_lag=5).status == 404
    assert api.tags("kolla", "new-private", {}, "member", replica_lag=5).status == 404
    assert api.tags("kolla", "new-private", {}, replica_lag=5).status == 401
    registry.advance(5)
    assert api.tags("kolla", "new", {}, replica_lag=5).status == 200


def test_the_listing_ignores_the_scope_of_a_token(read: Reader) -> None:
    assert read.names("narrow") == ["open", "private"]


def test_a_bad_token_is_ignored(read: Reader) -> None:
    assert read.page("no such token") == read.page()
    assert read.names("no such token") == ["open"]
