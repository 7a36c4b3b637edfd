"""The client's protocol straight on the registry model: no server, no threads, any clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from quaycache.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    QuayAPIError,
    TransportError,
)
from quaycache.model import Listed, ListingPage, Provenance, TagAnswer
from quaycache.names import ANONYMOUS
from quaycache.quay.bound import ListingCursor
from quaycache.quay.payload import parse_listing, parse_tag, parse_tag_fields
from quaycache.run import Run
from quaycache.testing.answers import Answer, QuayApi
from quaycache.testing.registry import Registry

_ERRORS: dict[int, type[QuayAPIError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
}


@dataclass
class ModelClient:
    """Sends the requests of `quaycache.quay.client.QuayClient` to a `Registry`.

    Attributes:
        pass_time: Moves the registry's clock forward by seconds.
        replica_lag: The seconds by which the tag endpoint is behind.
        elapsed: The seconds that each request takes.
        last_modified: Whether the listing has ``last_modified``.
        break_after: The number of pages after which the next walk fails; None lets it end.
        requests: The number of requests so far.
        listed_at: The server's time when it last sent a page, minus the request's duration.
        on_the_way: A function that is called once, before the next answer for a tag arrives.
        before_request: Functions to call before a request, by the number of requests before it.
    """

    registry_model: Registry
    pass_time: Callable[[float], None]
    replica_lag: float = 0.0
    elapsed: float = 0.0
    last_modified: bool = True
    break_after: int | None = None
    requests: int = 0
    listed_at: float = 0.0
    on_the_way: Callable[[], None] | None = None
    before_request: dict[int, Callable[[], None]] = field(default_factory=dict)
    api_url: str = "https://quay.io/api/v1"
    registry: str = "quay.io"
    identity: str = ANONYMOUS
    api: QuayApi = field(init=False)

    def __post_init__(self) -> None:
        self.api = QuayApi(self.registry_model)

    def bound(self, _run: Run, _token: str | None = None) -> ModelClient:
        return self

    def fetch_page(
        self, namespace: str, cursor: ListingCursor | None
    ) -> tuple[ListingPage, ListingCursor | None]:
        query = {"namespace": namespace, "public": "true"}
        if self.last_modified:
            query["last_modified"] = "true"
        number = 1
        if cursor is not None:
            number, query["next_page"] = cursor.number, cursor.token
        if self.break_after is not None and number > self.break_after:
            self.break_after = None
            raise TransportError("the walk broke off")
        answer, checked_at = self._ask(self.api.listing(query))
        self.listed_at = checked_at
        page = parse_listing(json.dumps(answer.document).encode(), namespace)
        following = None
        if page.next_page is not None:
            following = ListingCursor(number + 1, page.next_page, set())
        return ListingPage(number, page.repositories, following is None, checked_at), following

    def fetch_tag(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        del listed
        query = {"specificTag": tag, "onlyActiveTags": "true", "limit": "1"}
        answer, checked_at = self._ask(
            self.api.tags(namespace, repository, query, replica_lag=self.replica_lag)
        )
        on_the_way, self.on_the_way = self.on_the_way, None
        if on_the_way is not None:
            on_the_way()
        fields = parse_tag_fields(json.dumps(answer.document).encode(), tag)
        found = None if fields is None else parse_tag(fields)
        return TagAnswer(found, checked_at, Provenance.FETCHED)

    def _ask(self, answer: Answer) -> tuple[Answer, float]:
        """Let time pass before the answer arrives; its Date is the time when it was sent."""
        self.before_request.pop(self.requests, lambda: None)()
        self.requests += 1
        self.pass_time(self.elapsed)
        checked_at = float(int(self.registry_model.now())) - self.elapsed
        if answer.status != 200:
            error = _ERRORS[answer.status](f"HTTP {answer.status}")
            error.status, error.checked_at = answer.status, checked_at
            raise error
        return answer, checked_at
