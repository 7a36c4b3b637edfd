"""The interface between the cached client and a store: a directory, or a server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.store.entry import Entry
    from quaycache.store.keys import AnswerKey, Key, Scope

RETENTION: Final = 30 * 86400.0
"""Seconds after which a store drops an entry, unless it is told otherwise."""


class Row(NamedTuple):
    """One row of a store, for maintenance code.

    Attributes:
        key: The key.
        entry: The entry; None if the bytes under this key are not a valid one.
        size: The bytes of key and value.
    """

    key: Key
    entry: Entry | None
    size: int


class Claimed(NamedTuple):
    """The result of `Store.claim`.

    Attributes:
        answers: The stored answers for these repositories.
        claimed_elsewhere: The repositories that another process has claimed.
    """

    answers: dict[str, StoredAnswer]
    claimed_elsewhere: Collection[str]


class Pruned(NamedTuple):
    """What `Store.prune` dropped, or would drop.

    Attributes:
        rows: The number of rows.
        quarantines: The number of quarantined caches.
        freed: The bytes that they took.
    """

    rows: int
    quarantines: int
    freed: int


class Description(NamedTuple):
    """A summary of a store.

    Attributes:
        size: The bytes that it takes in all.
        quarantines: The number of damaged caches in quarantine.
    """

    size: int
    quarantines: int


class Store(Protocol):
    """Answers and listings between runs. Thread-safe.

    Stores fail open: a read error looks like an empty store, a write error drops the write, and
    each store logs at most one warning, under ``quaycache.store``. Only `rows`, `prune` and `clean`
    raise, because they are called for nothing else.
    """

    @property
    def location(self) -> str:
        """The directory, or the URL without a password."""

    def now(self) -> float:
        """Return the time by the clock that counts every ``stored_at``, in seconds.

        An entry's age is the difference of the two. Only this clock gives it: where runners share a
        store, the local clock of any of them may be wrong, or may be set during a run.
        """

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """Return every answer for one tag, by repository, in one read."""

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """Return one answer, or None."""

    def claim(
        self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
    ) -> Claimed:
        """Claim repositories whose answers this process is about to request.

        Other processes then wait for these answers. A claim holds for the given number of seconds,
        or until the answer is stored or the claim released. A store for one machine may support no
        claims; it returns the stored answers.
        """

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """End this process's claims on repositories whose answers it will not store.

        Other processes stop waiting for them. Claims of other processes stay.
        """

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """Return the listing of a namespace, or None."""

    def put_newer(self, entries: Mapping[Key, Entry], *, max_checked_at: float) -> None:
        """Store entries in one batch.

        If two entries share a key, the one with the newer ``checked_at`` is kept. A stored entry
        whose time is later than *max_checked_at* has an impossible time, and is replaced.
        """

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        """Remove each key's entry, unless its ``checked_at`` is later than the key's value."""

    def discard_unlisted(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """Remove, for every tag, the answers of repositories that are not in *listed*.

        Answers checked after *until* stay: they are newer than the listing.
        """

    def rows(self) -> Iterator[Row]:
        """Yield everything stored, in the order of the keys; nothing if the store is damaged.

        Raises:
            StoreError: If the store is in use, or may not be read.
        """

    def prune(
        self, keep: Callable[[Row], bool], *, quarantined_before: float, dry_run: bool = False
    ) -> Pruned:
        """Drop all rows but those to keep, and compact the rest.

        Args:
            keep: Returns whether a row stays; foreign rows are dropped without being shown to it.
            quarantined_before: Seconds UTC; caches quarantined before then are dropped, too.
            dry_run: Whether to drop nothing, and only return what would be dropped.

        Raises:
            StoreError: If the store is in use, or may not be written.
        """

    def clean(self) -> int:
        """Remove all files and keys of quaycache, and no others; return the number of bytes freed.

        Raises:
            StoreError: As `prune`.
        """

    def describe(self) -> Description:
        """Return a summary."""

    def close(self) -> None:
        """Write what is pending, and release all resources for good."""
