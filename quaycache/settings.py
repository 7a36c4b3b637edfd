"""Options as text -> values, and the source that a token is taken from."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from quaycache._lazy import lazy_pattern
from quaycache.errors import SettingsError
from quaycache.names import printable
from quaycache.quay.pacing import MIN_RATE_LIMIT
from quaycache.query import parse_token

if TYPE_CHECKING:
    from collections.abc import Mapping

_DURATION = lazy_pattern(r"(\d{1,9})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_TOKEN_FILE = 65536


def parse_duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``5m``, ``12h`` or ``7d``.

    Raises:
        SettingsError: If *text* is not a duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise SettingsError(
            f"invalid duration '{printable(text, 40)}': write 90, 90s, 5m, 12h or 7d"
        )
    return float(int(match[1]) * _UNITS[match[2]])


def parse_rate(text: str) -> float:
    """Return a number of requests a second.

    Raises:
        SettingsError: If *text* is not a finite number, or is less than `MIN_RATE_LIMIT`.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not MIN_RATE_LIMIT <= rate < math.inf:
        raise SettingsError(
            f"invalid rate limit '{printable(text, 40)}': write requests a second,"
            f" {MIN_RATE_LIMIT} or more"
        )
    return rate


def find_token(token_file: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the token in a file, else that in ``QUAYCACHE_TOKEN``, else None.

    Raises:
        SettingsError: If the file cannot be read, or the text is not a token. The message names
            the source, and does not contain the text.
    """
    if token_file is not None:
        source, text = f"token file '{printable(token_file)}'", _read(token_file)
    elif environ.get("QUAYCACHE_TOKEN"):
        source, text = "QUAYCACHE_TOKEN", environ["QUAYCACHE_TOKEN"]
    else:
        return None
    try:
        return parse_token(text.strip())
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from None


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_TOKEN_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"token file '{printable(path)}': {reason}") from None
    if len(data) > _MAX_TOKEN_FILE:
        raise SettingsError(f"token file '{printable(path)}' is too large for a token")
    return data.decode("utf-8", "replace")
