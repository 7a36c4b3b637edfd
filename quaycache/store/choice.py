"""Which store a user's words mean: a directory, or a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from quaycache.errors import SettingsError
from quaycache.freshness import Policy
from quaycache.store.disk import DiskStore

if TYPE_CHECKING:
    from quaycache.store.protocol import Store


_SCHEMES: Final = ("redis:", "rediss:", "unix:")


def store_at(
    directory: str | os.PathLike[str] | None, url: str | None, policy: Policy | None = None
) -> Store | None:
    """The store in a directory or at a URL; None if there is neither.

    Args:
        directory: of a `DiskStore`.
        url: of a `RedisStore`.
        policy: how long it has to keep things; None means `Policy()`.

    Raises:
        MissingExtraError: the URL needs redis-py.
        SettingsError: there are both, or one is wrong. The message does not hold the URL.
    """
    if directory is not None and url is not None:
        raise SettingsError("a cache is in a directory or at a URL, not both")
    retention = (policy or Policy()).retention
    if url is not None:
        from quaycache.store.redis import RedisStore  # not cheap, and not for everybody

        return RedisStore(url, retention=retention)
    if str(directory).startswith(_SCHEMES):
        raise SettingsError("a cache directory is no URL: there is a setting for a cache's URL")
    return None if directory is None else DiskStore(directory, retention=retention)
