"""httpx: one client shared by threads, over HTTP/1.1, because over HTTP/2 it loses answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks.peers import Question, walk


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    limits = httpx.Limits(max_connections=question.workers)
    with (
        httpx.Client(limits=limits, timeout=30.0) as client,
        ThreadPoolExecutor(question.workers) as threads,
    ):

        def get(url: str) -> dict[str, list[object]]:
            answer: dict[str, list[object]] = client.get(url).raise_for_status().json()
            return answer

        names = list(walk(question, get))
        return sum(map(bool, threads.map(lambda name: get(question.check(name))["tags"], names)))
