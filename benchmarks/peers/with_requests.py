"""requests: one session with a connection pool, shared by threads, over HTTP/1.1."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter

from benchmarks.peers import Question, walk


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    with requests.Session() as session:
        session.mount("https://", HTTPAdapter(pool_maxsize=question.workers))
        return resolve_with(session, question)


def resolve_with(session: requests.Session, question: Question) -> int:
    """Return how many repositories carry the tag; the caller owns the session."""
    # requests ignores SSL_CERT_FILE. Its reading of the environment is not thread-safe.
    session.verify = os.environ["SSL_CERT_FILE"]
    session.trust_env = False

    def get(url: str) -> dict[str, list[object]]:
        response = session.get(url, timeout=30.0)
        response.raise_for_status()
        answer: dict[str, list[object]] = response.json()
        return answer

    with ThreadPoolExecutor(question.workers) as threads:
        names = list(walk(question, get))
        return sum(map(bool, threads.map(lambda name: get(question.check(name))["tags"], names)))
