"""What the runs of one cached client share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from quaycache.after_fork import reset_in_children
from quaycache.cached.single_flight import SingleFlight
from quaycache.cached.tag_cache import TagCache
from quaycache.cached.walk import Walks
from quaycache.cached.write_behind import WriteBehind

if TYPE_CHECKING:
    from collections.abc import Collection

    from quaycache.model import TagAnswer
    from quaycache.store.keys import Scope
    from quaycache.store.protocol import Store


class Shared:
    """The store, and the work in progress. Thread-safe, and safe across a fork.

    Attributes:
        store: The store, written to in batches.
        lookups: The tag lookups in progress.
        walks: The walks in progress.
    """

    def __init__(self, store: Store, margin: float) -> None:
        self.store = WriteBehind(store, margin)
        self._run_id = 0
        self._start_empty()
        reset_in_children(self)

    def start_run(self) -> int:
        """Return the number of a new run."""
        with self._lock:
            self._run_id += 1
            return self._run_id

    def latest_run(self) -> int:
        """Return the number of the run that began last."""
        return self._run_id

    def tag_cache(self, scope: Scope, tag: str) -> TagCache:
        """Return the answers for one tag; they stay in memory as long as a run uses them."""
        with self._lock:
            cache = self._tag_caches.get((scope, tag))
            if cache is None:
                cache = self._tag_caches[scope, tag] = TagCache(self.store, scope, tag)
            return cache

    def discard_unlisted(self, scope: Scope, listed: Collection[str], until: float) -> None:
        """Drop the answers of repositories that are not listed, if checked at *until* or before."""
        self.store.discard_unlisted(scope, listed, until=until)
        with self._lock:
            caches = [cache for key, cache in self._tag_caches.items() if key[0] == scope]
        for cache in caches:
            cache.discard_unlisted(listed, until)

    def close(self) -> None:
        """Store what is pending, and close the store."""
        self.store.close()

    def reset_after_fork(self) -> None:
        """Forget the work in progress: only threads of the parent can finish it."""
        caches = list(self._tag_caches.items())
        self._start_empty()
        self.store.reset_after_fork()
        for key, cache in caches:
            cache.reset_after_fork()
            self._tag_caches[key] = cache

    def _start_empty(self) -> None:
        self.lookups: SingleFlight[TagAnswer] = SingleFlight()
        self.walks = Walks()
        self._lock = threading.Lock()
        self._tag_caches: WeakValueDictionary[tuple[Scope, str], TagCache] = WeakValueDictionary()
