"""Writes to the store in small batches, so that a killed process loses few answers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from quaycache.model import StoredAnswer, StoredListing
    from quaycache.store.entry import Entry
    from quaycache.store.keys import AnswerKey, Key, Scope
    from quaycache.store.protocol import Claimed, Store

# Small, because runs that start together wait for each other's answers.
_BATCH_SIZE: Final = 16
_BATCH_SECONDS: Final = 0.25


class WriteBehind:
    """A store that writes every few entries, and several times a second. Thread-safe.

    Reads and removals first write what is pending, so a reader finds everything added before.

    Args:
        store: The store, which `close` closes.
        margin: Seconds by which the server's clock may be ahead of the newest entry of a batch.
    """

    def __init__(self, store: Store, margin: float) -> None:
        self._store = store
        self._margin = margin
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pending: dict[Key, Entry] = {}
        self._start_empty()

    def add(self, key: Key, entry: Entry) -> None:
        """Schedule an entry for writing; do nothing after `close`."""
        with self._changed:
            if self._closed:
                return
            if not self._pending:
                self._due = time.monotonic() + _BATCH_SECONDS
            self._pending[key] = entry
            if len(self._pending) in (1, _BATCH_SIZE):
                self._changed.notify()
            has_thread = self._thread is not None or self._start_thread()
        if not has_thread:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, and then return."""
        with self._writing:
            with self._changed:
                pending, self._pending = self._pending, {}
            if pending:
                # All entries of a batch have the server's own time, so none is from the future.
                newest = max(entry.checked_at for entry in pending.values())
                self._store.put_newer(pending, max_checked_at=newest + self._margin)

    def now(self) -> float:
        """As `Store.now`."""
        return self._store.now()

    def load_answers(self, scope: Scope, tag: str) -> dict[str, StoredAnswer]:
        """As `Store.load_answers`."""
        self.flush()
        return self._store.load_answers(scope, tag)

    def load_answer(self, key: AnswerKey) -> StoredAnswer | None:
        """As `Store.load_answer`."""
        self.flush()
        return self._store.load_answer(key)

    def load_listing(self, scope: Scope) -> StoredListing | None:
        """As `Store.load_listing`."""
        self.flush()
        return self._store.load_listing(scope)

    def claim(
        self, scope: Scope, tag: str, repositories: Collection[str], *, seconds: float
    ) -> Claimed:
        """As `Store.claim`, but without writing what is pending: it is in memory already."""
        return self._store.claim(scope, tag, repositories, seconds=seconds)

    def release(self, scope: Scope, tag: str, repositories: Collection[str]) -> None:
        """As `Store.release`."""
        self._store.release(scope, tag, repositories)

    def remove_if_not_newer(self, keys: Mapping[Key, float]) -> None:
        """As `Store.remove_if_not_newer`."""
        self.flush()
        self._store.remove_if_not_newer(keys)

    def discard_unlisted(self, scope: Scope, listed: Collection[str], *, until: float) -> None:
        """As `Store.discard_unlisted`."""
        self.flush()
        self._store.discard_unlisted(scope, listed, until=until)

    def close(self) -> None:
        """Write what is pending, accept no more, and close the store."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        self._store.close()

    def reset_after_fork(self) -> None:
        """Drop what is pending, and the thread that writes it: both belong to the parent."""
        self._thread = None
        self._start_empty()

    def _start_empty(self) -> None:
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._pending = {}
        self._due = 0.0

    def _start_thread(self) -> bool:
        """Start the thread that writes; return False if the system cannot start one."""
        thread = threading.Thread(target=self._write_when_due, name="quaycache-batch", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _write_when_due(self) -> None:
        while self._wait_until_due():
            self.flush()

    def _wait_until_due(self) -> bool:
        """Wait for the next batch; return False after `close`."""
        with self._changed:
            while not self._closed:
                if not self._pending:
                    self._changed.wait()
                elif len(self._pending) >= _BATCH_SIZE or time.monotonic() >= self._due:
                    return True
                else:
                    self._changed.wait(max(0.0, self._due - time.monotonic()))
            return False
