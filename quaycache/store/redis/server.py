"""Connections to a Redis or Valkey, and messages about it that hold no password."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from quaycache.errors import MissingExtraError, SettingsError
from quaycache.names import printable

if TYPE_CHECKING:
    import redis

T = TypeVar("T")

_WRONG_URL: Final = (
    "invalid cache URL: write redis://[user:password@]host[:port][/db], rediss://... for TLS,"
    " or unix:///path[?db=N]"
)
_OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_ERROR_CODE: Final = re.compile(r"[A-Z]{2,20}\b")

# A long command, or one that waits behind it, may take so many times `wait`.
_LONG_FACTOR: Final = 5


class RedisServer:
    """Runs scripts and commands on a server. Thread-safe, and safe across a fork.

    Args:
        url: The URL as `RedisStore` takes it.
        wait: The seconds for which the server may be silent.

    Attributes:
        location: The URL without user, password and options.

    Raises:
        MissingExtraError: If redis-py is not installed.
        SettingsError: If the URL is invalid. The message holds no part of it.
    """

    def __init__(self, url: str, wait: float) -> None:
        self.location = _location(url)
        self._wait = wait
        self._client = _connect(url, wait)
        # Other commands wait behind a long one.
        self._patient_client = _connect(url, _LONG_FACTOR * wait)
        self._reaching = threading.Lock()
        self._reached = False

    def run(
        self, script: str, keys: Sequence[str], arguments: Sequence[Any], *, long: bool = False
    ) -> Any:
        """Return what a script returns, in one round trip.

        Args:
            script: The text of the script.
            keys: The keys that it uses.
            arguments: Its other arguments.
            long: Whether the server may be silent five times as long.

        Raises:
            Exception: If anything goes wrong; `reason` turns it into a message.
        """
        return self.call(
            lambda client: client.eval(script, len(keys), *keys, *arguments), long=long
        )

    def call(self, command: Callable[[redis.Redis], T], *, long: bool = False) -> T:
        """Return what a command returns.

        Raises:
            Exception: If anything goes wrong; `reason` turns it into a message.
        """
        self._reach()
        client = self._patient_client if long else self._client
        overdue = threading.Timer(_LONG_FACTOR * self._wait, client.connection_pool.disconnect)
        overdue.daemon = True
        overdue.start()
        try:
            return command(client)
        except Exception:
            self._reached = False
            if overdue.finished.is_set():
                raise TimeoutError from None
            raise
        finally:
            overdue.cancel()

    def _reach(self) -> None:
        """Ping the server, at first and after a failure.

        Nothing else bounds the time that the resolution of its name takes.
        """
        with self._reaching:
            if self._reached:
                return
            failures: list[Exception] = []

            def ping() -> None:
                try:
                    self._client.ping()
                except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                    failures.append(error)

            thread = threading.Thread(target=ping, daemon=True)
            thread.start()
            thread.join(2 * self._wait)
            if thread.is_alive():
                raise TimeoutError
            if failures:
                raise failures[0]
            self._reached = True

    def refuses_only_writes(self, error: Exception) -> bool:
        """Return whether the server can still be read after a write has raised this error."""
        from redis import exceptions

        refusals = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError)
        return isinstance(error, refusals) or _is_not_permitted(error)

    def reason(self, error: Exception) -> str:
        """Return why a command failed, without the server's words, which may quote the password."""
        from redis import exceptions

        if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
            return f"it does not answer within {self._wait:g} s"
        if isinstance(error, exceptions.AuthenticationError):
            return "it refuses the user or the password"
        if isinstance(error, exceptions.BusyLoadingError):
            return "it is still starting"
        if isinstance(error, (exceptions.ConnectionError, OSError)):
            # The operating system's message; any other comes from the server.
            cause = error if isinstance(error, OSError) else error.__context__
            detail = isinstance(cause, OSError) and printable(cause.strerror or str(cause))
            return f"it cannot be reached{f' ({detail})' if detail else ''}"
        if isinstance(error, exceptions.ReadOnlyError):
            return "it is a read-only replica"
        if isinstance(error, exceptions.OutOfMemoryError):
            return "it is full"
        if _is_not_permitted(error):
            return "it does not permit this user a command that the cache needs"
        code = _ERROR_CODE.match(str(error))
        if code is not None and code[0] == "WRONGTYPE":
            return "another program uses keys that begin with 'quaycache:'"
        if "out of range" in str(error):
            return "it has no database with this number"
        return f"it fails ({code[0] if code else type(error).__name__})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._patient_client.close()


def _is_not_permitted(error: Exception) -> bool:
    """Return whether a permission is missing; the words differ if a script lacks it."""
    from redis import exceptions

    words = ("ACL failure", "can't run this command", "NOPERM", "can't access")
    return isinstance(error, exceptions.NoPermissionError) or any(
        word in str(error)[:500] for word in words
    )


def _connect(url: str, wait: float) -> redis.Redis:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ModuleNotFoundError:
        raise MissingExtraError(
            "a cache on Redis needs redis-py: pip install 'quaycache[redis]'"
        ) from None
    # By default, older versions of redis-py do not compare the name in a certificate.
    verified = {"ssl_check_hostname": True} if url.startswith("rediss:") else {}
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=wait,
            socket_connect_timeout=wait,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **verified,
        )
    except Exception:  # noqa: BLE001 - the message may quote the password
        raise SettingsError(_WRONG_URL) from None


def _location(url: str) -> str:
    """Return a URL without user, password and options."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise SettingsError(_WRONG_URL) from None
    if parts.fragment:
        raise SettingsError(_WRONG_URL)
    if not options.keys() <= (_OPTIONS if parts.scheme == "rediss" else {"db"}):
        raise SettingsError(
            "invalid option in the cache URL: use only db, and with rediss:// ssl_ca_certs,"
            " ssl_certfile and ssl_keyfile"
        )
    database = options.get("db", [parts.path.strip("/") if parts.scheme != "unix" else ""])[0]
    if database and not (database.isascii() and database.isdigit() and len(database) < 6):
        raise SettingsError(_WRONG_URL)
    if parts.scheme == "unix" and parts.path and not host and "@" not in parts.path:
        return f"unix://{printable(parts.path)}" + (f"?db={database}" if database else "")
    if parts.scheme not in ("redis", "rediss") or not host:
        raise SettingsError(_WRONG_URL)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{printable(host)}:{port or 6379}/{database or 0}"
