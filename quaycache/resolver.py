"""`resolve`: queries in, one ordered `Resolution` out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Final

from quaycache.client import QuayClient
from quaycache.errors import SettingsError
from quaycache.fanout import FanOut, TagClient
from quaycache.query import Query, parse_query

if TYPE_CHECKING:
    from quaycache.events import Listener
    from quaycache.model import Resolution

DEFAULT_WORKERS: Final = 4


def resolve(
    queries: Iterable[Query | str],
    *,
    client: TagClient | None = None,
    max_workers: int = DEFAULT_WORKERS,
    keep_going: bool = False,
    on_event: Listener | None = None,
) -> Resolution:
    """The repositories that carry the tags asked for.

    Queries of one namespace in one name share its listing; the same question is asked once.

    Args:
        queries: `Query` values, or ``quay://`` URIs.
        client: None means an anonymous client of quay.io for this call.
        max_workers: how many tags are checked at once; the listing is read beside that.
        keep_going: collect failures in the result instead of ending with the first.
        on_event: called with each event in `quaycache.events`, in this thread.

    Raises:
        QueryError: a URI is wrong.
        SettingsError: `max_workers` is not positive.
        QuayAPIError: the first failure; its ``repository`` names the one that failed, its
            ``partial`` holds what was found until then.
        ResolveInterrupted: Ctrl-C; ``partial`` as above.
    """
    wanted = [parse_query(query) if isinstance(query, str) else query for query in queries]
    if max_workers < 1:
        raise SettingsError(f"max_workers must be 1 or more, not {max_workers}")
    own = client is None
    used = client if client is not None else QuayClient()
    try:
        return FanOut(used, max_workers, keep_going, on_event).run(wanted)
    finally:
        if own:
            used.close()


def resolve_quay_uri(
    namespace: str,
    repo_glob: str,
    tag: str,
    token: str | None = None,
    since: date | None = None,
    max_workers: int = DEFAULT_WORKERS,
    *,
    client: TagClient | None = None,
) -> list[tuple[str, str, str]]:
    """`resolve` for programs written against occystrap's function of this name.

    Args:
        token: an OAuth application token.
        since: only tags that came to point at their digest at its midnight, UTC, or later.
        client: None means an anonymous client of quay.io for this call.

    Returns:
        ``('quay.io', 'namespace/repository', tag)``, ordered by repository.

    Raises:
        As `resolve`.
    """
    since_ts = None
    if since is not None:
        midnight = datetime(since.year, since.month, since.day, tzinfo=timezone.utc)
        since_ts = int(midnight.timestamp())
    query = Query(namespace, repo_glob, tag, since_ts, token)
    resolution = resolve([query], client=client, max_workers=max_workers)
    return [(image.registry, image.repository, image.tag) for image in resolution.images]
