"""A clock for waiting and for back-off."""

from __future__ import annotations

import time


def monotonic() -> float:
    """Return seconds by a clock that a program's tests do not stop, unlike `time.monotonic`."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
