"""Progress bars, drawn by an event listener. The only module that imports rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from quaycache.events import Checked, ChecksPlanned, PageListed

if TYPE_CHECKING:
    from types import TracebackType

    from quaycache.events import Event


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        # Answers from the cache arrive at once: a rate of the first second would mean nothing.
        is_known = speed is not None and (task.elapsed or 0.0) >= 1
        return Text(f"{speed:.0f}/s" if is_known else "")


class ProgressBars:
    """A context manager that draws a bar for the listing and one for the checks on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._listing = self._progress.add_task("listing", total=None)
        self._checks = self._progress.add_task("checking", total=None, visible=False)

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Show one event."""
        match event:
            case PageListed():
                self._progress.advance(self._listing, event.repositories)
            case ChecksPlanned():
                if event.complete:
                    listed = self._progress.tasks[self._listing].completed
                    self._progress.update(self._listing, total=listed, visible=listed > 0)
                self._progress.update(self._checks, total=event.total, visible=event.total > 0)
            case Checked():
                self._progress.advance(self._checks)
