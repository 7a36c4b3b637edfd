"""The cases of occystrap's own ``test_quay.py``, over HTTP, for the function that replaces its own.

Its 22 tests of the listing, ``has_tag`` and resolution mock internals of occystrap. Two of the
cases differ on purpose:

- ``test_since_ts_handles_null_last_modified`` treats a missing ``last_modified`` as old. It is
  unknown and proves nothing, so the repository is checked (`test_a_missing_last_modified_...`).
- ``test_since_ts_none_returns_all`` lists without ``last_modified``. Here the listing always has
  it, because it shows which repositories need no request (`test_the_listing_always_requests_...`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quaycache import QuayAPIError
from quaycache.occystrap import resolve_quay_uri
from quaycache.testing import EmbeddedQuay, Fault

pytestmark = pytest.mark.usefixtures("occystrap_quay")

Images = list[tuple[str, str, str]]
LONG_AGO, YESTERDAY = 86_400.0 * 2000, 86_400.0


class RefusedError(Exception):
    """The error class of the calling program."""


@pytest.fixture(params=["cache_dir", "cache_url", "no cache"])
def resolve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Images]:
    """Return the function with each kind of cache, and without a cache."""
    cache: dict[str, Any] = {}
    if request.param == "cache_dir":
        cache["cache_dir"] = tmp_path / "cache"
    elif request.param == "cache_url":
        cache["cache_url"] = request.getfixturevalue("redis_url")

    def call(*arguments: Any, **options: Any) -> Images:
        return resolve_quay_uri(
            *arguments, **{**cache, "retries": 0, "error": RefusedError, **options}
        )

    return call


def images(*names: str, tag: str = "latest") -> Images:
    return [("quay.io", f"kolla/{name}", tag) for name in names]


class TestListing:
    def test_single_page(self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]) -> None:
        for name in ("nova-api", "keystone"):
            embedded_quay.registry.push("kolla", name, "latest")
        assert resolve("kolla", "*", "latest") == images("keystone", "nova-api")
        assert embedded_quay.counters().listing == 1

    def test_pagination(self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]) -> None:
        embedded_quay.registry.populate("kolla", 201)
        assert len(resolve("kolla", "*", "latest")) == 201
        assert embedded_quay.counters().listing == 3

    def test_empty(self, resolve: Callable[..., Images]) -> None:
        assert resolve("emptyorg", "*", "latest") == []

    def test_with_a_token(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "secret", "latest")
        embedded_quay.registry.set_public("kolla", "secret", False)
        embedded_quay.registry.add_user("alice", "my_secret_token", namespaces=["kolla"])
        assert resolve("kolla", "*", "latest", token="my_secret_token") == images("secret")

    def test_without_a_token(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "secret", "latest")
        embedded_quay.registry.set_public("kolla", "secret", False)
        assert resolve("kolla", "*", "latest") == []

    @pytest.mark.parametrize("endpoint", ["listing", "tag"])
    def test_unauthorized_raises_the_callers_error_class(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images], endpoint: Any
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        embedded_quay.configure(faults=[Fault(kind="status", status=401, endpoint=endpoint)])
        with pytest.raises(RefusedError, match="401"):
            resolve("kolla", "*", "latest")

    def test_since_excludes_old_repositories(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.populate("kolla", 1, name="new-repo-{}", age=YESTERDAY)
        embedded_quay.registry.populate("kolla", 1, name="old-repo-{}", age=LONG_AGO)
        since = date(2024, 1, 1)
        assert resolve("kolla", "*", "latest", since=since) == images("new-repo-0")
        assert embedded_quay.counters().tag == 1

    def test_the_listing_always_requests_last_modified(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.populate("kolla", 1, name="old-repo-{}", age=LONG_AGO)
        embedded_quay.registry.create_repository("kolla", "empty")
        assert resolve("kolla", "*", "latest", since=None) == images("old-repo-0")
        # The listing alone shows that this repository is empty.
        assert embedded_quay.counters().tag == 1

    def test_a_null_last_modified_is_old(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.create_repository("kolla", "null-repo")
        assert resolve("kolla", "*", "latest", since=date(2024, 1, 1)) == []
        assert embedded_quay.counters().tag == 0

    def test_a_missing_last_modified_proves_nothing(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.configure(last_modified=False)
        embedded_quay.registry.push("kolla", "new", "latest")
        embedded_quay.registry.populate("kolla", 1, name="old-{}", age=LONG_AGO)
        assert resolve("kolla", "*", "latest", since=date(2024, 1, 1)) == images("new")
        assert embedded_quay.counters().tag == 2


class TestTag:
    def test_a_tag_exists(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        assert resolve("kolla", "nova-api", "latest") == images("nova-api")
        assert embedded_quay.counters().listing == 0

    def test_a_tag_is_missing(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        assert resolve("kolla", "nova-api", "nonexistent") == []

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_an_unlisted_repository_does_not_exist(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images], status: int
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        fault = Fault(kind="status", status=status, match="bogus")
        embedded_quay.configure(faults=[fault])
        assert resolve("kolla", "bogus", "latest") == []

    def test_a_refused_listed_repository_is_an_error(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        embedded_quay.configure(faults=[Fault(kind="status", status=403, endpoint="tag")])
        with pytest.raises(RefusedError, match="no right to read it"):
            resolve("kolla", "nova-api", "latest")

    def test_a_server_error_is_an_error(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        embedded_quay.configure(faults=[Fault(kind="status", status=500, endpoint="tag")])
        with pytest.raises(RefusedError, match="500"):
            resolve("kolla", "*", "latest")


class TestResolution:
    @pytest.fixture(autouse=True)
    def kolla(self, embedded_quay: EmbeddedQuay) -> None:
        for name in ("nova-api", "glance-api", "nova-scheduler"):
            embedded_quay.registry.push("kolla", name, "latest")
        embedded_quay.registry.push("kolla", "keystone", "other")

    def test_only_repositories_with_the_tag_are_returned(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        found = resolve("kolla", "*", "latest")
        assert found == images("glance-api", "nova-api", "nova-scheduler")
        assert embedded_quay.counters().tag == 4

    def test_the_glob_selects_what_is_looked_up(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        assert resolve("kolla", "nova-*", "latest") == images("nova-api", "nova-scheduler")
        assert embedded_quay.counters().tag == 2

    def test_no_repository_has_the_tag(self, resolve: Callable[..., Images]) -> None:
        assert resolve("kolla", "*", "nobodys") == []

    def test_nothing_matches(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        assert resolve("kolla", "zzz-*", "latest") == []
        assert embedded_quay.counters().tag == 0

    def test_since_also_filters_tags(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.populate("kolla", 1, name="aged-{}", age=LONG_AGO)
        embedded_quay.registry.push("kolla", "aged-0", "newer")
        found = resolve("kolla", "*", "latest", since=date(2024, 1, 1))
        assert found == images("glance-api", "nova-api", "nova-scheduler")

    def test_without_since_old_tags_count(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.populate("kolla", 1, name="aged-{}", age=LONG_AGO)
        assert resolve("kolla", "aged-*", "latest", since=None) == images("aged-0")

    def test_workers_by_position(self, resolve: Callable[..., Images]) -> None:
        assert len(resolve("kolla", "*", "latest", None, None, 8)) == 3


class TestToken:
    @pytest.mark.parametrize("glob", ["*", "nova-api"])
    @pytest.mark.parametrize("token", ["hunter2", 5, True, "pass wörd"])
    def test_an_ignored_token_is_a_warning_and_cached_as_anonymous(
        self,
        embedded_quay: EmbeddedQuay,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        glob: str,
        token: object,
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        for _ in range(2):
            embedded_quay.reset_counters()
            with caplog.at_level(logging.WARNING, "occystrap.quaycache"):
                found = resolve_quay_uri("kolla", glob, "latest", token, cache_dir=tmp_path)
            assert found == images("nova-api")
            (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
            assert "Continuing without the token" in warning
            assert "hunter2" not in caplog.text
            caplog.clear()
        sent = 0 if token == "pass wörd" else 1
        assert embedded_quay.counters().requests == sent
        embedded_quay.reset_counters()
        assert resolve_quay_uri("kolla", glob, "latest", cache_dir=tmp_path) == images("nova-api")
        assert embedded_quay.counters().requests == 0

    def test_an_accepted_token_sends_no_requests_the_second_time(
        self, embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        embedded_quay.registry.push("kolla", "secret", "latest")
        embedded_quay.registry.set_public("kolla", "secret", False)
        embedded_quay.registry.add_user("alice", "alice-token", namespaces=["kolla"])
        for expected in (2, 0):
            embedded_quay.reset_counters()
            found = resolve_quay_uri("kolla", "secret", "latest", "alice-token", cache_dir=tmp_path)
            assert found == images("secret")
            assert embedded_quay.counters().requests == expected
        assert resolve_quay_uri("kolla", "secret", "latest", cache_dir=tmp_path) == []

    @pytest.mark.parametrize("token", [None, "", False, 0])
    def test_an_empty_token_means_anonymous(
        self, embedded_quay: EmbeddedQuay, token: object
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        assert resolve_quay_uri("kolla", "*", "latest", token) == images("nova-api")


class TestErrors:
    def test_without_an_error_class_quaycache_errors_are_raised(
        self, embedded_quay: EmbeddedQuay
    ) -> None:
        embedded_quay.configure(faults=[Fault(kind="status", status=500)])
        with pytest.raises(QuayAPIError, match="500"):
            resolve_quay_uri("kolla", "*", "latest", retries=0)

    @pytest.mark.parametrize(
        ("arguments", "options", "reason"),
        [
            (("kolla", "Nova-*", "latest"), {}, "invalid repository pattern"),
            (("kolla", "*", "not a tag"), {}, "invalid tag"),
            (("", "*", "latest"), {}, "the namespace is missing"),
            (("kolla", "*", "latest"), {"retries": -1}, "retries"),
            (("kolla", "*", "latest"), {"rate_limit": -1.0}, "rate"),
            (("kolla", "*", "latest"), {"max_workers": 0}, "max_workers"),
        ],
    )
    def test_invalid_arguments(
        self, arguments: tuple[str, str, str], options: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(RefusedError, match=reason):
            resolve_quay_uri(*arguments, error=RefusedError, **options)

    @pytest.mark.parametrize(
        "cache",
        [
            {"cache_dir": "/dev/null/cache"},
            {"cache_dir": "/\0"},
            {"cache_url": "redis://127.0.0.1:1"},
            {"cache_url": "cache.example"},
        ],
    )
    def test_an_unusable_cache_is_a_warning(
        self,
        embedded_quay: EmbeddedQuay,
        caplog: pytest.LogCaptureFixture,
        cache: dict[str, str],
    ) -> None:
        embedded_quay.registry.push("kolla", "nova-api", "latest")
        found = resolve_quay_uri("kolla", "*", "latest", **cache)  # type: ignore[arg-type]  # one of two
        assert found == images("nova-api")
        warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert [record.name for record in warnings] == ["occystrap.quaycache"]

    def test_a_rate_limit_of_zero_means_no_limit(self, resolve: Callable[..., Images]) -> None:
        assert resolve("kolla", "*", "latest", rate_limit=0) == []

    def test_retries_and_rate_limit(
        self, embedded_quay: EmbeddedQuay, resolve: Callable[..., Images]
    ) -> None:
        embedded_quay.registry.populate("kolla", 5)
        fault = Fault(kind="status", status=500, endpoint="tag", times=2)
        embedded_quay.configure(faults=[fault])
        assert len(resolve("kolla", "*", "latest", retries=3, rate_limit=50.0)) == 5
        assert embedded_quay.counters().tag == 7
