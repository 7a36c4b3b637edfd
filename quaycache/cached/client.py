"""`CachedQuayClient`: a client that sends a request only if its store cannot answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from quaycache.cached.bound import BoundCachedClient
from quaycache.cached.shared import Shared
from quaycache.freshness import Policy
from quaycache.quay.client import check_names, listed_names
from quaycache.run import Run

if TYPE_CHECKING:
    from types import TracebackType

    from quaycache.model import Listed, ListingPage, TagAnswer
    from quaycache.quay.client import QuayClient
    from quaycache.store.protocol import Store


class CachedQuayClient:
    """A `QuayClient` with a store in front of it. Thread-safe; close it, or use it in ``with``.

    Answers obtained with one token are never served to another token or to anonymous callers.
    Answers to a token are stored only if the server is known to accept it.

    Args:
        client: Sends the requests. The caller closes it.
        store: The store, which `close` closes.
        policy: How old an answer may be.
    """

    def __init__(self, client: QuayClient, store: Store, policy: Policy | None = None) -> None:
        self._client = client
        self._policy = policy if policy is not None else Policy()
        self._shared = Shared(store, self._policy.margin)

    def __repr__(self) -> str:
        return f"<CachedQuayClient of {self._client!r}>"

    def __enter__(self) -> CachedQuayClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is pending, and close the store."""
        self._shared.close()

    @property
    def registry(self) -> str:
        """The registry's name in an image reference, such as ``quay.io``."""
        return self._client.registry

    def bound(self, run: Run, token: str | None = None) -> BoundCachedClient:
        """Return this client within a run.

        Args:
            run: Counts the requests, and can cancel them.
            token: A token to send instead of the client's own.
        """
        return BoundCachedClient(self._client.bound(run, token), run, self._shared, self._policy)

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield pages as `QuayClient.list_pages` does; a fresh stored listing is one page."""
        check_names(namespace)
        return self.bound(Run()).list_pages(namespace)

    def known_answer(self, namespace: str, repository: str, tag: str) -> TagAnswer | None:
        """Return the answer if it needs no request, else None."""
        check_names(namespace, repository, tag)
        return self.bound(Run()).known_answer(namespace, repository, tag)

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return an answer as `QuayClient.tag_answer` does, without a request if it is known.

        Raises:
            NotStoredError: If the policy is offline, and the answer is not stored.
        """
        check_names(namespace, repository, tag)
        bound = self.bound(Run())
        known = bound.known_answer(namespace, repository, tag) if listed is None else None
        return known or bound.look_up(namespace, repository, tag, listed=listed)

    def has_tag(self, namespace: str, repository: str, tag: str) -> dict[str, Any] | None:
        """Return the fields of `QuayClient.has_tag` that are stored, by Quay's names."""
        found = self.tag_answer(namespace, repository, tag).tag
        if found is None:
            return None
        fields = {
            "name": found.name,
            "manifest_digest": found.manifest_digest,
            "start_ts": found.start_ts,
        }
        return fields if found.end_ts is None else {**fields, "end_ts": found.end_ts}

    def list_repositories(self, namespace: str, since_ts: float | None = None) -> list[str]:
        """Return names as `QuayClient.list_repositories` does."""
        check_names(namespace)
        return listed_names(self.bound(Run()).list_pages(namespace), since_ts)
