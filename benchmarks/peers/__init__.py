"""The contenders, each in a separate module, written as its documentation recommends.

The function `answer` of a peer takes a `Question` and returns how many repositories carry the tag.
It lists the namespace page by page and checks every repository, with `Question.workers` workers. It
handles errors and rate limits as its documentation shows, if at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote


class Question(NamedTuple):
    """The task of a contender: how many repositories of a namespace carry the tag?

    Attributes:
        url: the URL of the API: ``https://host:port/api/v1``.
        namespace: the namespace.
        tag: the tag.
        workers: the number of repositories to check at once.
        cache_dir: the directory for the cache of a peer that has one.
        ttl: the seconds for which a peer uses a cached answer without a request.
    """

    url: str
    namespace: str
    tag: str
    workers: int
    cache_dir: str | None = None
    ttl: float = 300.0

    def listing(self, next_page: str | None = None) -> str:
        """Return the URL of a page of the listing."""
        url = f"{self.url}/repository?namespace={self.namespace}&public=true&last_modified=true"
        return url if next_page is None else f"{url}&next_page={quote(next_page, safe='')}"

    def check(self, repository: str) -> str:
        """Return the URL that shows whether a repository carries the tag."""
        return (
            f"{self.url}/repository/{self.namespace}/{repository}/tag/"
            f"?specificTag={self.tag}&onlyActiveTags=true&limit=1"
        )


class Peer(NamedTuple):
    """A contender.

    Attributes:
        module: the name of its module in this package.
        distribution: the name of the distribution whose version is printed.
        imports: the modules to import before the measurement.
    """

    module: str
    distribution: str
    imports: tuple[str, ...]


PEERS = {
    "quaycache": Peer(
        "with_quaycache", "quaycache", ("quaycache.resolving.resolver", "quaycache.quay.transport")
    ),
    "occystrap": Peer("with_occystrap", "occystrap", ("occystrap.quay",)),
    "one by one": Peer("one_by_one", "httpx", ("httpx",)),
    "httpx, threads": Peer("with_httpx_threads", "httpx", ("httpx",)),
    "requests": Peer("with_requests", "requests", ("requests",)),
    "aiohttp": Peer("with_aiohttp", "aiohttp", ("aiohttp",)),
    "pycurl multi": Peer("with_pycurl", "pycurl", ("pycurl",)),
    "hishel": Peer("with_hishel", "hishel", ("hishel.httpx",)),
    "requests-cache": Peer("with_requests_cache", "requests-cache", ("requests_cache",)),
}


def walk(question: Question, get: Any) -> Iterator[str]:
    """Return the names of the repositories; `get` returns the JSON document at a URL."""
    next_page = None
    while True:
        page = get(question.listing(next_page))
        for row in page["repositories"]:
            yield row["name"]
        next_page = page.get("next_page")
        if next_page is None:
            return
