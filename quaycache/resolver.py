"""`resolve`: queries in, one ordered `Resolution` out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from quaycache.cached.client import CachedQuayClient
from quaycache.client import QuayClient
from quaycache.errors import QueryError, SettingsError
from quaycache.query import Query, midnight, parse_query
from quaycache.resolving.fanout import FanOut
from quaycache.store.choice import store_at

if TYPE_CHECKING:
    from datetime import date

    from quaycache.events import Listener
    from quaycache.freshness import Policy
    from quaycache.model import Resolution
    from quaycache.tag_client import TagClient

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
    """The repositories that carry the tags asked for.

    Queries of one namespace in one name share its listing; the same question is asked once.

    Args:
        queries: one `Query` or ``quay://`` URI, or several.
        client: None means an anonymous client of quay.io for this call.
        max_workers: how many tags are checked at once; the listing is read beside that.
        keep_going: collect failures in the result instead of ending with the first.
        on_event: called with each event in `quaycache.events`, in this thread.
        cache_dir: a directory where answers are kept between calls, for this call alone; a program
            that calls often keeps a `CachedQuayClient` and passes that as `client`.
        cache_url: a Redis or Valkey instead: ``redis://host:port/db``; see `RedisStore`.
        policy: how old an answer from the cache may be; None means `Policy()`.

    Raises:
        QueryError: If a URI is invalid, or *queries* is anything else.
        MissingExtraError: `cache_url` needs redis-py.
        SettingsError: `max_workers` is not positive; or `client` has a cache of its own, or there
            is none at all, and another argument asks for one.
        QuayAPIError: the first failure; its ``repository`` names the one that failed, its
            ``partial`` holds what was found until then.
        ResolveInterrupted: Ctrl-C; ``partial`` as above.
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
                raise SettingsError("a cache is for a client without a cache of its own")
            client = opened.enter_context(CachedQuayClient(client, store, policy))
        elif policy is not None:
            raise SettingsError("a policy needs a cache; a client's own cache has its own")
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
    """`resolve` for programs written against occystrap's function of this name.

    Args:
        token: an OAuth application token.
        since: only tags that came to point at their digest at its midnight, UTC, or later.
        client: None means an anonymous client of quay.io for this call.
        cache_dir, cache_url: where answers are kept between calls, as in `resolve`.

    Returns:
        ``('quay.io', 'namespace/repository', tag)``, ordered by repository.

    Raises:
        As `resolve`.
    """
    query = Query(namespace, repo_glob, tag, None if since is None else midnight(since), token)
    resolution = resolve(
        [query], client=client, max_workers=max_workers, cache_dir=cache_dir, cache_url=cache_url
    )
    return [(image.registry, image.repository, image.tag) for image in resolution.images]
