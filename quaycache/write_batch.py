"""What was learned goes to the store in batches, so that a kill loses little of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from quaycache.store.entry import Entry
    from quaycache.store.keys import Key
    from quaycache.store.protocol import Store

# Runs that start together wait for what the others have learned.
_BATCH_SIZE: Final = 16
_BATCH_SECONDS: Final = 0.25


class WriteBatch:
    """Entries on their way to a store. Thread-safe.

    Args:
        store: gets them every few entries, and several times a second.
        margin: seconds by which the server's clock may be ahead of the newest entry of a batch.
    """

    def __init__(self, store: Store, margin: float) -> None:
        self._store = store
        self._margin = margin
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._pending: dict[Key, Entry] = {}
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, key: Key, entry: Entry) -> None:
        """Have an entry stored soon; not after `close`."""
        with self._changed:
            if self._closed:
                return
            if not self._pending:
                self._due = time.monotonic() + _BATCH_SECONDS
            self._pending[key] = entry
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_when_due, name="quaycache-batch", daemon=True
                )
                self._thread.start()
            if len(self._pending) in (1, _BATCH_SIZE):
                self._changed.notify()

    def flush(self) -> None:
        """Store what is pending before returning."""
        with self._writing:
            with self._changed:
                pending, self._pending = self._pending, {}
            if pending:
                # Everything in a batch has the server's own time: none of it is in its future.
                newest = max(entry.checked_at for entry in pending.values())
                self._store.merge(pending, latest=newest + self._margin)

    def close(self) -> None:
        """Store what is pending, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _write_when_due(self) -> None:
        while self._wait_until_due():
            self.flush()

    def _wait_until_due(self) -> bool:
        """Wait for the next batch; False when there will be none."""
        with self._changed:
            while not self._closed:
                if not self._pending:
                    self._changed.wait()
                elif len(self._pending) >= _BATCH_SIZE or time.monotonic() >= self._due:
                    return True
                else:
                    self._changed.wait(max(0.0, self._due - time.monotonic()))
            return False
