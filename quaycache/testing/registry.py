"""The state of a Quay, and everything that can happen to it: pure, no I/O, no threads.

The rules are those of Quay's own tag model (``data/model/oci/tag.py``); what they look like from
outside is `quaycache.testing.answers`.
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

# Quay keeps a manifest that was pushed by digest alive for this long, under a hidden tag.
_HIDDEN_TAG_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class User:
    """The owner of an OAuth application token."""

    name: str
    namespaces: frozenset[str]
    scopes: frozenset[str]


class Registry:
    """Namespaces, repositories, tags and users, and a clock that can be moved.

    Every public method takes and returns plain JSON values: the embedded server carries them out
    in its own process. Times are seconds UTC, durations are seconds.

    Raises:
        RegistryError: from any method, when a name is not valid or the thing is not there.
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
        """The registry's time."""
        return self._clock() + self._moved

    def advance(self, seconds: float) -> None:
        """Moves the registry's clock forward, or back if `seconds` is negative."""
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
        """Creates an empty repository, after all others in the order of the listing."""
        self._create(namespace, name, self._now_ms(), public, state, kind, description)

    def delete_repository(self, namespace: str, name: str) -> None:
        """Deletes a repository with all its tags."""
        record = self._repository(namespace, name)
        self.namespaces[namespace].delete(record, self._now_ms())

    def set_public(self, namespace: str, name: str, public: bool) -> None:
        """Makes a repository public or private."""
        self._repository(namespace, name).public = public

    def set_state(self, namespace: str, name: str, state: str) -> None:
        """Sets one of Quay's repository states: all but MARKED_FOR_DELETION are listed."""
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
        """Pushes a tag, and creates the repository when it is missing, as a push does.

        The same digest again is a push like any other: it starts a new lifetime.

        Args:
            namespace: of the repository.
            repository: its name within the namespace.
            tag: replaces the tag of the same name.
            digest: of the manifest; None makes up a new one, the same in every run.
            lifetime: until the tag expires; None is never.
            manifest_list: whether the manifest is a list of manifests.

        Returns:
            The manifest digest.
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
        """Pushes a manifest by digest: Quay holds on to it with a hidden, temporary tag.

        Returns:
            The manifest digest.
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
        """Deletes an alive tag."""
        record, lifetime = self._tag(namespace, repository, tag)
        now_ms = self._now_ms()
        record.rewrite(replace(lifetime, end_ms=now_ms), now_ms)

    def restore(self, namespace: str, repository: str, tag: str, digest: str) -> None:
        """Points a tag back at a manifest that the repository has had: a reversion."""
        record = self._repository(namespace, repository)
        earlier = next((row for row in record.rows if row.manifest_digest == digest), None)
        if earlier is None:
            raise RegistryError(f"{namespace}/{repository} never had {digest}")
        now_ms = self._now_ms()
        restored = TagLifetime(
            tag, digest, now_ms, manifest_list=earlier.manifest_list, reversion=True
        )
        self._start(record, restored, now_ms)

    def set_expiry(
        self, namespace: str, repository: str, tag: str, expires_at: float | None
    ) -> None:
        """Sets, changes or (None) clears when an alive tag expires; never a past time."""
        record, lifetime = self._tag(namespace, repository, tag)
        now_ms = self._now_ms()
        end_ms = None if expires_at is None else round(expires_at * 1000)
        if end_ms is not None and end_ms <= now_ms:
            raise RegistryError(f"the expiry of {namespace}/{repository}:{tag} must lie ahead")
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
        """Creates many repositories with one tag each, fast.

        Args:
            namespace: that gets them.
            count: how many.
            tag: carried by every `every`-th, from the first on; the others carry only
                ``not-<tag>``.
            name: formatted with the number of the repository, from 0.
            every: 1 gives the tag to all of them.
            age: how long ago they were created and pushed.
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
        """Makes `token` a good OAuth application token of `user`.

        Args:
            user: the owner's name.
            token: sent as ``Authorization: Bearer``.
            namespaces: whose repositories the user may read, private ones too.
            scopes: of the token. The listing heeds the user's rights alone; the other endpoints
                show a private repository only to a token with ``repo:read``.
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
            raise RegistryError(f"{namespace}/{name} exists already")
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
        raise RegistryError(f"{text!r} is no valid {what}")
    return text


def _check_state(state: str) -> None:
    if state not in STATES:
        raise RegistryError(f"{state!r} is no repository state; one of {', '.join(STATES)}")
