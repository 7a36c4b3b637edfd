"""A request's target -> the endpoint it means."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

_REPOSITORY = "/api/v1/repository"


class Endpoint(enum.Enum):
    """What a target asks for."""

    LISTING = "listing"
    TAGS = "tag"
    REPOSITORY = "repository"
    MISSING_SLASH = "redirect"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, with the names in the path and the query of the URL."""

    endpoint: Endpoint
    namespace: str = ""
    repository: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


def route(target: str) -> Route:
    """The endpoint of a target such as ``/api/v1/repository/ns/repo/tag/?limit=1``.

    Repository names may hold slashes, escaped or not, and the word ``tag``; the last ``/tag/``
    decides. A path that Quay's web application does not know is NOTHING: the listing has no
    trailing slash, the tags must have one, and without it the answer is a redirect.
    """
    path, _, text = target.partition("?")
    query = _parse_query(text) if text else {}
    if "%" in path:
        path = unquote(path)
    if path == _REPOSITORY:
        return Route(Endpoint.LISTING, query=query)
    if not path.startswith(f"{_REPOSITORY}/"):
        return Route(Endpoint.NOTHING)
    name = path[len(_REPOSITORY) + 1 :]
    endpoint = Endpoint.REPOSITORY
    if name.endswith("/tag/"):
        endpoint, name = Endpoint.TAGS, name[: -len("/tag/")]
    elif name.endswith("/tag") and "/" in name[: -len("/tag")]:
        endpoint, name = Endpoint.MISSING_SLASH, name[: -len("/tag")]
    namespace, _, repository = name.partition("/")
    if not namespace or not all(repository.split("/")):
        return Route(Endpoint.NOTHING)
    return Route(endpoint, namespace, repository, query)


@lru_cache(maxsize=512)
def _parse_query(text: str) -> Mapping[str, str]:
    # The first of several values of one name counts, as in Quay's parser.
    return dict(reversed(parse_qsl(text, keep_blank_values=True)))
