"""Who else answers the question: each in a module of its own, as its documentation has it written.

A peer's `answer` takes a `Question` and returns how many repositories carry the tag. It lists the
namespace, page after page, and checks every repository with as many workers; what it does about
errors and limits is what its documentation does, which may be nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote


class Question(NamedTuple):
    """What is asked.

    Attributes:
        url: of the API: ``https://host:port/api/v1``.
        workers: how many repositories are checked at once.
        cache_dir: where a peer that has a cache keeps it.
        ttl: seconds for which what is in the cache is used without a request.
    """

    url: str
    namespace: str
    tag: str
    workers: int
    cache_dir: str | None = None
    ttl: float = 300.0

    def listing(self, next_page: str | None = None) -> str:
        """The URL of a page of the listing."""
        url = f"{self.url}/repository?namespace={self.namespace}&public=true&last_modified=true"
        return url if next_page is None else f"{url}&next_page={quote(next_page, safe='')}"

    def check(self, repository: str) -> str:
        """The URL that says whether a repository carries the tag."""
        return (
            f"{self.url}/repository/{self.namespace}/{repository}/tag/"
            f"?specificTag={self.tag}&onlyActiveTags=true&limit=1"
        )


class Peer(NamedTuple):
    """One of them.

    Attributes:
        module: in this package.
        distribution: whose version is printed.
        imports: modules to be imported before the clock starts.
    """

    module: str
    distribution: str
    imports: tuple[str, ...]


PEERS = {
    "quaycache": Peer("with_quaycache", "quaycache", ("quaycache.resolver", "quaycache.transport")),
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
    """The repositories' names, by a function from a URL to the JSON of its answer."""
    next_page = None
    while True:
        page = get(question.listing(next_page))
        for row in page["repositories"]:
            yield row["name"]
        next_page = page.get("next_page")
        if next_page is None:
            return
