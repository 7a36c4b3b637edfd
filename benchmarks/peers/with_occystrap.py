"""occystrap: its function `resolve_quay_uri`, called as in its command."""

from __future__ import annotations

from occystrap import quay

from benchmarks.peers import Question


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    quay.QUAY_API_BASE = question.url
    found = quay.resolve_quay_uri(
        question.namespace, "*", question.tag, max_workers=question.workers
    )
    return len(found)
