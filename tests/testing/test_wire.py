"""Quay's answers as a client receives them, over both protocols."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx
import pytest

from quaycache.testing import EmbeddedQuay

from .conftest import Connect
from .reader import LISTING

REPOSITORIES = "/api/v1/repository"
TAG = {"specificTag": "v1", "onlyActiveTags": "true", "limit": "1"}


@pytest.fixture(autouse=True)
def nova(embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.push("kolla", "nova", "v1")


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def either(request: pytest.FixtureRequest, connect: Connect) -> httpx.Client:
    """Return a client of each protocol in turn."""
    return connect(http2=request.param == "HTTP/2")


def test_the_protocol_is_chosen_by_alpn(connect: Connect) -> None:
    assert connect(http2=True).get("/").http_version == "HTTP/2"
    assert connect(http2=False).get("/").http_version == "HTTP/1.1"


def test_the_listing(either: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.populate("kolla", 100)
    first = either.get(REPOSITORIES, params=LISTING)
    assert first.status_code == 200
    assert len(first.json()["repositories"]) == 100
    last = either.get(REPOSITORIES, params={**LISTING, "next_page": first.json()["next_page"]})
    assert [row["name"] for row in last.json()["repositories"]] == ["repository-00099"]


def test_one_tag(either: httpx.Client) -> None:
    answer = either.get(f"{REPOSITORIES}/kolla/nova/tag/", params=TAG)
    assert answer.status_code == 200
    assert [tag["name"] for tag in answer.json()["tags"]] == ["v1"]


def test_one_repository(either: httpx.Client) -> None:
    answer = either.get(f"{REPOSITORIES}/kolla/nova")
    assert list(answer.json()["tags"]) == ["v1"]


def test_an_answer_has_only_these_headers(either: httpx.Client) -> None:
    answer = either.get(REPOSITORIES, params=LISTING)
    headers = dict(answer.headers)
    assert headers.pop("content-type") == "application/json"
    assert int(headers.pop("content-length")) == len(answer.content)
    assert headers.pop("date").endswith(" GMT")
    assert headers.pop("server") == "nginx"
    assert headers == ({} if answer.http_version == "HTTP/2" else {"connection": "close"})


def test_conditional_requests_are_ignored(either: httpx.Client) -> None:
    date = either.get(REPOSITORIES, params=LISTING).headers["date"]
    conditions = {"if-modified-since": date, "if-none-match": "*"}
    again = either.get(REPOSITORIES, params=LISTING, headers=conditions)
    assert again.status_code == 200
    assert again.content


def test_json_is_not_compressed(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.populate("kolla", 100)
    answer = client.get(REPOSITORIES, params=LISTING, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert 14_000 < len(answer.content) < 17_000


def test_date_follows_the_clock_of_the_registry(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.advance(10_000_000)
    before = embedded_quay.registry.now()
    answer = client.get(REPOSITORIES, params=LISTING)
    date = parsedate_to_datetime(answer.headers["date"]).timestamp()
    assert int(before) <= date <= embedded_quay.registry.now()
    embedded_quay.configure(date_skew=-500)
    skewed = client.get(REPOSITORIES, params=LISTING).headers["date"]
    assert int(before) - 500 <= parsedate_to_datetime(skewed).timestamp() < before - 400


def test_date_can_be_switched_off(either: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.configure(date=False)
    assert "date" not in either.get(REPOSITORIES, params=LISTING).headers


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/repository/",
        "/api/v1/repository/?namespace=kolla&public=true",
        "/api/v1/repository/kolla",
        "/api/v1/repository/kolla/nova/",
        "/api/v1/repository/kolla/tag/",
        "/api/v1/nothing",
        "/",
    ],
)
def test_a_path_outside_the_api_gets_an_html_404(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html"
    assert "<h1>404 Not Found</h1>" in answer.text


def test_the_tag_endpoint_without_a_trailing_slash_redirects(either: httpx.Client) -> None:
    answer = either.get(f"{REPOSITORIES}/kolla/nova/tag", params=TAG)
    assert answer.status_code == 308
    followed = either.get(answer.headers["location"])
    assert [tag["name"] for tag in followed.json()["tags"]] == ["v1"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("deep/name", "deep/name"),
        ("deep/name", "deep%2Fname"),
        ("tag", "tag"),
        ("a/tag/b", "a/tag/b"),
        ("a/tag", "a/tag"),
    ],
)
def test_a_repository_name_with_slashes_or_the_word_tag(
    client: httpx.Client, embedded_quay: EmbeddedQuay, name: str, path: str
) -> None:
    embedded_quay.registry.push("kolla", name, "v1", "sha256:" + "ab" * 32)
    answer = client.get(f"{REPOSITORIES}/kolla/{path}/tag/", params=TAG)
    assert answer.json()["tags"][0]["manifest_digest"] == "sha256:" + "ab" * 32
    if not name.endswith("/tag"):
        assert client.get(f"{REPOSITORIES}/kolla/{path}").json()["name"] == name


def test_application_errors_are_json(either: httpx.Client) -> None:
    answer = either.get(f"{REPOSITORIES}/kolla/missing/tag/", params=TAG)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error_type"] == "invalid_token"


def test_a_browser_is_refused_without_x_requested_with(client: httpx.Client) -> None:
    browser = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}
    refused = client.get(REPOSITORIES, params=LISTING, headers=browser)
    assert refused.status_code == 400
    assert refused.json()["error_type"] == "invalid_request"
    xhr = {**browser, "x-requested-with": "XMLHttpRequest"}
    assert client.get(REPOSITORIES, params=LISTING, headers=xhr).status_code == 200


def test_other_methods_than_get_are_405(either: httpx.Client) -> None:
    assert either.post(REPOSITORIES, content=b"x" * 100_000).status_code == 405


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_an_oauth_token_authenticates(client: httpx.Client, embedded_quay: EmbeddedQuay) -> None:
    embedded_quay.registry.add_user("ann", "good", namespaces={"kolla"})
    embedded_quay.registry.create_repository("kolla", "secret", public=False)
    answer = client.get(REPOSITORIES, params=LISTING, headers=bearer("good"))
    rows = answer.json()["repositories"]
    assert [(row["name"], row["is_starred"]) for row in rows] == [
        ("nova", False),
        ("secret", False),
    ]
    path = f"{REPOSITORIES}/kolla/secret/tag/"
    assert client.get(path, headers=bearer("good")).status_code == 200
    assert client.get(path).status_code == 401
    assert embedded_quay.counters().authenticated == 2


@pytest.mark.parametrize(
    "authorization",
    ["Bearer bad", "Basic good", "Bearer", "Basic YW5uOmdvb2Q=", "Basic a29sbGErcm9ib3Q6eA==", "x"],
)
def test_other_credentials_are_silently_ignored(
    client: httpx.Client, embedded_quay: EmbeddedQuay, authorization: str
) -> None:
    embedded_quay.registry.add_user("ann", "good", namespaces=["kolla"])
    embedded_quay.registry.create_repository("kolla", "secret", public=False)
    answer = client.get(REPOSITORIES, params=LISTING, headers={"authorization": authorization})
    assert answer.status_code == 200
    assert [row["name"] for row in answer.json()["repositories"]] == ["nova"]
    assert "is_starred" not in answer.json()["repositories"][0]


def test_an_access_token_in_the_url_is_ignored(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.add_user("ann", "good", namespaces=["kolla"])
    answer = client.get(REPOSITORIES, params={**LISTING, "access_token": "good"})
    assert "is_starred" not in answer.json()["repositories"][0]


def test_the_first_of_two_values_of_a_parameter_counts(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.push("kolla", "nova", "v2")
    path = f"{REPOSITORIES}/kolla/nova/tag/?onlyActiveTags=true&specificTag=v2&specificTag=v1"
    assert [tag["name"] for tag in client.get(path).json()["tags"]] == ["v2"]


def test_last_modified_can_be_switched_off(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(last_modified=False)
    answer = client.get(REPOSITORIES, params=LISTING)
    assert "last_modified" not in answer.json()["repositories"][0]


def test_a_good_and_a_bad_token_get_the_same_bytes_for_a_public_tag(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.add_user("ann", "good", namespaces=["kolla"])
    path = f"{REPOSITORIES}/kolla/nova/tag/"
    answers = [client.get(path, params=TAG, headers=bearer(token)) for token in ("good", "bad")]
    assert answers[0].content == answers[1].content
    assert embedded_quay.counters().authenticated == 1


def test_ignore_tokens_ignores_every_token(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.add_user("ann", "good", namespaces=["kolla"])
    embedded_quay.configure(ignore_tokens=True)
    answer = client.get(REPOSITORIES, params=LISTING, headers=bearer("good"))
    assert "is_starred" not in answer.json()["repositories"][0]


def test_repeat_first_page_ignores_page_tokens(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.registry.populate("kolla", 150)
    embedded_quay.configure(repeat_first_page=True)
    first = client.get(REPOSITORIES, params=LISTING).json()
    again = client.get(REPOSITORIES, params={**LISTING, "next_page": first["next_page"]}).json()
    assert again["repositories"] == first["repositories"]


def test_replica_lag_delays_the_tag_endpoint_only(
    client: httpx.Client, embedded_quay: EmbeddedQuay
) -> None:
    embedded_quay.configure(replica_lag=30)
    path = f"{REPOSITORIES}/kolla/nova/tag/"
    assert client.get(REPOSITORIES, params=LISTING).json()["repositories"]
    assert client.get(path).status_code == 404
    embedded_quay.registry.advance(60)
    assert client.get(path).status_code == 200
