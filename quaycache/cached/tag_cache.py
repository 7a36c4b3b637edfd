"""The answers for one tag that this process has in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from quaycache.model import Provenance

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from quaycache.cached.write_behind import WriteBehind
    from quaycache.model import StoredAnswer, TagAnswer
    from quaycache.store.keys import Scope


class TagCache:
    """What the store has for one tag, and what this process has learned since. Thread-safe.

    Attributes:
        entries: By repository, as of the last `refresh`, and as recorded since.
    """

    def __init__(self, store: WriteBehind, scope: Scope, tag: str) -> None:
        self.entries: dict[str, StoredAnswer] = {}
        self._store = store
        self._scope = scope
        self._tag = tag
        self._lock = threading.Lock()
        self._learned: dict[str, tuple[int, TagAnswer]] = {}

    def refresh(self) -> None:
        """Load what the store has, from other processes too, unless what is here is newer."""
        loaded = self._store.load_answers(self._scope, self._tag)
        with self._lock:
            before, self.entries = self.entries, loaded
            self._merge_newer(before)

    def claim(self, repositories: Collection[str], seconds: float) -> Collection[str]:
        """As `Store.claim`; what the store has for these repositories is merged."""
        claimed = self._store.claim(self._scope, self._tag, repositories, seconds=seconds)
        with self._lock:
            self._merge_newer(claimed.answers)
        return claimed.claimed_elsewhere

    def record(
        self, repository: str, answer: TagAnswer, entry: StoredAnswer | None, run_id: int
    ) -> None:
        """Record an answer that has just arrived.

        Args:
            repository: The one that it is about.
            answer: The answer as it arrived.
            entry: The answer as it is stored; None if it must not be stored.
            run_id: The latest run of the process when the request was made.
        """
        with self._lock:
            self._learned[repository] = (run_id, answer)
            if entry is not None:
                self.entries[repository] = entry

    def learned_in_or_after(self, repository: str, run_id: int) -> TagAnswer | None:
        """Return an answer requested after a run had begun: as good as the run's own."""
        learned_in, answer = self._learned.get(repository, (-1, None))
        if answer is None or learned_in < run_id:
            return None
        return answer._replace(provenance=Provenance.FRESH)

    def discard_unlisted(self, listed: Collection[str], until: float) -> None:
        """Drop the answers of repositories that are not listed, if checked at *until* or before."""
        with self._lock:
            unlisted = [repository for repository in self.entries if repository not in listed]
        self.discard(unlisted, until)

    def discard(self, repositories: Collection[str], until: float) -> None:
        """Drop the answers of repositories, if checked at *until* or before."""
        with self._lock:
            for repository in repositories:
                entry = self.entries.get(repository)
                if entry is not None and entry.checked_at <= until:
                    del self.entries[repository]

    def reset_after_fork(self) -> None:
        """Replace the lock: a thread that exists in the parent alone may hold it."""
        self._lock = threading.Lock()

    def _merge_newer(self, entries: Mapping[str, StoredAnswer]) -> None:
        """Take each entry that is newer than the one here."""
        for repository, entry in entries.items():
            known = self.entries.get(repository)
            if known is None or known.checked_at < entry.checked_at:
                self.entries[repository] = entry
