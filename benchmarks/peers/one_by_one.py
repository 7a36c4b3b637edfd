"""A plain loop with httpx: one client, one request after the other, over HTTP/2."""

from __future__ import annotations

import httpx

from benchmarks.peers import Question, walk


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    with httpx.Client(http2=True) as client:

        def get(url: str) -> dict[str, list[object]]:
            answer: dict[str, list[object]] = client.get(url).raise_for_status().json()
            return answer

        names = list(walk(question, get))
        return sum(bool(get(question.check(name))["tags"]) for name in names)
