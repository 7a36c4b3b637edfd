"""Short calls of the model's endpoints, for tests with a fixed clock."""

from __future__ import annotations

from typing import Any

from quaycache.testing import Answer, QuayApi

NOON = 1_795_478_400.25
LISTING = {"namespace": "kolla", "public": "true", "last_modified": "true"}


class Reader:
    """Calls of a model's endpoints for the namespace ``kolla``."""

    def __init__(self, api: QuayApi) -> None:
        self._api = api

    def page(self, token: str | None = None, **query: str) -> dict[str, Any]:
        answer = self._api.listing({**LISTING, **query}, token)
        assert answer.status == 200
        return answer.document

    def names(self, token: str | None = None, **query: str) -> list[str]:
        return [row["name"] for row in self.page(token, **query)["repositories"]]

    def last_modified(self, name: str = "nova") -> Any:
        rows = {row["name"]: row["last_modified"] for row in self.page()["repositories"]}
        return rows.get(name, "unlisted")

    def tag_answer(self, name: str = "nova", token: str | None = None, **query: str) -> Answer:
        return self._api.tags("kolla", name, query, token)

    def tags(self, name: str = "nova", **query: str) -> list[dict[str, Any]]:
        answer = self.tag_answer(name, **query)
        assert answer.status == 200
        rows: list[dict[str, Any]] = answer.document["tags"]
        return rows

    def tag(self, tag: str = "v1", name: str = "nova") -> dict[str, Any] | None:
        rows = self.tags(name, specificTag=tag, onlyActiveTags="true", limit="1")
        return rows[0] if rows else None
