"""What the runs of one cached client share: the store, and what is under way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from quaycache.answers_view import AnswersView
from quaycache.flights import Flights
from quaycache.write_batch import WriteBatch

if TYPE_CHECKING:
    from collections.abc import Collection

    from quaycache.model import ListingPage, StoredAnswer, StoredListing, TagAnswer
    from quaycache.store.entry import Entry
    from quaycache.store.keys import AnswerKey, Key, Scope
    from quaycache.store.protocol import Store


class SharedAnswers:
    """Thread-safe.

    Attributes:
        answers: questions for a tag under way.
        walks: listings under way; what lands is one page with everything.
    """

    def __init__(self, store: Store, margin: float) -> None:
        self.answers: Flights[TagAnswer] = Flights()
        self.walks: Flights[ListingPage] = Flights()
        self._store = store
        self._batch = WriteBatch(store, margin)
        self._lock = threading.Lock()
        self._turn = 0
        # A view lives as long as a run uses it.
        self._views: WeakValueDictionary[tuple[Scope, str], AnswersView] = WeakValueDictionary()

    def begin(self) -> int:
        """The number of a run that begins."""
        with self._lock:
            self._turn += 1
            return self._turn

    def turn(self) -> int:
        """The number of the latest run."""
        with self._lock:
            return self._turn

    def view(self, scope: Scope, tag: str, *, load: bool) -> AnswersView:
        """The answers for one tag; with `load`, as the store has them at this moment."""
        with self._lock:
            view = self._views.get((scope, tag))
            if view is None:
                view = self._views[scope, tag] = AnswersView(scope, tag)
        if load:
            self._batch.flush()
            view.reload(self._store)
        return view

    def claim(
        self, view: AnswersView, repositories: Collection[str], seconds: float
    ) -> Collection[str]:
        """As `Store.claim`: those repositories that another process is about to ask about."""
        return view.claim(self._store, repositories, seconds)

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """One answer, as the store has it at this moment."""
        self._batch.flush()
        return self._store.load_answer(key)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """A listing, as the store has it at this moment."""
        self._batch.flush()
        return self._store.load_listing(scope)

    def keep(self, key: Key, entry: Entry) -> None:
        """Have an entry stored soon."""
        self._batch.add(key, entry)

    def remove(self, key: Key, until: float) -> None:
        """Remove an entry that was checked at `until` or before."""
        self._batch.flush()
        self._store.remove({key: until})

    def keep_listed(self, scope: Scope, listed: Collection[str], until: float) -> None:
        """Remove the answers of repositories that are not listed, if checked by `until`."""
        self._batch.flush()
        self._store.keep_listed(scope, listed, until=until)
        with self._lock:
            views = [view for (of, _), view in self._views.items() if of == scope]
        for view in views:
            view.keep_listed(listed, until)

    def close(self) -> None:
        """Store what is pending and close the store."""
        self._batch.close()
        self._store.close()
