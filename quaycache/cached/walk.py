"""One walk through a namespace's listing, shared by all runs that read it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from quaycache.cached.single_flight import Started, Waiter
from quaycache.errors import QuayAPIError

if TYPE_CHECKING:
    from quaycache.model import ListingPage
    from quaycache.quay.bound import ListingCursor
    from quaycache.run import Run

    FetchPage = Callable[[ListingCursor | None], tuple[ListingPage, ListingCursor | None]]


class Walk:
    """The pages of a listing, each fetched by the reader that needs it first. Thread-safe.

    A walk has no leader: a reader that pauses, or whose run is cancelled, delays no other reader.

    Attributes:
        started: When it began.
        pages: The pages fetched so far.
        requested_in: For each page, the latest run of the process when it was requested.
        ended: Whether it is complete, or has failed.
    """

    def __init__(self, started: Started) -> None:
        self.started = started
        self.pages: list[ListingPage] = []
        self.requested_in: list[int] = []
        self.ended = False
        self._lock = threading.Lock()
        self._cursor: ListingCursor | None = None
        self._error: QuayAPIError | None = None
        self._fetching = False
        self._waiters: list[Waiter] = []

    def page(self, index: int, run: Run, run_id: int, fetch: FetchPage) -> ListingPage | None:
        """Return the page at an index, counted from 0; None after the last page.

        Args:
            index: At most the number of pages that the reader has read.
            run: Its cancellation ends the wait for another reader's request.
            run_id: The latest run of the process.
            fetch: Fetches the page at a cursor, and returns the next cursor with it.

        Raises:
            QuayAPIError: If the page cannot be fetched; readers that wait for it get a copy.
            Cancelled: If *run* is cancelled.
        """
        while True:
            with self._lock:
                if index < len(self.pages):
                    return self.pages[index]
                if self._error is not None:
                    raise self._error.with_message(str(self._error)) from self._error.__cause__
                if self.ended:
                    return None
                if not self._fetching:
                    self._fetching = True
                    break
                waiter = Waiter()
                self._waiters.append(waiter)
            waiter.wait(run)
        return self._fetch(run_id, fetch)

    def _fetch(self, run_id: int, fetch: FetchPage) -> ListingPage:
        page: ListingPage | None = None
        cursor, failure = self._cursor, None
        try:
            page, cursor = fetch(cursor)
            return page
        except QuayAPIError as error:
            failure = error
            raise
        finally:
            with self._lock:
                self._fetching = False
                self._error, self._cursor = failure, cursor
                self.ended = failure is not None or (page is not None and cursor is None)
                if page is not None:
                    self.pages.append(page)
                    self.requested_in.append(run_id)
                waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.abort()


class Walks:
    """The walks in progress, by their key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A walk exists for as long as a reader holds it.
        self._walks: WeakValueDictionary[Hashable, Walk] = WeakValueDictionary()

    def join(self, key: Hashable, started: Started, may_join: Callable[[Started], bool]) -> Walk:
        """Return the walk in progress, or a new one.

        Args:
            key: The scope of the listing.
            started: The present moment.
            may_join: Whether a walk that began at a moment is recent enough for the caller.
        """
        with self._lock:
            walk = self._walks.get(key)
            if walk is None or walk.ended or not may_join(walk.started):
                walk = self._walks[key] = Walk(started)
            return walk
