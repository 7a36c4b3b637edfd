"""Which repositories of a Quay namespace carry a tag right now, and at which digest?

    >>> import quaycache
    >>> resolution = quaycache.resolve(["quay://kolla/*:latest"], max_workers=16)
    >>> [(image.repository, image.digest) for image in resolution.images]

The names below are imported at their first use: ``import quaycache`` alone costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quaycache.version import __version__

if TYPE_CHECKING:
    from quaycache.cached.client import CachedQuayClient as CachedQuayClient
    from quaycache.errors import AuthenticationError as AuthenticationError
    from quaycache.errors import BadRequestError as BadRequestError
    from quaycache.errors import MalformedResponseError as MalformedResponseError
    from quaycache.errors import MissingExtraError as MissingExtraError
    from quaycache.errors import NotFoundError as NotFoundError
    from quaycache.errors import NotStoredError as NotStoredError
    from quaycache.errors import PermissionDeniedError as PermissionDeniedError
    from quaycache.errors import QuayAPIError as QuayAPIError
    from quaycache.errors import QuaycacheError as QuaycacheError
    from quaycache.errors import QueryError as QueryError
    from quaycache.errors import RateLimitedError as RateLimitedError
    from quaycache.errors import ResolveInterrupted as ResolveInterrupted
    from quaycache.errors import ServerError as ServerError
    from quaycache.errors import SettingsError as SettingsError
    from quaycache.errors import StoreError as StoreError
    from quaycache.errors import TransportError as TransportError
    from quaycache.errors import UnexpectedStatusError as UnexpectedStatusError
    from quaycache.events import Checked as Checked
    from quaycache.events import ChecksPlanned as ChecksPlanned
    from quaycache.events import Event as Event
    from quaycache.events import Listener as Listener
    from quaycache.events import PageListed as PageListed
    from quaycache.freshness import Mode as Mode
    from quaycache.freshness import Policy as Policy
    from quaycache.model import UNKNOWN as UNKNOWN
    from quaycache.model import Failure as Failure
    from quaycache.model import Image as Image
    from quaycache.model import ListingPage as ListingPage
    from quaycache.model import Provenance as Provenance
    from quaycache.model import Repository as Repository
    from quaycache.model import Resolution as Resolution
    from quaycache.model import Stats as Stats
    from quaycache.model import Tag as Tag
    from quaycache.model import TagAnswer as TagAnswer
    from quaycache.model import Usage as Usage
    from quaycache.quay.client import QuayClient as QuayClient
    from quaycache.query import Query as Query
    from quaycache.query import parse_query as parse_query
    from quaycache.resolving.resolver import resolve as resolve
    from quaycache.resolving.resolver import resolve_quay_uri as resolve_quay_uri
    from quaycache.store.disk.store import DiskStore as DiskStore
    from quaycache.store.redis.store import RedisStore as RedisStore

_MODULES = {
    "cached.client": ("CachedQuayClient",),
    "quay.client": ("QuayClient",),
    "errors": (
        "AuthenticationError",
        "BadRequestError",
        "MalformedResponseError",
        "MissingExtraError",
        "NotFoundError",
        "NotStoredError",
        "PermissionDeniedError",
        "QuayAPIError",
        "QuaycacheError",
        "QueryError",
        "RateLimitedError",
        "ResolveInterrupted",
        "ServerError",
        "SettingsError",
        "StoreError",
        "TransportError",
        "UnexpectedStatusError",
    ),
    "events": ("Checked", "ChecksPlanned", "Event", "Listener", "PageListed"),
    "freshness": ("Mode", "Policy"),
    "model": (
        "UNKNOWN",
        "Failure",
        "Image",
        "ListingPage",
        "Provenance",
        "Repository",
        "Resolution",
        "Stats",
        "Tag",
        "TagAnswer",
        "Usage",
    ),
    "query": ("Query", "parse_query"),
    "resolving.resolver": ("resolve", "resolve_quay_uri"),
    "store.disk.store": ("DiskStore",),
    "store.redis.store": ("RedisStore",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
