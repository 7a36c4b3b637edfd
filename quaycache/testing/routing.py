"""The mapping of a request target to an endpoint."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

_REPOSITORY = "/api/v1/repository"


class Endpoint(enum.Enum):
    """An endpoint of the server."""

    LISTING = "listing"
    TAGS = "tag"
    REPOSITORY = "repository"
    MISSING_SLASH = "redirect"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint with the names in its path and its query parameters."""

    endpoint: Endpoint
    namespace: str = ""
    repository: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


def route(target: str) -> Route:
    """Return the route of a target such as ``/api/v1/repository/ns/repo/tag/?limit=1``.

    A repository name may contain slashes, escaped or not, and the word ``tag``: only a trailing
    ``/tag/`` selects the tag endpoint. That endpoint requires its trailing slash; without it, the
    answer is a redirect. The listing must not have a trailing slash. UNKNOWN is any other path.
    """
    path, _, text = target.partition("?")
    query = _parse_query(text) if text else {}
    if "%" in path:
        path = unquote(path)
    if path == _REPOSITORY:
        return Route(Endpoint.LISTING, query=query)
    if not path.startswith(f"{_REPOSITORY}/"):
        return Route(Endpoint.UNKNOWN)
    name = path[len(_REPOSITORY) + 1 :]
    endpoint = Endpoint.REPOSITORY
    if name.endswith("/tag/"):
        endpoint, name = Endpoint.TAGS, name[: -len("/tag/")]
    elif name.endswith("/tag") and "/" in name[: -len("/tag")]:
        endpoint, name = Endpoint.MISSING_SLASH, name[: -len("/tag")]
    namespace, _, repository = name.partition("/")
    if not namespace or not all(repository.split("/")):
        return Route(Endpoint.UNKNOWN)
    return Route(endpoint, namespace, repository, query)


@lru_cache(maxsize=512)
def _parse_query(text: str) -> Mapping[str, str]:
    # If a parameter is repeated, Quay's parser takes the first value.
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))
