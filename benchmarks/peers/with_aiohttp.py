"""aiohttp: one thread, one session with a limited connector, over HTTP/1.1."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp

from benchmarks.peers import Question


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    return asyncio.run(_resolve(question))


async def _resolve(question: Question) -> int:
    connector = aiohttp.TCPConnector(limit=question.workers, ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:

        async def get(url: str) -> dict[str, Any]:
            async with session.get(url) as response:
                answer: dict[str, Any] = await response.json()
                return answer

        names: list[str] = []
        next_page = None
        while True:
            page = await get(question.listing(next_page))
            names += [row["name"] for row in page["repositories"]]
            next_page = page.get("next_page")
            if next_page is None:
                break
        answers = await asyncio.gather(*(get(question.check(name)) for name in names))
    return sum(bool(answer["tags"]) for answer in answers)
