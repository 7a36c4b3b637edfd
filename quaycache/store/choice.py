"""The choice between a directory and a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from quaycache.errors import SettingsError
from quaycache.freshness import Policy
from quaycache.store.disk.store import DiskStore

if TYPE_CHECKING:
    from quaycache.store.protocol import Store


_SCHEMES: Final = ("redis:", "rediss:", "unix:")


def store_at(
    directory: str | os.PathLike[str] | None, url: str | None, policy: Policy | None = None
) -> Store | None:
    """Return the store in a directory or at a URL; None if neither is given.

    Args:
        directory: The directory of a `DiskStore`.
        url: The URL of a `RedisStore`.
        policy: The policy whose retention the store gets; None means `Policy()`.

    Raises:
        MissingExtraError: If the URL needs redis-py.
        SettingsError: If both are given, or one is invalid. The message does not contain the URL.
    """
    if directory is not None and url is not None:
        raise SettingsError("a cache is in a directory or at a URL, not both")
    retention = (policy or Policy()).retention
    if url is not None:
        from quaycache.store.redis.store import RedisStore  # redis-py takes time to import

        return RedisStore(url, retention=retention)
    if str(directory).startswith(_SCHEMES):
        raise SettingsError("a URL is not a cache directory: use the setting for a cache's URL")
    return None if directory is None else DiskStore(directory, retention=retention)
