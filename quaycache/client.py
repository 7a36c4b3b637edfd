"""Quay's API v1: one method per endpoint, typed, each of its traps handled here."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from quaycache.api_base import DEFAULT_API_URL, parse_api_base
from quaycache.errors import (
    AuthenticationError,
    MalformedResponseError,
    PermissionDeniedError,
    QuayAPIError,
    QueryError,
)
from quaycache.freshness import older_than
from quaycache.model import ListingPage, Provenance, TagAnswer
from quaycache.names import is_namespace, is_repository, is_tag, printable
from quaycache.payload import (
    ListingPayload,
    parse_listing,
    parse_tag,
    parse_tag_fields,
)
from quaycache.query import parse_token
from quaycache.retrying import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    RetryingTransport,
    checked_at_of,
)
from quaycache.run import Run
from quaycache.store.keys import identity_of
from quaycache.version import __version__

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from quaycache.model import Listed, Repository
    from quaycache.transport import Response

MAX_PAGES: Final = 10_000
"""A million repositories; a server that invents names without end is stopped here."""

_IGNORED: Final = "it is expired or malformed, or a robot account's or a password"

_HEADERS: Final = [
    (b"user-agent", f"quaycache/{__version__}".encode("ascii")),
    (b"accept", b"application/json"),
]


class QuayClient:
    """A client of one Quay, without a cache. Thread-safe; close it, or use it in ``with``.

    Args:
        token: an OAuth application token. Robot accounts and passwords are no good here: Quay
            ignores them silently.
        api_url: ``https://host[:port]``, with or without ``/api/v1``.
        retries: how often one request is repeated after a failure that may pass.
        timeout: seconds without any success after which a request that the server refuses with
            429 is given up.
        rate_limit: requests a second over all threads; None means as fast as the server takes.
        ssl_context: how to verify the server; None means the usual authorities, or those of
            ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``.

    Raises:
        SettingsError: an argument cannot be used.
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
        """The API that it asks, normalised."""
        return str(self._api_base)

    @property
    def identity(self) -> str:
        """Who asks: ``anon``, or a digest of the token, from which that cannot be had back."""
        return identity_of(self._token)

    @property
    def registry(self) -> str:
        """The registry's name in an image reference, such as ``quay.io``."""
        return self._api_base.registry

    def bound(self, run: Run, token: str | None = None) -> QuayClient:
        """This client, on the same connections, within `run`.

        Args:
            run: counts its requests, and can cancel them.
            token: asks in this name instead of the client's own.
        """
        sibling = copy.copy(self)
        sibling._run = run
        if token is not None:
            sibling._token = parse_token(token)
        return sibling

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """The repositories that may be seen in a namespace, page by page as they arrive.

        A walk is no snapshot: a repository that is deleted and recreated meanwhile comes twice,
        and the last time counts. An empty namespace, a misspelt and a wholly private one are the
        same to Quay: one empty page.

        Raises:
            AuthenticationError: the token was ignored, or may have been: the namespace is empty.
            MalformedResponseError: an answer is none, or the walk runs in circles.
            QuayAPIError: no answer could be had.
        """
        from urllib.parse import quote  # not cheap; a fresh run lists nothing

        check_question(namespace)
        subject = f"listing of {namespace}"
        seen: set[str] = set()
        base = f"/repository?namespace={quote(namespace, safe='')}&public=true&last_modified=true"
        target = base
        for number in range(1, MAX_PAGES + 1):
            response = self._get(target, subject)
            try:
                page = parse_listing(response.body, namespace)
            except MalformedResponseError as error:
                error.checked_at = checked_at_of(response)
                raise _reworded(error, f"{subject}: {error}") from None
            if (
                self._token is not None
                and not page.authenticated
                and (number == 1 or page.repositories)
            ):
                raise _ignored_token(subject, page)
            names = {repository.name for repository in page.repositories}
            # Quay answers a page token that it cannot read with the first page.
            if number > 1 and names <= seen and (names or page.next_page):
                raise MalformedResponseError(
                    f"{subject}: page {number} shows no repository that was not there before;"
                    " the server did not take its own page token"
                )
            seen |= names
            self._run.count("listing_pages")
            last = page.next_page is None
            yield ListingPage(number, page.repositories, last, checked_at_of(response))
            if page.next_page is None:
                return
            target = f"{base}&next_page={quote(page.next_page, safe='')}"
        raise MalformedResponseError(f"{subject}: more than {MAX_PAGES} pages")

    def known_answer(
        self,
        namespace: str,
        repository: str,
        tag: str,
    ) -> None:
        """None: without a listing and without a cache, nothing is known."""

    def known_answers(
        self,
        namespace: str,  # noqa: ARG002 - a client with a cache looks it up
        tag: str,  # noqa: ARG002
        repositories: Iterable[Repository],
        page: ListingPage,
    ) -> dict[str, TagAnswer]:
        """The answers that a page of the listing proves without a request, by repository."""
        absent = TagAnswer(None, page.checked_at, Provenance.PROVEN)
        return {row.name: absent for row in repositories if row.last_modified is None}

    def claim(
        self,
        namespace: str,  # noqa: ARG002 - as above
        tag: str,  # noqa: ARG002
        repositories: Mapping[str, Listed | None],  # noqa: ARG002
        *,
        seconds: float,  # noqa: ARG002
    ) -> Collection[str]:
        """None: without a cache, nobody knows of others."""
        return ()

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Whether a repository carries a tag right now, and at which digest.

        Args:
            namespace: of the repository.
            repository: its name within the namespace.
            tag: exact; Quay's are case-sensitive.
            listed: the repository in a listing at hand. A 404 may then be a replica that lags
                and is retried.

        Raises:
            AuthenticationError, PermissionDeniedError, NotFoundError: the repository is missing
                or private. That never means that the tag is absent.
            QuayAPIError: no answer could be had.
        """
        fields, checked_at = self._tag_fields(namespace, repository, tag, listed)
        found = None if fields is None else parse_tag(fields)
        return TagAnswer(found, checked_at, Provenance.FETCHED)

    def has_tag(self, namespace: str, repository: str, tag: str) -> dict[str, Any] | None:
        """The JSON object of a tag as Quay sent it, or None if the repository does not carry it.

        For programs written against occystrap's ``QuayClient``; `tag_answer` is the typed twin,
        and raises the same.
        """
        return self._tag_fields(namespace, repository, tag, None)[0]

    def list_repositories(self, namespace: str, since_ts: float | None = None) -> list[str]:
        """The names of the repositories of a namespace, in the server's order.

        For programs written against occystrap's ``QuayClient``; `list_pages` is the typed twin,
        and raises the same.

        Args:
            since_ts: seconds UTC; leaves out repositories of which the listing proves that no tag
                is as new as that.
        """
        return listed_names(self.list_pages(namespace), since_ts)

    def _tag_fields(
        self, namespace: str, repository: str, tag: str, listed: Listed | None
    ) -> tuple[dict[str, Any] | None, float | None]:
        check_question(namespace, repository, tag)
        path = f"{namespace}/{repository}"
        target = f"/repository/{path}/tag/?specificTag={tag}&onlyActiveTags=true&limit=1"
        try:
            response = self._get(target, f"{path}:{tag}", retry_not_found=listed is not None)
            checked_at = checked_at_of(response)
            try:
                return parse_tag_fields(response.body, tag), checked_at
            except MalformedResponseError as error:
                error.checked_at = checked_at
                raise _reworded(error, f"{path}:{tag}: {error}") from None
        except AuthenticationError as error:
            why = "the repository is missing or private"
            if self._token is not None:
                why = f"the server ignored the token: {_IGNORED}"
            raise _reworded(error, f"{error}: {why}") from None
        except PermissionDeniedError as error:
            why = "the repository is missing, or the token has no right to read it"
            raise _reworded(error, f"{error}: {why}") from None

    def _get(self, path: str, subject: str, *, retry_not_found: bool = False) -> Response:
        headers = _HEADERS
        if self._token is not None:
            # With the request, never with a connection: those are shared between identities.
            headers = [*headers, (b"authorization", b"Bearer " + self._token.encode("ascii"))]
        return self._transport.get(
            f"{self._api_base.path}{path}",
            headers,
            self._run,
            subject=subject,
            retry_not_found=retry_not_found,
        )


def check_question(namespace: str, repository: str | None = None, tag: str | None = None) -> None:
    """Refuse names that cannot be any.

    Raises:
        QueryError: the message names the part.
    """
    _check(is_namespace(namespace), "namespace", namespace)
    if repository is not None:
        _check(is_repository(repository), "repository", repository)
    if tag is not None:
        # Quay takes an empty tag for "no filter" and answers with some other tag.
        _check(is_tag(tag), "tag", tag)


def listed_names(pages: Iterable[ListingPage], since_ts: float | None) -> list[str]:
    """The names on pages of a listing, but those proven to have no tag as new as `since_ts`."""
    names: dict[str, bool] = {}
    for page in pages:
        for repository in page.repositories:
            names[repository.name] = since_ts is None or (
                repository.last_modified is not None
                and not older_than(repository.last_modified, since_ts)
            )
    return [name for name, wanted in names.items() if wanted]


def _ignored_token(subject: str, page: ListingPayload) -> AuthenticationError:
    if page.repositories:
        return AuthenticationError(f"{subject}: the server ignored the token: {_IGNORED}")
    return AuthenticationError(
        f"{subject}: no repository to be seen: the namespace is empty or misspelt,"
        " or the token was not accepted"
    )


def _reworded(error: QuayAPIError, text: str) -> QuayAPIError:
    other = type(error)(text)
    other.status, other.retry_after = error.status, error.retry_after
    other.checked_at = error.checked_at
    return other


def _check(valid: bool, part: str, text: str) -> None:
    if not valid:
        raise QueryError(f"'{printable(text, 60)}' is no {part}")
