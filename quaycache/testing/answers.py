"""Quay's answers as pure functions of a registry, a URL query, a token and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from quaycache.testing.documents import (
    Document,
    error_document,
    listing_row,
    repository_document,
    tag_row,
)
from quaycache.testing.page_tokens import PageTokens
from quaycache.testing.records import RepositoryRecord, TagLifetime
from quaycache.testing.registry import Registry, User

PAGE_SIZE = 100
MAX_MAPPED_TAGS = 500

_DEFAULT_TAG_LIMIT = 50
_FALSE = frozenset(("false", "False", "0", "FALSE", "", "null"))
_UNLISTED = "MARKED_FOR_DELETION"
_READ_SCOPE = "repo:read"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and its JSON document.

    Attributes:
        status: The HTTP status.
        document: The JSON document, as a dict.
    """

    status: int
    document: Document


class QuayApi:
    """The read endpoints of one registry, without a server.

    ::

        from quaycache.testing import QuayApi, Registry

        registry = Registry(clock=lambda: 1_800_000_000.0)
        registry.push("team", "app", "stable")
        answer = QuayApi(registry).tags("team", "app", {"specificTag": "stable"})
        assert answer.document["tags"][0]["start_ts"] == 1_800_000_000

    Every method takes the query parameters as they appear in the URL, and the bearer token of the
    request; None is a request without a token. Like Quay, it ignores a token that the registry
    does not know, and answers as for an anonymous request.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tokens = PageTokens()

    def user(self, token: str | None) -> User | None:
        """Return the user that `token` authenticates, or None for an anonymous request."""
        return None if token is None else self._registry.users.get(token)

    def listing(self, query: Mapping[str, str], token: str | None = None) -> Answer:
        """Return one page of a namespace's repositories: ``GET /api/v1/repository``.

        A page token that is malformed, expired or from another server gets page 1. A listing
        across namespaces is not modelled.
        """
        namespace = query.get("namespace")
        if not namespace:
            return _invalid_request("the embedded Quay requires a namespace")
        user = self.user(token)
        now = self._registry.now()
        start = self._tokens.decode(query["next_page"], now) if query.get("next_page") else None
        found = self._registry.namespaces.get(namespace)
        if found is None:
            return Answer(200, {"repositories": []})
        public = _truthy(query.get("public"))
        may_see_all = user is not None and namespace in user.namespaces
        kind = query.get("repo_kind", "image")
        listed = (
            record
            for record in found.from_id(start or 0)
            if record.state != _UNLISTED
            and record.kind == kind
            and (may_see_all or (public and record.public))
        )
        page = list(islice(listed, PAGE_SIZE + 1))
        document: Document = {
            "repositories": [
                listing_row(
                    record,
                    int(now * 1000),
                    last_modified=_truthy(query.get("last_modified")),
                    authenticated=user is not None,
                )
                for record in page[:PAGE_SIZE]
            ]
        }
        if len(page) > PAGE_SIZE:
            document["next_page"] = self._tokens.encode(page[PAGE_SIZE].id, now)
        return Answer(200, document)

    def tags(
        self,
        namespace: str,
        repository: str,
        query: Mapping[str, str],
        token: str | None = None,
        *,
        replica_lag: float = 0.0,
    ) -> Answer:
        """Return a repository's tags, newest first.

        The endpoint is ``GET /api/v1/repository/NAMESPACE/REPOSITORY/tag/``. It reads permissions
        from the primary database, and tags from a replica that is `replica_lag` seconds behind.
        """
        record = self._readable(namespace, repository, self.user(token))
        if isinstance(record, Answer):
            return record
        try:
            limit = min(100, max(1, int(query.get("limit", _DEFAULT_TAG_LIMIT))))
            page = max(1, int(query.get("page", 1)))
        except ValueError:
            return _invalid_request("limit and page must be integers")
        now_ms = int(self._registry.now() * 1000)
        only_active = _truthy(query.get("onlyActiveTags"))
        # An empty specificTag does not filter.
        name = query.get("specificTag") or None
        if replica_lag:
            as_of_ms = now_ms - round(replica_lag * 1000)
            earlier = self._registry.namespaces[namespace].get_as_of(repository, as_of_ms)
            if earlier is None:
                return _NOT_FOUND
            rows = earlier.rows_written_by(as_of_ms)
        elif name is not None and only_active:
            alive = record.tag(name, now_ms)
            rows = [] if alive is None else [alive]
        else:
            rows = record.rows
        wanted = [
            row
            for row in rows
            if (name is None or row.name == name)
            and (row.visible_at(now_ms) if only_active else not row.hidden)
        ]
        wanted.sort(key=_newest_first)
        first = limit * (page - 1)
        return Answer(
            200,
            {
                "tags": [tag_row(row) for row in wanted[first : first + limit]],
                "page": page,
                "has_additional": len(wanted) > first + limit,
            },
        )

    def repository(
        self, namespace: str, repository: str, query: Mapping[str, str], token: str | None = None
    ) -> Answer:
        """Return one repository with a map of its 500 newest tags.

        The endpoint is ``GET /api/v1/repository/NAMESPACE/REPOSITORY``.
        """
        user = self.user(token)
        record = self._readable(namespace, repository, user)
        if isinstance(record, Answer):
            return record
        tags = None
        if _truthy(query.get("includeTags", "true")):
            now_ms = int(self._registry.now() * 1000)
            tags = sorted(record.visible_tags(now_ms), key=_newest_first)[:MAX_MAPPED_TAGS]
        may_write = user is not None and namespace in user.namespaces
        return Answer(200, repository_document(record, tags, may_write=may_write))

    def _readable(
        self, namespace: str, repository: str, user: User | None
    ) -> RepositoryRecord | Answer:
        """Return the repository, or an error that hides its existence from unauthorized callers."""
        found = self._registry.namespaces.get(namespace)
        record = None if found is None else found.get(repository)
        if record is not None and record.state == _UNLISTED:
            record = None
        if record is not None and record.public:
            return record
        if user is None:
            return _UNAUTHENTICATED
        if namespace not in user.namespaces or _READ_SCOPE not in user.scopes:
            return _UNAUTHORIZED
        return _NOT_FOUND if record is None else record


_UNAUTHENTICATED = Answer(401, error_document(401, "invalid_token", "Requires authentication"))
_UNAUTHORIZED = Answer(403, error_document(403, "insufficient_scope", "Unauthorized"))
_NOT_FOUND = Answer(404, error_document(404, "not_found", "Not Found"))


def _invalid_request(detail: str) -> Answer:
    return Answer(400, error_document(400, "invalid_request", detail))


def _truthy(text: str | None) -> bool:
    """Return the value of a URL flag; Quay reads everything except a few words as true."""
    return text is not None and text not in _FALSE


def _newest_first(lifetime: TagLifetime) -> tuple[int, str]:
    return -lifetime.start_ms, lifetime.name
