"""quaycache: cold, or with its cache."""

from __future__ import annotations

from benchmarks.peers import Question
from quaycache import Policy, QuayClient, resolve


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    uri = f"quay://{question.namespace}/*:{question.tag}"
    policy = None if question.cache_dir is None else Policy(ttl=question.ttl)
    with QuayClient(api_url=question.url) as client:
        resolution = resolve(
            [uri],
            client=client,
            max_workers=question.workers,
            cache_dir=question.cache_dir,
            policy=policy,
        )
    return len(resolution.images)
