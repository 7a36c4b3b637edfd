"""The answers for one tag, in memory."""

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
    """The stored answers for one tag, and those that this process has received. Thread-safe.

    Attributes:
        entries: Stored answers by repository, including those recorded since the last `refresh`.
    """

    def __init__(self, store: WriteBehind, scope: Scope, tag: str) -> None:
        self.entries: dict[str, StoredAnswer] = {}
        self._store = store
        self._scope = scope
        self._tag = tag
        self._lock = threading.Lock()
        self._learned: dict[str, tuple[int, TagAnswer]] = {}
        self._discards = 0

    def refresh(self) -> None:
        """Load the store's answers, also other processes'; newer entries in memory are kept."""
        while True:
            discards = self._discards
            loaded = self._store.load_answers(self._scope, self._tag)
            with self._lock:
                # What was discarded since may have been loaded before.
                if discards == self._discards:
                    before, self.entries = self.entries, loaded
                    self._merge_newer(before)
                    return

    def claim(self, repositories: Collection[str], seconds: float) -> Collection[str]:
        """Claim repositories, and merge their stored answers; return those claimed elsewhere."""
        discards = self._discards
        claimed = self._store.claim(self._scope, self._tag, repositories, seconds=seconds)
        with self._lock:
            if discards == self._discards:
                self._merge_newer(claimed.answers)
        return claimed.claimed_elsewhere

    def record(
        self, repository: str, answer: TagAnswer, entry: StoredAnswer | None, run_id: int
    ) -> None:
        """Record an answer that has just arrived.

        Args:
            repository: The name of the repository.
            answer: The answer as received.
            entry: The answer as stored; None if it must not be stored.
            run_id: The latest run of the process when the request was sent.
        """
        with self._lock:
            self._learned[repository] = (run_id, answer)
            if entry is not None:
                self.entries[repository] = entry

    def learned_in_or_after(self, repository: str, run_id: int) -> TagAnswer | None:
        """Return an answer requested after a run began, which is as good as the run's own."""
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
        """Drop the answers of repositories, if checked at *until* or before.

        The store has dropped them already, or a `refresh` would bring them back.
        """
        with self._lock:
            self._discards += 1
            for repository in repositories:
                entry = self.entries.get(repository)
                if entry is not None and entry.checked_at <= until:
                    del self.entries[repository]

    def reset_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held during the fork."""
        self._lock = threading.Lock()

    def _merge_newer(self, entries: Mapping[str, StoredAnswer]) -> None:
        """Adopt each entry that is newer than the one in memory."""
        for repository, entry in entries.items():
            known = self.entries.get(repository)
            if known is None or known.checked_at < entry.checked_at:
                self.entries[repository] = entry
