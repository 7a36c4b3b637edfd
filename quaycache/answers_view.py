"""The answers for one tag of a namespace that the runs of one process have in hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from quaycache.model import Provenance

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from quaycache.model import StoredAnswer, TagAnswer
    from quaycache.store.keys import Scope
    from quaycache.store.protocol import Store


class AnswersView:
    """What the store has for one tag, and what this process has learned since. Thread-safe.

    Attributes:
        stored: by repository, as of the last `reload`, and as learned since.
    """

    def __init__(self, scope: Scope, tag: str) -> None:
        self.stored: dict[str, StoredAnswer] = {}
        self._scope = scope
        self._tag = tag
        self._lock = threading.Lock()
        self._learned: dict[str, tuple[int, TagAnswer]] = {}

    def reload(self, store: Store) -> None:
        """Take over what the store has, from other processes too, but for older answers."""
        loaded = store.load_answers(self._scope, self._tag)
        with self._lock:
            known, self.stored = self.stored, loaded
            self._take_over(known)

    def claim(self, store: Store, repositories: Collection[str], seconds: float) -> Collection[str]:
        """As `Store.claim`, and take over what it has of these repositories."""
        claimed = store.claim(self._scope, self._tag, repositories, seconds=seconds)
        with self._lock:
            self._take_over(claimed.answers)
        return claimed.by_others

    def learn(
        self, repository: str, answer: TagAnswer, stored: StoredAnswer | None, turn: int
    ) -> None:
        """Note an answer that has just come.

        Args:
            repository: that it is about.
            answer: as it came.
            stored: as it is stored; None if it must not be.
            turn: of the process's runs, the latest that had begun when it was asked for.
        """
        with self._lock:
            self._learned[repository] = (turn, answer)
            if stored is not None:
                self.stored[repository] = stored

    def learned_since(self, repository: str, turn: int) -> TagAnswer | None:
        """An answer that was asked for after run number `turn` had begun: as good as its own."""
        learned_in, answer = self._learned.get(repository, (-1, None))
        if answer is None or learned_in < turn:
            return None
        return answer._replace(provenance=Provenance.FRESH)

    def keep_listed(self, listed: Collection[str], until: float) -> None:
        """Drop what is stored about repositories that are not listed, if checked by `until`."""
        with self._lock:
            gone = [repository for repository in self.stored if repository not in listed]
        self.forget(gone, until)

    def forget(self, repositories: Collection[str], until: float) -> None:
        """Drop what is stored about repositories, but not what was checked after `until`."""
        with self._lock:
            for repository in repositories:
                answer = self.stored.get(repository)
                if answer is not None and answer.checked_at <= until:
                    del self.stored[repository]

    def _take_over(self, answers: Mapping[str, StoredAnswer]) -> None:
        """Of two answers the newer is kept, and of one time what is stored already."""
        for repository, answer in answers.items():
            known = self.stored.get(repository)
            if known is None or known.checked_at < answer.checked_at:
                self.stored[repository] = answer
