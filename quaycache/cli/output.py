"""Output on stdout and stderr: a `Resolution` as text, and human-readable numbers."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from quaycache.errors import QuaycacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quaycache.model import Image, Resolution, Stats


class OutputError(QuaycacheError):
    """Stdout cannot be written."""


def replace_closed_streams() -> None:
    """Open a null device for a closed stderr, which Python represents as None.

    Raises:
        OutputError: If stdout is closed: the output would be lost.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until exit
    if sys.stdout is None:
        sys.stdout = sys.stderr
        raise OutputError("stdout is closed")


def print_out(*lines: str) -> None:
    """Print lines on stdout; undecodable bytes of a file name leave as they came in.

    Raises:
        BrokenPipeError: If the reader has gone away.
        OutputError: If stdout cannot be written.
    """
    try:
        sys.stdout.buffer.write(os.fsencode("".join(f"{line}\n" for line in lines)))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout cannot be written: {error.strerror}") from error


def print_err(line: str) -> None:
    """Print a line on stderr."""
    with contextlib.suppress(OSError):  # stderr is closed
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _text(resolution: Resolution) -> Iterator[str]:
    for image in resolution.images:
        yield f"{image.registry}/{image.repository}:{image.tag}"


def _digest(resolution: Resolution) -> Iterator[str]:
    # Several tags can point at one digest.
    yield from dict.fromkeys(
        f"{image.registry}/{image.repository}@{image.digest}" for image in resolution.images
    )


def _json(resolution: Resolution) -> Iterator[str]:
    document = {
        "images": [_image(image) for image in resolution.images],
        "failures": [failure._asdict() for failure in resolution.failures],
        "stats": resolution.stats.as_dict(),
    }
    yield json.dumps(document, indent=2)


def _jsonl(resolution: Resolution) -> Iterator[str]:
    for image in resolution.images:
        yield json.dumps(_image(image))


FORMATS: dict[str, Callable[[Resolution], Iterator[str]]] = {
    "text": _text,
    "digest": _digest,
    "json": _json,
    "jsonl": _jsonl,
}
"""Maps a value of ``--output`` to the function that makes the lines to print."""


def format_time(seconds: float) -> str:
    """Return seconds UTC as ``2026-03-01T12:00:00Z``."""
    from datetime import datetime, timezone  # most runs print no time

    moment = datetime.fromtimestamp(int(seconds), tz=timezone.utc)
    return moment.isoformat().replace("+00:00", "Z")


def format_size(size: int) -> str:
    """Return a number of bytes as ``12 bytes``, ``3.4 KiB``, ``5.6 MiB``..."""
    if size < 1024:
        return f"{size} bytes"
    amount = size / 1024
    for unit in ("KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def stats_line(stats: Stats) -> str:
    """Return the counters as one line of ``name=value`` pairs."""
    return " ".join(f"{name}={value}" for name, value in stats.as_dict().items())


def _image(image: Image) -> dict[str, Any]:
    fields = image._asdict()
    if image.checked_at is not None:
        fields["checked_at"] = round(image.checked_at, 3)
    return fields
