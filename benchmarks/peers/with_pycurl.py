"""pycurl: libcurl's multi interface, C code in one thread over HTTP/2, the practical optimum."""

from __future__ import annotations

import json
import os
from collections import deque
from io import BytesIO
from typing import Any

import pycurl

from benchmarks.peers import Question, walk


def answer(question: Question) -> int:
    """Return how many repositories carry the tag."""
    lister = _handle()

    def get(url: str) -> dict[str, Any]:
        body = _prepare(lister, url)
        lister.perform()
        return _answer(lister, body)

    waiting = deque(walk(question, get))
    multi = pycurl.CurlMulti()
    # One connection per handle, like every other contender; Quay limits requests per connection.
    multi.setopt(pycurl.M_PIPELINING, 0)
    multi.setopt(pycurl.M_MAXCONNECTS, question.workers)
    idle = [_handle() for _ in range(question.workers)]
    bodies: dict[Any, BytesIO] = {}
    found = 0
    while waiting or bodies:
        while waiting and idle:
            handle = idle.pop()
            bodies[handle] = _prepare(handle, question.check(waiting.popleft()))
            multi.add_handle(handle)
        multi.perform()
        _, done, failed = multi.info_read()
        if failed:
            raise OSError(failed[0][2])
        for handle in done:
            multi.remove_handle(handle)
            found += bool(_answer(handle, bodies.pop(handle))["tags"])
            idle.append(handle)
        if not done:
            multi.select(1.0)
    return found


def _handle() -> Any:
    handle = pycurl.Curl()
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    handle.setopt(pycurl.CAINFO, os.environ["SSL_CERT_FILE"])
    return handle


def _prepare(handle: Any, url: str) -> BytesIO:
    body = BytesIO()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.WRITEDATA, body)
    return body


def _answer(handle: Any, body: BytesIO) -> dict[str, Any]:
    status = handle.getinfo(pycurl.RESPONSE_CODE)
    if status != 200:
        raise OSError(f"HTTP {status}")
    answer: dict[str, Any] = json.loads(body.getvalue())
    return answer
