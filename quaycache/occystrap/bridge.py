"""`resolve_quay_uri` as occystrap calls it: the same answers, for fewer requests."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Final

from quaycache.api_base import DEFAULT_API_URL
from quaycache.cached.client import CachedQuayClient
from quaycache.client import QuayClient
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
from quaycache.query import Query, midnight, parse_token
from quaycache.resolver import DEFAULT_WORKERS, resolve
from quaycache.retrying import DEFAULT_RETRIES
from quaycache.store.choice import store_at

if TYPE_CHECKING:
    from quaycache.model import Resolution
    from quaycache.store.protocol import Store
    from quaycache.tag_client import TagClient

_DEFAULT_TTL: Final = Policy().ttl

# As occystrap's own function says, whatever its API base is.
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
    """In place of ``occystrap.quay.resolve_quay_uri``.

    What it asks is ``occystrap.quay.QUAY_API_BASE``, as it is at this moment; quay.io if occystrap
    is not imported. What happens is logged under ``occystrap.quaycache``.

    Args:
        namespace, repo_glob, tag: as there.
        token: as there: the ``?token=`` of the URI, of whatever type occystrap took it for, or the
            registry password. Quay ignores anything but an OAuth application token; then this
            warns, and goes on without it.
        since: only tags that came to point at their digest at its midnight, UTC, or later.
        max_workers: how many tags are checked at once.
        cache_dir: a directory where answers are kept between calls; None means no cache. One that
            cannot be used costs a warning.
        cache_url: a Redis or Valkey instead.
        cache_ttl: seconds for which an answer is used without a request.
        retries: how often one request is repeated.
        rate_limit: requests a second over all workers; None and, as there, 0 mean as fast as the
            server takes.
        error: what to raise instead of this package's own errors; called with a message.

    Returns:
        ``('quay.io', 'namespace/repository', tag)`` of each match, ordered by repository.

    Raises:
        QuayAPIError: or `error`: an argument is wrong, or no complete answer could be had.
    """
    try:
        query = Query(namespace, repo_glob, tag, None if since is None else midnight(since))
        with forwarded_logs(), ExitStack() as opened:
            asking = opened.enter_context(
                QuayClient(api_url=_api_url(), retries=retries, rate_limit=rate_limit or None)
            )
            client: TagClient = asking
            store = _store(cache_dir or None, cache_url or None)
            if store is not None:
                policy = Policy(ttl=cache_ttl)
                client = opened.enter_context(CachedQuayClient(asking, store, policy))
            LOG.info("Resolving %s with %d workers...", query, max_workers)
            asker = _Asker(client, max_workers)
            resolution = asker.resolve(query._replace(token=_usable(token)))
    except QuaycacheError as problem:
        raise error(str(problem)) from problem
    stats = resolution.stats
    LOG.info(
        "Found %d of %d repositories with tag %s (%d requests)",
        stats.found,
        stats.matched,
        tag,
        asker.requests,
    )
    return [(_REGISTRY, image.repository, image.tag) for image in resolution.images]


class _Asker:
    """Asks as occystrap would: in vain with a password, and then without it.

    Attributes:
        requests: sent so far.
    """

    def __init__(self, client: TagClient, max_workers: int) -> None:
        self.requests = 0
        self._client = client
        self._max_workers = max_workers

    def resolve(self, query: Query) -> Resolution:
        if query.token is not None:
            try:
                # Only a listing shows whether a token is taken.
                return self._ask(_through_listing(query))
            except AuthenticationError as refusal:
                _warn_of_ignored_token(str(refusal))
                query = query._replace(token=None)
        try:
            return self._ask(query)
        except _REFUSED:
            if query.repository is None:
                raise
            # To occystrap, what is not listed is not there. To Quay it may be private.
            return self._ask(_through_listing(query))

    def _ask(self, query: Query) -> Resolution:
        try:
            resolution = resolve([query], client=self._client, max_workers=self._max_workers)
        except QuayAPIError as error:
            if error.partial is not None:
                self.requests += error.partial.stats.usage.requests
            raise
        self.requests += resolution.stats.usage.requests
        return resolution


def _through_listing(query: Query) -> Query:
    """The same question with a wildcard in it, so that the listing is asked too."""
    name = query.repository
    return query if name is None else query._replace(pattern=f"[{name[0]}]{name[1:]}")


def _usable(token: object) -> str | None:
    """A token that can be sent; occystrap makes numbers and truth values of some, None of none."""
    if not token:
        return None
    try:
        return parse_token(str(token))
    except SettingsError as error:
        _warn_of_ignored_token(str(error))
        return None


def _warn_of_ignored_token(reason: str) -> None:
    LOG.warning(
        "Going on without the token, because Quay's API takes OAuth application tokens only: %s",
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
