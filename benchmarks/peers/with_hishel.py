"""hishel: its SQLite storage in front of the same requests, set up as documented."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from hishel import SqliteStorage
from hishel.httpx import CacheClient

from benchmarks.peers import Question, walk


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    assert question.cache_dir is not None
    storage = SqliteStorage(
        database_path=Path(question.cache_dir) / "hishel.db", default_ttl=question.ttl
    )
    limits = httpx.Limits(max_connections=question.workers)
    with (
        CacheClient(storage=storage, limits=limits, timeout=30.0) as client,
        ThreadPoolExecutor(question.workers) as threads,
    ):

        def get(url: str) -> dict[str, list[object]]:
            answer: dict[str, list[object]] = client.get(url).raise_for_status().json()
            return answer

        names = list(walk(question, get))
        return sum(map(bool, threads.map(lambda name: get(question.check(name))["tags"], names)))
