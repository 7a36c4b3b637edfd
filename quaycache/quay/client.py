"""`QuayClient`: Quay's API v1, typed, without a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from quaycache.api_base import DEFAULT_API_URL, parse_api_base
from quaycache.errors import QueryError
from quaycache.freshness import older_than
from quaycache.names import identity_of, is_namespace, is_repository, is_tag, printable
from quaycache.quay.bound import BoundQuayClient
from quaycache.quay.retrying import DEFAULT_RETRIES, DEFAULT_TIMEOUT, RetryingTransport
from quaycache.query import parse_token
from quaycache.run import Run

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from quaycache.model import Listed, ListingPage, TagAnswer


class QuayClient:
    """A client of one Quay, without a cache. Thread-safe; close it, or use it in ``with``.

    Args:
        token: An OAuth application token. Quay silently ignores robot accounts and passwords.
        api_url: ``https://host[:port]``, with or without ``/api/v1``.
        retries: How often one request is repeated after a transient failure.
        timeout: Seconds for which the server may refuse every request, with 429 or 503, before
            the requests that wait are given up.
        rate_limit: Requests a second over all threads; None means no limit.
        ssl_context: How to verify the server; None means the default authorities, or those in
            ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``.

    Raises:
        SettingsError: If an argument is invalid.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        api_url: str = DEFAULT_API_URL,
        retries: int = DEFAULT_RETRIES,
        timeout: float = DEFAULT_TIMEOUT,
        rate_limit: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._token = None if token is None else parse_token(token)
        self._api_base = parse_api_base(api_url)
        self._transport = RetryingTransport(
            self._api_base,
            retries=retries,
            timeout=timeout,
            rate_limit=rate_limit,
            ssl_context=ssl_context,
        )
        self._run = Run()

    def __repr__(self) -> str:
        identity = "anonymous" if self._token is None else "with a token"
        return f"<QuayClient {self._api_base} {identity}>"

    def __enter__(self) -> QuayClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, also those that `bound` clients share."""
        self._transport.close()

    @property
    def api_url(self) -> str:
        """The URL of the API, normalised."""
        return str(self._api_base)

    @property
    def identity(self) -> str:
        """``"anon"``, or a one-way hash of the token; identifies whose answers are cached."""
        return identity_of(self._token)

    @property
    def registry(self) -> str:
        """The registry's name in an image reference, such as ``quay.io``."""
        return self._api_base.registry

    def bound(self, run: Run, token: str | None = None) -> BoundQuayClient:
        """Return this client, on the same connections, within a run.

        Args:
            run: Counts its requests, and can cancel them.
            token: A token to send instead of the client's own.
        """
        sent = self._token if token is None else parse_token(token)
        return BoundQuayClient(self._transport, self._api_base, sent, run)

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield the visible repositories of a namespace, page by page as they arrive.

        The pages are not a snapshot: a repository that is deleted and recreated during the walk
        appears twice, and its last row counts. For an empty, misspelt or wholly private namespace,
        Quay sends one empty page.

        Raises:
            AuthenticationError: If the token was ignored, or may have been: the namespace is empty.
            MalformedResponseError: If a response is malformed, or pagination repeats itself.
            QuayAPIError: If the server sends no usable answer.
        """
        check_names(namespace)
        return self.bound(self._run).list_pages(namespace)

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return whether a repository carries a tag right now, and at which digest.

        Args:
            namespace: The repository's namespace.
            repository: Its name within the namespace.
            tag: The tag's exact name; case counts.
            listed: The repository's row in a listing. If given, a 404 is retried, because a lagging
                replica may not know the repository yet.

        Raises:
            AuthenticationError: If the repository is missing or private; that never means that
                the tag is absent.
            PermissionDeniedError, NotFoundError: Likewise.
            QuayAPIError: If the server sends no usable answer.
        """
        check_names(namespace, repository, tag)
        return self.bound(self._run).fetch_tag(namespace, repository, tag, listed=listed)

    def has_tag(self, namespace: str, repository: str, tag: str) -> dict[str, Any] | None:
        """Return the JSON object of a tag as Quay sent it, or None if the tag is absent.

        For programs written against occystrap's ``QuayClient``; `tag_answer` is the typed
        equivalent, and raises the same errors.
        """
        check_names(namespace, repository, tag)
        return self.bound(self._run).tag_fields(namespace, repository, tag, None)[0]

    def list_repositories(self, namespace: str, since_ts: float | None = None) -> list[str]:
        """Return the names of the repositories of a namespace, in the server's order.

        For programs written against occystrap's ``QuayClient``; `list_pages` is the typed
        equivalent, and raises the same errors.

        Args:
            namespace: The namespace to list.
            since_ts: Seconds UTC. A repository is left out if the listing proves that all its tags
                are older.
        """
        return listed_names(self.list_pages(namespace), since_ts)


def listed_names(pages: Iterable[ListingPage], since_ts: float | None) -> list[str]:
    """Return the names on pages of a listing, except those without a tag as new as *since_ts*."""
    names: dict[str, bool] = {}
    for page in pages:
        for repository in page.repositories:
            names[repository.name] = since_ts is None or (
                repository.last_modified is not None
                and not older_than(repository.last_modified, since_ts)
            )
    return [name for name, wanted in names.items() if wanted]


def check_names(namespace: str, repository: str | None = None, tag: str | None = None) -> None:
    """Refuse invalid names.

    Raises:
        QueryError: If a name is invalid; the message says which.
    """
    _check(is_namespace(namespace), "namespace", namespace)
    if repository is not None:
        _check(is_repository(repository), "repository", repository)
    if tag is not None:
        # Quay takes an empty tag for "no filter" and answers with some other tag.
        _check(is_tag(tag), "tag", tag)


def _check(valid: bool, part: str, text: str) -> None:
    if not valid:
        raise QueryError(f"invalid {part} '{printable(text, 60)}'")
