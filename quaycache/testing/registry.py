"""The state of a Quay and the operations that change it, without I/O and threads.

The rules follow Quay's tag model (``data/model/oci/tag.py``). `quaycache.testing.answers` computes
the API's answers from this state.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from quaycache.testing.errors import RegistryError
from quaycache.testing.records import NamespaceRecord, RepositoryRecord, TagLifetime

STATES = ("NORMAL", "READ_ONLY", "MIRROR", "ORG_MIRROR", "MARKED_FOR_DELETION")

_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_REPOSITORY = re.compile(r"(?=.{1,255}\Z)[a-z0-9][.a-z0-9_-]*(?:/[a-z0-9][.a-z0-9_-]*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

# Quay keeps a manifest that was pushed by digest alive this long, with a hidden tag.
_HIDDEN_TAG_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class User:
    """The owner of an OAuth application token, with the rights of that token."""

    name: str
    namespaces: frozenset[str]
    scopes: frozenset[str]


class Registry:
    """Namespaces, repositories, tags and users, with a clock that tests can move.

    `EmbeddedQuay.registry` runs these methods in the server process, so arguments and results are
    JSON values. Times are seconds UTC, durations are seconds. A namespace exists as soon as it has
    a repository.

    Args:
        clock: The function that returns the time in seconds UTC.

    Raises:
        RegistryError: If a name, digest or state is invalid, if a repository, tag or digest does
            not exist, or if a new repository already exists. Any method may raise it.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.namespaces: dict[str, NamespaceRecord] = {}
        self.users: dict[str, User] = {}
        self._clock = clock
        self._moved = 0.0
        self._last_id = 0
        self._digests = 0
        self._hidden = 0

    def now(self) -> float:
        """Return the registry's time, in seconds UTC."""
        return self._clock() + self._moved

    def advance(self, seconds: float) -> None:
        """Move the registry's clock forward by `seconds`, or back if that is negative.

        Starts and expiries of tags, page tokens, `Settings.replica_lag` and the ``date`` header
        follow this clock. Latency, timeouts and rate limits do not.
        """
        self._moved += seconds

    def create_repository(
        self,
        namespace: str,
        name: str,
        *,
        public: bool = True,
        state: str = "NORMAL",
        kind: str = "image",
        description: str | None = None,
    ) -> None:
        """Create an empty repository; the listing shows it after all others.

        Args:
            namespace: The namespace of the repository.
            name: The name within the namespace; it may contain slashes.
            public: Whether anonymous callers see the repository.
            state: One of Quay's repository states; see `set_state`.
            kind: ``image``, or another kind, which a listing shows only with its ``repo_kind``.
            description: The description that the listing shows.
        """
        self._create(namespace, name, self._now_ms(), public, state, kind, description)

    def delete_repository(self, namespace: str, name: str) -> None:
        """Delete a repository with all its tags."""
        record = self._repository(namespace, name)
        self.namespaces[namespace].delete(record, self._now_ms())

    def set_public(self, namespace: str, name: str, public: bool) -> None:
        """Make a repository public or private."""
        self._repository(namespace, name).public = public

    def set_state(self, namespace: str, name: str, state: str) -> None:
        """Set the state of a repository.

        The states are ``NORMAL``, ``READ_ONLY``, ``MIRROR``, ``ORG_MIRROR`` and
        ``MARKED_FOR_DELETION``. A repository that is marked for deletion looks missing.
        """
        _check_state(state)
        self._repository(namespace, name).state = state

    def push(
        self,
        namespace: str,
        repository: str,
        tag: str,
        digest: str | None = None,
        *,
        lifetime: float | None = None,
        manifest_list: bool = False,
    ) -> str:
        """Push a tag and return its manifest digest.

        A push creates a missing repository as a public one. A push of the digest that the tag
        already has starts a new lifetime too: ``start_ts`` becomes the current time.

        Args:
            namespace: The namespace of the repository.
            repository: The name of the repository within the namespace.
            tag: The name of the tag; an existing tag moves to the new digest.
            digest: The manifest digest; None generates a new one, the same in every test run.
            lifetime: The seconds until the tag expires; None means that it does not expire.
            manifest_list: Whether the manifest is a list of manifests.
        """
        now_ms = self._now_ms()
        record = self._find(namespace, repository)
        if record is None:
            record = self._create(namespace, repository, now_ms)
        end_ms = None if lifetime is None else now_ms + round(lifetime * 1000)
        digest = self._new_digest(record) if digest is None else digest
        self._start(
            record, TagLifetime(tag, digest, now_ms, end_ms, manifest_list=manifest_list), now_ms
        )
        return digest

    def push_hidden(self, namespace: str, repository: str, digest: str | None = None) -> str:
        """Push a manifest by digest, without a tag, and return the digest.

        Quay keeps such a manifest alive for an hour with a hidden tag. No endpoint shows that tag,
        and it does not affect ``last_modified``.
        """
        record = self._repository(namespace, repository)
        digest = self._new_digest(record) if digest is None else _checked(_DIGEST, digest, "digest")
        self._hidden += 1
        now_ms = self._now_ms()
        lifetime = TagLifetime(
            f"$temp-{self._hidden}", digest, now_ms, now_ms + _HIDDEN_TAG_MS, hidden=True
        )
        record.start(lifetime, now_ms)
        return digest

    def delete_tag(self, namespace: str, repository: str, tag: str) -> None:
        """Delete a tag."""
        record, lifetime = self._tag(namespace, repository, tag)
        now_ms = self._now_ms()
        record.rewrite(replace(lifetime, end_ms=now_ms), now_ms)

    def restore(self, namespace: str, repository: str, tag: str, digest: str) -> None:
        """Point a tag back at a manifest that the repository had before.

        The restored tag starts now, and its ``reversion`` is true.
        """
        record = self._repository(namespace, repository)
        earlier = next((row for row in record.rows if row.manifest_digest == digest), None)
        if earlier is None:
            raise RegistryError(f"{namespace}/{repository} never had the digest {digest}")
        now_ms = self._now_ms()
        restored = TagLifetime(
            tag, digest, now_ms, manifest_list=earlier.manifest_list, reversion=True
        )
        self._start(record, restored, now_ms)

    def set_expiry(
        self, namespace: str, repository: str, tag: str, expires_at: float | None
    ) -> None:
        """Set, change or clear the expiry of a tag.

        Args:
            namespace: The namespace of the repository.
            repository: The name of the repository within the namespace.
            tag: The name of the tag.
            expires_at: The time of expiry in seconds UTC, in the future; None clears it.
        """
        record, lifetime = self._tag(namespace, repository, tag)
        now_ms = self._now_ms()
        end_ms = None if expires_at is None else round(expires_at * 1000)
        if end_ms is not None and end_ms <= now_ms:
            raise RegistryError(
                f"the expiry of {namespace}/{repository}:{tag} must be in the future"
            )
        record.rewrite(replace(lifetime, end_ms=end_ms), now_ms)

    def populate(
        self,
        namespace: str,
        count: int,
        *,
        tag: str = "latest",
        name: str = "repository-{:05d}",
        every: int = 1,
        age: float = 86400.0,
    ) -> None:
        """Create many public repositories with one tag each, in one call.

        Args:
            namespace: The namespace of the repositories.
            count: The number of repositories.
            tag: The tag to push. Where `every` skips a repository, its tag is ``not-<tag>``.
            name: The format of the names, which gets the number of the repository, from 0.
            every: The interval: 1 gives the tag to all repositories, 3 to numbers 0, 3, 6, ...
            age: How many seconds ago the repositories were created and pushed.
        """
        then_ms = self._now_ms() - round(age * 1000)
        for number in range(count):
            record = self._create(namespace, name.format(number), then_ms)
            carried = tag if number % every == 0 else f"not-{tag}"
            self._start(record, TagLifetime(carried, self._new_digest(record), then_ms), then_ms)

    def add_user(
        self,
        user: str,
        token: str,
        *,
        namespaces: Iterable[str] = (),
        scopes: Iterable[str] = ("repo:read",),
    ) -> None:
        """Register an OAuth application token of a user.

        Args:
            user: The name of the user.
            token: The token, which a client sends as ``Authorization: Bearer TOKEN``.
            namespaces: The namespaces whose private repositories the user may read.
            scopes: The scopes of the token. Without ``repo:read``, the tag and repository
                endpoints refuse private repositories; the listing still shows them.
        """
        self.users[token] = User(user, frozenset(namespaces), frozenset(scopes))

    def _now_ms(self) -> int:
        return int(self.now() * 1000)

    def _find(self, namespace: str, name: str) -> RepositoryRecord | None:
        found = self.namespaces.get(namespace)
        return None if found is None else found.get(name)

    def _repository(self, namespace: str, name: str) -> RepositoryRecord:
        record = self._find(namespace, name)
        if record is None:
            raise RegistryError(f"no repository {namespace}/{name}")
        return record

    def _tag(self, namespace: str, name: str, tag: str) -> tuple[RepositoryRecord, TagLifetime]:
        record = self._repository(namespace, name)
        lifetime = record.tag(tag, self._now_ms())
        if lifetime is None:
            raise RegistryError(f"no tag {namespace}/{name}:{tag}")
        return record, lifetime

    def _create(
        self,
        namespace: str,
        name: str,
        now_ms: int,
        public: bool = True,
        state: str = "NORMAL",
        kind: str = "image",
        description: str | None = None,
    ) -> RepositoryRecord:
        _checked(_NAMESPACE, namespace, "namespace")
        _checked(_REPOSITORY, name, "repository")
        _check_state(state)
        if self._find(namespace, name) is not None:
            raise RegistryError(f"repository {namespace}/{name} already exists")
        self._last_id += 1
        record = RepositoryRecord(
            self._last_id, namespace, name, public, state, kind, description, now_ms
        )
        self.namespaces.setdefault(namespace, NamespaceRecord()).add(record)
        return record

    def _start(self, record: RepositoryRecord, lifetime: TagLifetime, now_ms: int) -> None:
        _checked(_TAG, lifetime.name, "tag")
        _checked(_DIGEST, lifetime.manifest_digest, "digest")
        replaced = record.tag(lifetime.name, now_ms)
        if replaced is not None:
            record.rewrite(replace(replaced, end_ms=now_ms), now_ms)
        record.start(lifetime, now_ms)

    def _new_digest(self, record: RepositoryRecord) -> str:
        self._digests += 1
        seed = f"{record.namespace}/{record.name} {self._digests}"
        return f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"


def _checked(grammar: re.Pattern[str], text: str, what: str) -> str:
    if grammar.fullmatch(text) is None:
        raise RegistryError(f"invalid {what} {text!r}")
    return text


def _check_state(state: str) -> None:
    if state not in STATES:
        raise RegistryError(f"invalid state {state!r}: must be one of {', '.join(STATES)}")
