"""Everything quaycache raises, in one tree.

::

    QuaycacheError
    ├── QueryError                  a quay:// URI is wrong (a ValueError too)
    ├── SettingsError               an option or its value is wrong (a ValueError too)
    ├── MissingExtraError           an optional dependency is not installed
    ├── StoreError                  the cache cannot be maintained: in use, or not accessible
    ├── Cancelled                   this run was cancelled while a request was under way
    └── QuayAPIError                the server, or the connection to it
        ├── TransportError          no complete answer: network, TLS, protocol, timeout
        ├── MalformedResponseError  an answer that the API does not allow
        ├── UnexpectedStatusError   a status that the API does not use: a redirect, 405, ...
        ├── BadRequestError         400
        ├── AuthenticationError     401, or a token that the server silently ignored
        ├── PermissionDeniedError   403
        ├── NotFoundError           404
        ├── RateLimitedError        429
        ├── ServerError             5xx
        └── NotStoredError          offline, and the answer is not in the cache

    KeyboardInterrupt
    └── ResolveInterrupted          Ctrl-C during a resolve

No message contains a token, or a byte from the server that could control a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from quaycache.model import Resolution

_Error = TypeVar("_Error", bound="QuayAPIError")


class QuaycacheError(Exception):
    """The base of every error that quaycache raises on purpose."""


class QueryError(QuaycacheError, ValueError):
    """A ``quay://`` URI, or a part of one, is wrong; the message names the part."""


class SettingsError(QuaycacheError, ValueError):
    """An option has a value that cannot be used; the message names both."""


class MissingExtraError(QuaycacheError):
    """An optional dependency is missing; the message names the extra to install."""


class StoreError(QuaycacheError):
    """A cache could not be read, pruned or cleaned; a resolve never raises this."""


class Cancelled(QuaycacheError):  # noqa: N818 - an outcome, named like asyncio's and trio's
    """The run that a request belongs to was cancelled."""


class QuayAPIError(QuaycacheError):
    """There is no usable answer from Quay.

    Attributes:
        status: The HTTP status that is the reason; None if no complete answer came, or its body is
            the reason.
        retry_after: The server's Retry-After in seconds, or None. Quay sends none.
        checked_at: The earliest time at which the server can have refused, seconds UTC by its own
            clock; None if the answer has no date.
        repository: ``namespace/repository`` whose lookup failed; the namespace alone if its
            listing failed; None outside a resolve.
        partial: What a resolve had found when this error ended it; None outside a resolve.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        checked_at: float | None = None,
        repository: str | None = None,
        partial: Resolution | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.checked_at = checked_at
        self.repository = repository
        self.partial = partial

    def with_message(self: _Error, message: str) -> _Error:
        """Return an error of the same type, with the same attributes and cause, that says this."""
        other = type(self)(message)
        other.__dict__.update(self.__dict__)
        other.__cause__ = self.__cause__
        return other


class TransportError(QuayAPIError):
    """No complete answer came: name resolution, connection, TLS, protocol or time-out.

    Its ``__cause__`` is the error of the system or the library.
    """


class MalformedResponseError(QuayAPIError):
    """An answer came that the API does not allow."""


class UnexpectedStatusError(QuayAPIError):
    """A status that the API does not use, such as a redirect."""


class BadRequestError(QuayAPIError):
    """Status 400."""


class AuthenticationError(QuayAPIError):
    """Status 401, or the server treated a request with a token as anonymous.

    Quay answers a missing and a private repository alike, and ignores a bad token silently.
    """


class PermissionDeniedError(QuayAPIError):
    """Status 403: the token is good, but not for this repository."""


class NotFoundError(QuayAPIError):
    """Status 404: the repository does not exist, or a replica does not know it yet."""


class RateLimitedError(QuayAPIError):
    """Status 429 for longer than the client's ``timeout``."""


class ServerError(QuayAPIError):
    """Status 5xx."""


class NotStoredError(QuayAPIError):
    """Offline mode: the answer is not in the cache."""


class ResolveInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a resolve; ``partial`` is what had been found."""

    def __init__(self, partial: Resolution) -> None:
        super().__init__("interrupted")
        self.partial = partial
