"""Rate limits, as nginx computes them."""

from __future__ import annotations

import pytest

from quaycache.testing import EmbeddedQuay, RateLimit
from quaycache.testing.limits import LeakyBuckets, Limiter

from .conftest import Connect
from .reader import LISTING

REPOSITORIES = "/api/v1/repository"


def admitted(buckets: LeakyBuckets, times: list[int], key: str = "a") -> list[bool]:
    return [buckets.admit(key, now_ms) for now_ms in times]


def test_a_burst_of_n_admits_n_plus_1_requests_at_once() -> None:
    buckets = LeakyBuckets(RateLimit(rate=5, burst=25, key="ip"))
    assert admitted(buckets, [0] * 28) == [True] * 26 + [False] * 2


def test_a_full_bucket_admits_one_request_per_interval_to_the_millisecond() -> None:
    buckets = LeakyBuckets(RateLimit(rate=5, burst=0, key="ip"))
    assert admitted(buckets, [0, 199, 200, 399, 400]) == [True, False, True, False, True]


def test_a_refused_request_does_not_count() -> None:
    buckets = LeakyBuckets(RateLimit(rate=10, burst=0, key="ip"))
    assert admitted(buckets, [0, *range(1, 100), 100])[-1] is True


def test_a_bucket_leaks_without_requests() -> None:
    buckets = LeakyBuckets(RateLimit(rate=5, burst=2, key="ip"))
    assert admitted(buckets, [0, 0, 0, 0]) == [True, True, True, False]
    assert admitted(buckets, [10_000, 10_000, 10_000, 10_000]) == [True, True, True, False]


def test_the_leak_is_rounded_down_to_thousandths_of_a_request() -> None:
    # At 3 requests per second, 0.999 of a request leaks in 333 ms.
    buckets = LeakyBuckets(RateLimit(rate=3, burst=0, key="ip"))
    assert admitted(buckets, [0, 333, 334]) == [True, False, True]


def test_each_key_has_a_separate_bucket() -> None:
    buckets = LeakyBuckets(RateLimit(rate=5, burst=0, key="ip"))
    assert [buckets.admit(key, 0) for key in "abab"] == [True, True, False, False]


def passed(limiter: Limiter, *, http2: bool, connections: int, tries: int) -> int:
    """Return how many requests of one client pass at once, with `tries` on each connection."""
    return sum(
        limiter.admit(http2=http2, connection=connection, address="127.0.0.1", now_ms=0)
        for connection in range(connections)
        for _ in range(tries)
    )


def test_quay_limits_http2_by_connection_and_http1_by_address() -> None:
    assert passed(Limiter("quay"), http2=True, connections=3, tries=200) == 3 * 101
    assert passed(Limiter("quay"), http2=False, connections=200, tries=3) == 26


@pytest.mark.parametrize(("key", "expected"), [("connection", 3 * 4), ("ip", 4)])
@pytest.mark.parametrize("http2", [False, True])
def test_an_explicit_limit_applies_to_both_protocols(key: str, expected: int, http2: bool) -> None:
    limiter = Limiter(RateLimit(rate=1, burst=3, key=key))  # type: ignore[arg-type]  # of a list
    assert passed(limiter, http2=http2, connections=3, tries=10) == expected


def test_there_is_no_limit_by_default() -> None:
    assert passed(Limiter(None), http2=True, connections=1, tries=10_000) == 10_000


def test_over_the_limit_is_429_in_html_without_retry_after(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.push("kolla", "nova", "v1")
    embedded_quay.configure(rate_limit={"rate": 0.001, "burst": 0, "key": "ip"})
    client = connect()
    assert client.get(REPOSITORIES, params=LISTING).status_code == 200
    refused = client.get(REPOSITORIES, params=LISTING)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "text/html"
    assert "retry-after" not in refused.headers
    # The limit applies only to the API.
    assert client.get("/").status_code == 404


@pytest.mark.parametrize("value", ["2", "Tue, 24 Nov 2026 00:00:00 GMT", "-5", "99999999", "soon"])
def test_retry_after_can_be_set_to_anything(
    connect: Connect, embedded_quay: EmbeddedQuay, value: str
) -> None:
    embedded_quay.configure(rate_limit=RateLimit(rate=0.001, burst=0, key="ip"), retry_after=value)
    client = connect()
    assert "retry-after" not in client.get(REPOSITORIES, params=LISTING).headers
    assert client.get(REPOSITORIES, params=LISTING).headers["retry-after"] == value


def test_each_http2_connection_has_a_separate_bucket(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(rate_limit={"rate": 0.001, "burst": 1, "key": "connection"})
    for _ in range(2):
        client = connect()
        statuses = [client.get(REPOSITORIES, params=LISTING).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_a_429_ends_an_http1_connection(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(rate_limit={"rate": 0.001, "burst": 0, "key": "ip"})
    client = connect(http2=False)
    assert client.get(REPOSITORIES, params=LISTING).status_code == 200
    refused = client.get(REPOSITORIES, params=LISTING)
    assert (refused.status_code, refused.headers["connection"]) == (429, "close")


def test_http1_connections_from_one_address_share_a_bucket(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(rate_limit="quay")
    client = connect(http2=False)
    # 26 requests pass at once, and 5 more per second.
    statuses = {client.get(REPOSITORIES, params=LISTING).status_code for _ in range(200)}
    assert statuses == {200, 429}
    assert embedded_quay.counters().connections == 200


def test_setting_a_limit_again_empties_its_buckets(
    connect: Connect, embedded_quay: EmbeddedQuay
) -> None:
    limit = {"rate": 0.001, "burst": 0, "key": "ip"}
    client = connect()
    for _ in range(2):
        embedded_quay.configure(rate_limit=limit)
        assert client.get(REPOSITORIES, params=LISTING).status_code == 200
        embedded_quay.configure(latency=0)
        assert client.get(REPOSITORIES, params=LISTING).status_code == 429
