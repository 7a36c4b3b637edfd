"""`resolve` answers queries with one ordered `Resolution`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from quaycache.cached.client import CachedQuayClient
from quaycache.errors import QueryError, SettingsError
from quaycache.quay.client import QuayClient
from quaycache.query import Query, midnight, parse_query
from quaycache.resolving.fanout import FanOut
from quaycache.store.choice import store_at

if TYPE_CHECKING:
    from datetime import date

    from quaycache.events import Listener
    from quaycache.freshness import Policy
    from quaycache.model import Resolution
    from quaycache.resolving.tag_client import TagClient

DEFAULT_WORKERS: Final = 4


def resolve(
    queries: Query | str | Iterable[Query | str],
    *,
    client: TagClient | None = None,
    max_workers: int = DEFAULT_WORKERS,
    keep_going: bool = False,
    on_event: Listener | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_url: str | None = None,
    policy: Policy | None = None,
) -> Resolution:
    """Return the repositories that carry the tags of the queries.

    Queries with the same namespace and token share one listing, and each tag of each repository is
    looked up once.

    Args:
        queries: One `Query` or ``quay://`` URI, or several.
        client: The client to use; None means an anonymous client of quay.io for this call.
        max_workers: How many tags are looked up at once, in addition to the listing.
        keep_going: Whether to collect failures in the result instead of raising the first.
        on_event: Called in this thread with each event of `quaycache.events`.
        cache_dir: A directory that stores answers between calls, opened for this call alone. For
            frequent calls, keep a `CachedQuayClient` open and pass it as *client*.
        cache_url: The URL of a Redis or Valkey that stores answers instead, such as
            ``redis://host:port/db``; see `RedisStore`.
        policy: How old an answer from the cache may be; None means `Policy()`.

    Raises:
        QueryError: If a URI is invalid, or *queries* holds anything but URIs and `Query` values.
        MissingExtraError: If *cache_url* needs redis-py.
        SettingsError: If *max_workers* is not positive, if *client* already has a cache and
            another argument sets one, or if *policy* is given without a cache.
        QuayAPIError: If a lookup or a listing fails: the first failure. Its ``repository`` names
            what failed; its ``partial`` holds the result until then.
        ResolveInterrupted: If Ctrl-C ends the resolve. It has ``partial`` too.
    """
    wanted = _parse_queries(queries)
    if max_workers < 1:
        raise SettingsError(f"max_workers must be 1 or more, not {max_workers}")
    with ExitStack() as opened:
        if client is None:
            client = opened.enter_context(QuayClient())
        store = store_at(cache_dir, cache_url, policy)
        if store is not None:
            if not isinstance(client, QuayClient):
                raise SettingsError("the client already has a cache of its own")
            client = opened.enter_context(CachedQuayClient(client, store, policy))
        elif policy is not None:
            raise SettingsError("a policy needs a cache: set cache_dir or cache_url")
        return FanOut(client, max_workers, keep_going, on_event).run(wanted)


def _parse_queries(queries: object) -> list[Query]:
    # A string and a `Query` are iterable themselves.
    if isinstance(queries, (str, Query)):
        queries = (queries,)
    if not isinstance(queries, Iterable):
        raise _not_a_query(queries)
    return [_parse_one(query) for query in queries]


def _parse_one(query: object) -> Query:
    if isinstance(query, str):
        return parse_query(query)
    if isinstance(query, Query):
        return query
    raise _not_a_query(query)


def _not_a_query(value: object) -> QueryError:
    return QueryError(f"expected quay:// URIs or Query values, not {type(value).__name__}")


def resolve_quay_uri(
    namespace: str,
    repo_glob: str,
    tag: str,
    token: str | None = None,
    since: date | None = None,
    max_workers: int = DEFAULT_WORKERS,
    *,
    client: TagClient | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_url: str | None = None,
) -> list[tuple[str, str, str]]:
    """Call `resolve` with the signature of occystrap's function of this name.

    Args:
        namespace, repo_glob, tag: The parts of a `Query`.
        token: An OAuth application token.
        since: A date; only tags set to their digest at its midnight, UTC, or later count.
        max_workers, client, cache_dir, cache_url: As for `resolve`.

    Returns:
        Tuples ``('quay.io', 'namespace/repository', tag)``, ordered by repository.

    Raises:
        QuaycacheError: As for `resolve`.
    """
    query = Query(namespace, repo_glob, tag, None if since is None else midnight(since), token)
    resolution = resolve(
        [query], client=client, max_workers=max_workers, cache_dir=cache_dir, cache_url=cache_url
    )
    return [(image.registry, image.repository, image.tag) for image in resolution.images]
