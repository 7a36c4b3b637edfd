"""The exit codes, and an exit that does not wait for workers."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Final, NoReturn

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
NOT_STORED: Final = 4
INTERRUPTED: Final = 130

# Seconds that cancelled workers get to end by themselves.
_GRACE: Final = 0.3


def leave(code: int) -> NoReturn:
    """Exit with *code*, within 0.3 s even if a worker hangs in name resolution.

    A normal exit would wait for every worker, and nothing can interrupt one that looks up a host.
    It would also spend time on freeing objects that the operating system frees at once.
    """
    until = time.monotonic() + _GRACE
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader has gone away, or it is closed
            stream.flush()
    os._exit(code)
