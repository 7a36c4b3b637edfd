"""What the cached client needs of a store. A directory is one; a network store can be another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.store.entry import Entry
    from quaycache.store.keys import AnswerKey, Key, Scope

RETENTION: Final = 30 * 86400.0
"""Seconds after which a store drops what it keeps, if nobody says otherwise."""


class Row(NamedTuple):
    """One row of a store, for who looks after it.

    Attributes:
        entry: None if the bytes under this key are none.
        size: bytes of key and value.
    """

    key: Key
    entry: Entry | None
    size: int


class Claimed(NamedTuple):
    """What `Store.claim` returns.

    Attributes:
        answers: the stored answers for these repositories.
        by_others: the repositories that another process has claimed.
    """

    answers: dict[str, StoredAnswer]
    by_others: Collection[str]


class Pruned(NamedTuple):
    """What `Store.prune` dropped, or would drop.

    Attributes:
        rows: dropped ones.
        quarantines: dropped ones.
        freed: bytes.
    """

    rows: int
    quarantines: int
    freed: int


class Description(NamedTuple):
    """A store at a glance.

    Attributes:
        size: bytes that it takes, all in all.
        quarantines: how many damaged caches were put aside.
    """

    size: int
    quarantines: int


class Store(Protocol):
    """Answers and listings between runs. Thread-safe.

    What it finds, and what it fails to do, is never the job's trouble: a store that cannot be read
    is empty, one that cannot be written keeps nothing, and one warning is logged under
    ``quaycache.store``. Only `rows`, `prune` and `clean` raise: they are the job.
    """

    @property
    def location(self) -> str:
        """Where it is; without a password."""

    def now(self) -> float:
        """Return the time by the clock that counts every ``stored_at``, in seconds.

        An entry's age is the difference of the two. Only this clock gives it: where runners share a
        store, the local clock of any of them may be wrong, or may be set during a run.
        """

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """Every answer for one tag, by repository, in one read."""

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """One answer."""

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
        """The listing of a namespace."""

    def merge(self, entries: Mapping[Key, Entry], *, latest: float) -> None:
        """Store entries in one batch.

        Of two under one key the newer ``checked_at`` wins, but what is stored with one later than
        `latest` has a time that cannot be, and loses.
        """

    def remove(self, keys: Mapping[Key, float]) -> None:
        """Remove each key's entry if its ``checked_at`` is not later than the key's value."""

    def keep_listed(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """Remove, for every tag, the answers of repositories that are not in `listed`.

        Those checked after `until` stay: they are newer than the listing.
        """

    def rows(self) -> Iterator[Row]:
        """Everything stored, in the order of the keys; nothing if it is damaged.

        Raises:
            StoreError: it is in use, or may not be read.
        """

    def prune(
        self, keep: Callable[[Row], bool], *, quarantined_before: float, dry_run: bool = False
    ) -> Pruned:
        """Drop every row but those to keep, and take as little room as possible.

        Args:
            keep: whether a row stays; rows that are none of ours are not even shown to it.
            quarantined_before: seconds UTC; what was put aside before then goes too.
            dry_run: drop nothing, and say what would go.

        Raises:
            StoreError: it is in use, or may not be written.
        """

    def clean(self) -> int:
        """Remove everything of ours, and nothing else; the number of bytes freed.

        Raises:
            StoreError: as `prune`.
        """

    def describe(self) -> Description:
        """What it takes."""

    def close(self) -> None:
        """Write what is to be written, and let go of everything. For good."""
