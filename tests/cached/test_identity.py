"""Answers obtained with one token are never served to another caller."""

from __future__ import annotations

import logging

import pytest

from quaycache import (
    AuthenticationError,
    DiskStore,
    Mode,
    resolve,
)
from quaycache.resolving.lookup import Lookup, Target
from quaycache.run import Run as CancellableRun
from tests.cached.conftest import POLICY, TTL, URI, Run, Site


class TestIdentity:
    @pytest.fixture
    def private(self, site: Site) -> Site:
        site.registry.push("kolla", "public", "latest")
        site.registry.push("kolla", "secret", "latest")
        site.registry.set_public("kolla", "secret", False)
        site.registry.add_user("alice", "alice-token-1234567890", namespaces=["kolla"])
        site.registry.add_user("bob", "bob-token-1234567890")
        return site

    def names(self, run: Run) -> list[str]:
        return [image.repository.removeprefix("kolla/") for image in run.resolution.images]

    def test_each_identity_sees_its_own_repositories(self, private: Site) -> None:
        for _ in range(2):
            alice = private.resolve(token="alice-token-1234567890")
            assert self.names(alice) == ["public", "secret"]
            assert self.names(private.resolve(token="bob-token-1234567890")) == ["public"]
            assert self.names(private.resolve()) == ["public"]
        assert alice.cost == (0, 0)

    def test_another_tag_under_a_token_is_stored_too(self, private: Site) -> None:
        token = "alice-token-1234567890"
        private.resolve(token=token)
        assert private.resolve("quay://kolla/*:other", token=token).cost == (0, 2)
        assert private.resolve("quay://kolla/*:other", token=token).cost == (0, 0)

    def test_an_ignored_token_leaves_no_trace(self, private: Site) -> None:
        token = "expired-token-1234567890"
        with pytest.raises(AuthenticationError):
            private.resolve(token=token)
        # Quay silently answers as for an anonymous request.
        assert self.names(private.resolve("quay://kolla/public:latest", token=token)) == ["public"]
        assert list(DiskStore(private.directory).rows()) == []

    def test_no_file_contains_the_token(
        self, private: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        token = "alice-token-1234567890"
        with private.client(token) as client, private.cached(client) as cached:
            resolution = resolve([URI], client=cached)
            assert token not in repr(client) + repr(cached) + repr(resolution)
        assert token not in caplog.text
        files = [path for path in private.directory.rglob("*") if path.is_file()]
        assert files
        assert all(token.encode() not in path.read_bytes() for path in files)

    def test_no_lookup_contains_the_token(self, private: Site) -> None:
        with private.client("s3cr3t") as client:
            bound = client.bound(CancellableRun())
            target = Target(bound.identity, "kolla", "latest")
            lookup = Lookup(bound, target, "a", None, (), None)
        assert "s3cr3t" not in f"{target} {lookup} {lookup.client!r} {bound.identity}"

    def test_an_empty_namespace_under_a_token_removes_nothing(self, private: Site) -> None:
        token = "alice-token-1234567890"
        private.resolve(token=token)
        private.wait(TTL)
        for name in ("public", "secret"):
            private.registry.delete_repository("kolla", name)
        with pytest.raises(AuthenticationError):
            private.resolve(token=token)
        offline = private.resolve(token=token, policy=POLICY._replace(mode=Mode.OFFLINE))
        assert self.names(offline) == ["public", "secret"]
