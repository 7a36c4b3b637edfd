"""`resolve_quay_uri` as occystrap calls it: the same results with fewer requests."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Final

from quaycache.api_base import DEFAULT_API_URL
from quaycache.cached.client import CachedQuayClient
from quaycache.errors import (
    AuthenticationError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    QuayAPIError,
    QuaycacheError,
    SettingsError,
)
from quaycache.freshness import Policy
from quaycache.occystrap.logs import LOG, forwarded_logs
from quaycache.quay.client import QuayClient
from quaycache.quay.retrying import DEFAULT_RETRIES
from quaycache.query import Query, midnight, parse_token
from quaycache.resolving.resolver import DEFAULT_WORKERS, resolve
from quaycache.store.choice import store_at

if TYPE_CHECKING:
    from quaycache.model import Resolution
    from quaycache.resolving.tag_client import TagClient
    from quaycache.store.protocol import Store

_DEFAULT_TTL: Final = Policy().ttl

# occystrap's own function returns this for any API base.
_REGISTRY: Final = "quay.io"

_REFUSED: Final = (AuthenticationError, PermissionDeniedError, NotFoundError)


def resolve_quay_uri(
    namespace: str,
    repo_glob: str,
    tag: str,
    token: object = None,
    since: date | None = None,
    max_workers: int = DEFAULT_WORKERS,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_url: str | None = None,
    cache_ttl: float = _DEFAULT_TTL,
    retries: int = DEFAULT_RETRIES,
    rate_limit: float | None = None,
    error: type[Exception] = QuayAPIError,
) -> list[tuple[str, str, str]]:
    """Replace ``occystrap.quay.resolve_quay_uri``.

    Sends requests to the current value of ``occystrap.quay.QUAY_API_BASE``, or to quay.io if
    occystrap is not imported. Logs under ``occystrap.quaycache``.

    Args:
        namespace, repo_glob, tag: As for occystrap's function.
        token: As for occystrap's function: the ``?token=`` of the URI, in any type that occystrap
            converts it to, or the registry password. Quay ignores anything but an OAuth
            application token; this then logs a warning and continues without it.
        since: Only tags set to their digest at midnight UTC of this date, or later.
        max_workers: How many tags are looked up at once.
        cache_dir: A directory that stores answers between calls; None means no cache. An unusable
            one produces a warning.
        cache_url: The URL of a Redis or Valkey that stores answers instead.
        cache_ttl: Seconds for which an answer is used without a request.
        retries: How often one request is repeated.
        rate_limit: Requests per second of all workers together. None means no limit; so does 0, as
            for occystrap's function.
        error: The class to raise instead of quaycache's own errors, called with a message.

    Returns:
        A tuple ``('quay.io', 'namespace/repository', tag)`` for each match, ordered by repository.

    Raises:
        QuayAPIError: If an argument is invalid, or the answer is incomplete. With *error*, that
            class instead.
    """
    try:
        query = Query(namespace, repo_glob, tag, None if since is None else midnight(since))
        with forwarded_logs(), ExitStack() as opened:
            uncached = opened.enter_context(
                QuayClient(api_url=_api_url(), retries=retries, rate_limit=rate_limit or None)
            )
            client: TagClient = uncached
            store = _store(cache_dir or None, cache_url or None)
            if store is not None:
                policy = Policy(ttl=cache_ttl)
                client = opened.enter_context(CachedQuayClient(uncached, store, policy))
            LOG.info("Resolving %s with %d workers...", query, max_workers)
            resolver = _Resolver(client, max_workers)
            resolution = resolver.resolve(query._replace(token=_usable(token)))
    except QuaycacheError as problem:
        raise error(str(problem)) from problem
    stats = resolution.stats
    LOG.info(
        "Found %d of %d repositories with tag %s (%d requests)",
        stats.found,
        stats.matched,
        tag,
        resolver.requests,
    )
    return [(_REGISTRY, image.repository, image.tag) for image in resolution.images]


class _Resolver:
    """Resolves a query with a token, and without it if Quay does not accept the token.

    Attributes:
        requests: HTTP requests sent so far.
    """

    def __init__(self, client: TagClient, max_workers: int) -> None:
        self.requests = 0
        self._client = client
        self._max_workers = max_workers

    def resolve(self, query: Query) -> Resolution:
        if query.token is not None:
            try:
                # Only a listing shows whether Quay accepts a token.
                return self._resolve_once(_with_listing(query))
            except AuthenticationError as refusal:
                _warn_of_ignored_token(str(refusal))
                query = query._replace(token=None)
        try:
            return self._resolve_once(query)
        except _REFUSED:
            if query.repository is None:
                raise
            # To occystrap, an unlisted repository does not exist. To Quay, it may be private.
            return self._resolve_once(_with_listing(query))

    def _resolve_once(self, query: Query) -> Resolution:
        try:
            resolution = resolve([query], client=self._client, max_workers=self._max_workers)
        except QuayAPIError as error:
            if error.partial is not None:
                self.requests += error.partial.stats.usage.requests
            raise
        self.requests += resolution.stats.usage.requests
        return resolution


def _with_listing(query: Query) -> Query:
    """Return an equivalent query with a wildcard, which makes the resolver read the listing."""
    name = query.repository
    return query if name is None else query._replace(pattern=f"[{name[0]}]{name[1:]}")


def _usable(token: object) -> str | None:
    """Return the token as text, or None if it cannot be sent; occystrap may pass 5 or True."""
    if not token:
        return None
    try:
        return parse_token(str(token))
    except SettingsError as error:
        _warn_of_ignored_token(str(error))
        return None


def _warn_of_ignored_token(reason: str) -> None:
    LOG.warning(
        "Continuing without the token, because Quay's API takes only OAuth application tokens: %s",
        reason,
    )


def _store(cache_dir: str | os.PathLike[str] | None, cache_url: str | None) -> Store | None:
    try:
        return store_at(cache_dir, cache_url)
    except (MissingExtraError, SettingsError) as error:
        LOG.warning("%s; running without a cache", error)
        return None


def _api_url() -> str:
    return str(getattr(sys.modules.get("occystrap.quay"), "QUAY_API_BASE", DEFAULT_API_URL))
