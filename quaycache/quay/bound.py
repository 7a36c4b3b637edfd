"""Quay's API v1 within one run: one method for each endpoint, which handles its quirks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from quaycache.errors import (
    AuthenticationError,
    MalformedResponseError,
    PermissionDeniedError,
)
from quaycache.model import ListingPage, Provenance, TagAnswer
from quaycache.names import identity_of
from quaycache.quay.payload import ListingPayload, parse_listing, parse_tag, parse_tag_fields
from quaycache.quay.relisting import Relisting
from quaycache.quay.retrying import RetryingTransport, checked_at_of
from quaycache.version import __version__

if TYPE_CHECKING:
    from quaycache.api_base import ApiBase
    from quaycache.model import Listed, Repository
    from quaycache.quay.transport import Response
    from quaycache.run import Run

MAX_PAGES: Final = 10_000
"""A million repositories: the limit for a server that invents names without end."""

_IGNORED: Final = "it is expired, malformed, a password or a robot account's token"

_HEADERS: Final = [
    (b"user-agent", f"quaycache/{__version__}".encode("ascii")),
    (b"accept", b"application/json"),
]


class ListingCursor:
    """The position at which a listing continues.

    Args:
        number: The number of the next page.
        token: The server's token for the next page.
        seen: The names on earlier pages; fetching a page adds its names.
    """

    __slots__ = ("number", "seen", "token")

    def __init__(self, number: int, token: str, seen: set[str]) -> None:
        self.number = number
        self.token = token
        self.seen = seen


class BoundQuayClient:
    """A `quaycache.resolving.tag_client.BoundClient` without a cache. Thread-safe.

    Args:
        transport: Sends the requests.
        api_base: The API.
        token: The token to send with each request, or None.
        run: Counts the requests, and can cancel them.
    """

    def __init__(
        self, transport: RetryingTransport, api_base: ApiBase, token: str | None, run: Run
    ) -> None:
        self._transport = transport
        self._api_base = api_base
        self._token = token
        self._run = run
        self._relisting = Relisting(self.list_pages)

    @property
    def api_url(self) -> str:
        """The URL of the API, normalised."""
        return str(self._api_base)

    @property
    def identity(self) -> str:
        """``"anon"``, or a one-way hash of the token."""
        return identity_of(self._token)

    def list_pages(self, namespace: str) -> Iterator[ListingPage]:
        """Yield pages as `quaycache.quay.client.QuayClient.list_pages` does."""
        page, cursor = self.fetch_page(namespace, None)
        yield page
        while cursor is not None:
            page, cursor = self.fetch_page(namespace, cursor)
            yield page

    def fetch_page(
        self, namespace: str, cursor: ListingCursor | None
    ) -> tuple[ListingPage, ListingCursor | None]:
        """Return one page of a listing, and the cursor of the next; None after the last page.

        Args:
            namespace: The namespace to list.
            cursor: The cursor that the previous page came with; None means the first page.

        Raises:
            AuthenticationError: If the token was ignored, or may have been: the namespace is empty.
            MalformedResponseError: If the response is malformed, or the listing repeats itself.
            QuayAPIError: If the server sends no usable answer.
        """
        from urllib.parse import quote  # not cheap; a fresh run lists nothing

        number, seen = (1, set[str]()) if cursor is None else (cursor.number, cursor.seen)
        subject = f"listing of {namespace}"
        if number > MAX_PAGES:
            raise MalformedResponseError(f"{subject}: more than {MAX_PAGES} pages")
        target = f"/repository?namespace={quote(namespace, safe='')}&public=true&last_modified=true"
        if cursor is not None:
            target += f"&next_page={quote(cursor.token, safe='')}"
        response = self._get(target, subject)
        try:
            page = parse_listing(response.body, namespace)
        except MalformedResponseError as error:
            error.checked_at = checked_at_of(response)
            raise error.with_message(f"{subject}: {error}") from error.__cause__
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
                f"{subject}: page {number} only repeats earlier repositories;"
                " the server did not recognise its own page token"
            )
        self._run.count("listing_pages")
        following = None
        if page.next_page is not None:
            # Not for the last page: if its reader is interrupted, another may request it again.
            seen |= names
            following = ListingCursor(number + 1, page.next_page, seen)
        checked_at = checked_at_of(response)
        return ListingPage(number, page.repositories, following is None, checked_at), following

    def known_answer(
        self,
        namespace: str,
        repository: str,
        tag: str,
    ) -> None:
        """Return None: without a listing and without a cache, nothing is known."""

    def known_answers(
        self,
        namespace: str,  # noqa: ARG002 - a client with a cache uses it
        tag: str,  # noqa: ARG002
        repositories: Iterable[Repository],
        page: ListingPage,
    ) -> dict[str, TagAnswer]:
        """Return the answers that a page of the listing proves without a request, by repository."""
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
        """Return an empty collection: without a cache, runs do not know each other."""
        return ()

    def tag_answer(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Return whether a repository carries a tag right now, and at which digest.

        If a listed repository is refused, the namespace is listed again.

        Raises:
            QuayAPIError: As `fetch_tag`.
        """

        def ask() -> TagAnswer:
            return self.fetch_tag(namespace, repository, tag, listed=listed)

        return ask() if listed is None else self._relisting.decide(namespace, repository, ask)

    def fetch_tag(
        self, namespace: str, repository: str, tag: str, *, listed: Listed | None = None
    ) -> TagAnswer:
        """Request the answer as `quaycache.quay.client.QuayClient.tag_answer` describes it."""
        fields, checked_at = self.tag_fields(namespace, repository, tag, listed)
        found = None if fields is None else parse_tag(fields)
        return TagAnswer(found, checked_at, Provenance.FETCHED)

    def tag_fields(
        self, namespace: str, repository: str, tag: str, listed: Listed | None
    ) -> tuple[dict[str, Any] | None, float | None]:
        """Return a tag's JSON object, or None if it is absent, and the time of the check."""
        path = f"{namespace}/{repository}"
        target = f"/repository/{path}/tag/?specificTag={tag}&onlyActiveTags=true&limit=1"
        try:
            response = self._get(target, f"{path}:{tag}", retry_not_found=listed is not None)
            checked_at = checked_at_of(response)
            try:
                return parse_tag_fields(response.body, tag), checked_at
            except MalformedResponseError as error:
                error.checked_at = checked_at
                raise error.with_message(f"{path}:{tag}: {error}") from error.__cause__
        except AuthenticationError as error:
            why = "the repository is missing or private"
            if self._token is not None:
                why = f"the server ignored the token: {_IGNORED}"
            raise error.with_message(f"{error}: {why}") from error.__cause__
        except PermissionDeniedError as error:
            why = "the repository is missing, or the token has no right to read it"
            raise error.with_message(f"{error}: {why}") from error.__cause__

    def _get(self, path: str, subject: str, *, retry_not_found: bool = False) -> Response:
        headers = _HEADERS
        if self._token is not None:
            # Sent with each request, because identities share the connections.
            headers = [*headers, (b"authorization", b"Bearer " + self._token.encode("ascii"))]
        return self._transport.get(
            f"{self._api_base.path}{path}",
            headers,
            self._run,
            subject=subject,
            retry_not_found=retry_not_found,
        )


def _ignored_token(subject: str, page: ListingPayload) -> AuthenticationError:
    if page.repositories:
        return AuthenticationError(f"{subject}: the server ignored the token: {_IGNORED}")
    return AuthenticationError(
        f"{subject}: no visible repository: the namespace is empty or misspelt,"
        " or the token was not accepted"
    )
