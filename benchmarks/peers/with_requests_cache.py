"""requests-cache: its SQLite backend in front of the same requests, set up as documented."""

from __future__ import annotations

from pathlib import Path

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession

from benchmarks.peers import Question
from benchmarks.peers.with_requests import resolve_with


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    assert question.cache_dir is not None
    database = Path(question.cache_dir) / "requests-cache.sqlite"
    with CachedSession(str(database), backend="sqlite", expire_after=question.ttl) as session:
        session.mount("https://", HTTPAdapter(pool_maxsize=question.workers))
        return resolve_with(session, question)
