"""The effect of each fault on a client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from quaycache.testing import EmbeddedQuay, Fault

from .conftest import Connect
from .raw_http2 import RawHttp2
from .reader import LISTING

LISTED = "/api/v1/repository?namespace=kolla&public=true&last_modified=true"
TAG = "/api/v1/repository/kolla/nova/tag/?specificTag=v1&onlyActiveTags=true&limit=1"


@pytest.fixture(autouse=True)
def nova(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.push("kolla", "nova", "v1")


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def either(request: pytest.FixtureRequest, connect: Connect) -> httpx.Client:
    return connect(http2=request.param == "HTTP/2")


def test_application_error_statuses_are_json(
    either: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    for status in (400, 403, 404, 500):
        embedded_quay.configure(faults=[Fault(kind="status", status=status)])
        answer = either.get(TAG)
        assert answer.status_code == answer.json()["status"] == status


def test_front_end_error_statuses_are_html(
    either: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(retry_after="7")
    for status in (429, 502, 503, 504):
        embedded_quay.configure(faults=[{"kind": "status", "status": status}])
        answer = either.get(TAG)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html"
        expected = "7" if status in (429, 503) else None
        assert answer.headers.get("retry-after") == expected


def test_a_fault_happens_to_its_first_matching_requests(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.push("kolla", "cinder", "v1")
    embedded_quay.configure(faults=[{"kind": "status", "match": "cinder", "times": 2}])
    cinder = TAG.replace("nova", "cinder")
    assert [client.get(path).status_code for path in (TAG, cinder, TAG, cinder, cinder)] == [
        200,
        500,
        200,
        500,
        200,
    ]


def test_a_fault_can_be_limited_to_one_endpoint(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(faults=[{"kind": "status", "endpoint": "listing"}])
    assert client.get(LISTED).status_code == 500
    assert client.get(TAG).status_code == 200
    embedded_quay.configure(faults=[{"kind": "status", "endpoint": "tag"}])
    assert client.get(LISTED).status_code == 200
    assert client.get(TAG).status_code == 500


def test_only_the_first_matching_fault_happens(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(
        faults=[
            {"kind": "status", "status": 502, "times": 1},
            {"kind": "status", "status": 504, "times": 1},
        ]
    )
    assert [client.get(TAG).status_code for _ in range(3)] == [502, 504, 200]


def test_a_seed_reproduces_random_faults(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    def statuses(seed: int) -> list[int]:
        embedded_quay.configure(seed=seed, faults=[{"kind": "status", "probability": 0.3}])
        return [client.get(TAG).status_code for _ in range(100)]

    first = statuses(1)
    assert 10 < first.count(500) < 50
    assert statuses(1) == first
    assert statuses(2) != first


def test_other_settings_do_not_restart_the_faults(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(faults=[{"kind": "status", "times": 1}])
    assert client.get(TAG).status_code == 500
    embedded_quay.configure(latency=0)
    assert client.get(TAG).status_code == 200
    embedded_quay.configure(faults=[{"kind": "status", "times": 1}])
    assert client.get(TAG).status_code == 500


@pytest.mark.parametrize("kind", ["reset", "drop"])
def test_the_request_after_a_reset_or_drop_succeeds(
    either: httpx.Client, embedded_quay: EmbeddedQuay, kind: str
) -> None:
    embedded_quay.configure(faults=[{"kind": kind, "times": 1}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        either.get(TAG)
    assert either.get(TAG).status_code == 200
    counters = embedded_quay.counters()
    assert counters.requests == 2
    assert counters.by_status == {200: 1}


def test_a_hanging_request_is_never_answered(connect: Connect, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "hang"}])
    client = connect()
    with pytest.raises(httpx.ReadTimeout):
        client.get(TAG, timeout=httpx.Timeout(60, read=0.05))


@pytest.mark.parametrize("kind", ["truncate", "truncate_unsized"])
def test_a_truncated_body(either: httpx.Client, embedded_quay: EmbeddedQuay, kind: str) -> None:
    whole = either.get(TAG).content
    embedded_quay.configure(faults=[{"kind": kind}], close_http1=False, idle_timeout=None)
    if kind == "truncate":
        with pytest.raises(httpx.ProtocolError):
            either.get(TAG)
    else:
        answer = either.get(TAG)
        assert "content-length" not in answer.headers
        assert answer.content == whole[: len(whole) // 2]


def test_a_trickled_body_arrives_complete(
    either: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    whole = either.get(TAG).content
    embedded_quay.configure(faults=[{"kind": "trickle", "interval": 0.0001}])
    with either.stream("GET", TAG) as answer:
        assert b"".join(answer.iter_raw()) == whole
    assert answer.headers["content-length"] == str(len(whole))


def test_a_client_can_abandon_a_trickled_body(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(faults=[{"kind": "trickle", "interval": 3600, "times": 1}])
    with client.stream("GET", TAG) as answer:
        assert next(answer.iter_raw(1)) == b"{"
    assert client.get(TAG).status_code == 200


@pytest.mark.parametrize("size", [1000, 2**16 + 300, 5_000_000])
def test_a_huge_body_has_its_size_and_is_valid_json(
    either: httpx.Client, embedded_quay: EmbeddedQuay, size: int
) -> None:
    embedded_quay.configure(faults=[{"kind": "huge", "size": size}])
    answer = either.get(TAG)
    assert len(answer.content) == int(answer.headers["content-length"]) == size
    assert answer.json()["tags"][0]["name"] == "v1"


def test_a_huge_body_is_never_shorter_than_the_answer(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "huge", "size": 1}])
    with RawHttp2(embedded_quay) as raw:
        stream = raw.request(TAG)
        raw.wait_for_answer(stream)
        assert json.loads(raw.body(stream))["tags"][0]["name"] == "v1"


def test_a_huge_body_is_a_gigabyte_sent_only_as_it_is_read(
    either: httpx.Client, client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(faults=[{"kind": "huge", "times": 1}])
    with either.stream("GET", TAG) as answer:
        assert answer.headers["content-length"] == str(2**30)
        assert len(next(answer.iter_raw(2**20))) == 2**20
        # This request needs another connection: the unread body fills the flow control window of
        # its own connection.
        assert client.get(TAG).status_code == 200


def test_html_with_status_200(either: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "html"}])
    answer = either.get(TAG)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html"


def test_invalid_json(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "invalid_json"}])
    answer = client.get(TAG)
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_nested_json(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "nested"}])
    assert client.get(TAG).content == b"[" * 100_000 + b"]" * 100_000
    embedded_quay.configure(faults=[{"kind": "nested", "size": 3}])
    assert client.get(TAG).json() == [[[]]]


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        ("text_time", "start_ts", "x"),
        ("number_name", "name", 5),
        ("other_name", "name", "other-than-v1"),
        ("no_digest", "manifest_digest", None),
    ],
)
def test_a_wrong_field_of_a_tag(
    client: httpx.Client, embedded_quay: EmbeddedQuay, kind: str, field: str, expected: Any
) -> None:
    right = client.get(TAG).json()["tags"][0]
    embedded_quay.configure(faults=[{"kind": kind}])
    wrong = client.get(TAG).json()["tags"][0]
    assert wrong.pop(field, None) == expected
    del right[field]
    assert wrong == right


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        ("text_time", "last_modified", "x"),
        ("number_name", "name", 5),
        ("other_name", "name", "other-than-nova"),
    ],
)
def test_a_wrong_field_of_a_listing(
    client: httpx.Client, embedded_quay: EmbeddedQuay, kind: str, field: str, expected: Any
) -> None:
    embedded_quay.configure(faults=[{"kind": kind}])
    assert client.get(LISTED).json()["repositories"][0][field] == expected


@pytest.mark.parametrize(("path", "rows"), [(TAG, "tags"), (LISTED, "repositories")])
def test_a_wrong_document(
    client: httpx.Client, embedded_quay: EmbeddedQuay, path: str, rows: str
) -> None:
    right = client.get(path).json()
    embedded_quay.configure(faults=[{"kind": "list"}])
    assert client.get(path).json() == [right]
    embedded_quay.configure(faults=[{"kind": "null"}])
    assert client.get(path).json() == {**right, rows: None}


def test_a_next_page_that_is_a_number(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(faults=[{"kind": "number_next_page"}])
    assert client.get("/api/v1/repository", params=LISTING).json()["next_page"] == 5


def test_a_fault_without_its_field_leaves_the_answer_unchanged(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    missing = TAG.replace("nova", "missing")
    right = client.get(missing).json()
    embedded_quay.configure(faults=[{"kind": "other_name"}])
    assert client.get(missing).json() == right
    repository = client.get("/api/v1/repository/kolla/nova").json()
    assert list(repository["tags"]) == ["v1"]
