"""The embedded Quay as a test sees it."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, cast

from quaycache.testing.counters import Counters
from quaycache.testing.process import ServerProcess
from quaycache.testing.registry import Registry
from quaycache.testing.settings import Settings


class EmbeddedQuay:
    """A Quay server on the loopback interface, in a separate process.

    ::

        from quaycache import QuayClient, resolve
        from quaycache.testing import EmbeddedQuay

        with EmbeddedQuay() as quay:
            digest = quay.registry.push("team", "app", "stable")
            with QuayClient(api_url=quay.url, ssl_context=quay.ssl_context()) as client:
                (image,) = resolve(["quay://team/*:stable"], client=client).images
        assert image.digest == digest

    The constructor returns when the server listens. `close`, or the end of a ``with`` block, stops
    it; it also ends when this process ends, even if this process is killed. All methods may be
    called from any thread.

    Attributes:
        registry: The registry of the server. Its methods run in the server process, and return
            after the change is visible there.

    Raises:
        MissingExtraError: If the extra ``testing`` is not installed.
        EmbeddedQuayError: If the server does not start. Every other method raises it if the server
            has ended.
    """

    registry: Registry

    def __init__(self) -> None:
        self._process = ServerProcess()
        self._settings = Settings()
        self.registry = cast("Registry", _RemoteRegistry(self._process))

    @property
    def url(self) -> str:
        """The URL of the server: ``https://127.0.0.1:PORT``."""
        return f"https://127.0.0.1:{self._process.port}"

    @property
    def ca_file(self) -> str:
        """The path of the server's CA certificate in PEM, for ``SSL_CERT_FILE``.

        `close` deletes the file.
        """
        return self._process.ca_file

    def ssl_context(self) -> ssl.SSLContext:
        """Return a new TLS context for a client, which trusts only the server's CA."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return self._settings

    def configure(self, **changes: Any) -> None:
        """Change the named settings, and keep the others; requests see the change on return.

        The names and values are those of `Settings`. A mapping of its fields may stand for a
        `Fault` or a `RateLimit`. If a value is refused, no setting changes.

        Raises:
            TypeError: If a setting or a field does not exist.
            ValueError: If a value is out of range.
        """
        settings = self._settings.changed(changes)
        checked = {name: getattr(settings, name) for name in changes}
        self._process.ask({"do": "configure", "changes": checked})
        self._settings = settings

    def counters(self) -> Counters:
        """Return what the server has counted since its start or the last reset."""
        read = self._process.ask({"do": "counters"})
        by_status = {int(status): count for status, count in read.pop("by_status").items()}
        return Counters(by_status=by_status, **read)

    def reset_counters(self) -> None:
        """Set the counters to zero; the registry, settings and connections stay."""
        self._process.ask({"do": "reset_counters"})

    def reset(self) -> None:
        """Restore the initial state: an empty registry, default settings, counters at zero.

        It also puts the registry's clock back to the system's time and drops open connections.
        """
        self._process.ask({"do": "reset"})
        self._settings = Settings()

    def close(self) -> None:
        """Stop the server; a second call does nothing."""
        self._process.stop()

    def __enter__(self) -> EmbeddedQuay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _RemoteRegistry:
    """A proxy that runs the public methods of `Registry` in the server process."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_") or not callable(getattr(Registry, method, None)):
            raise AttributeError(f"the embedded registry has no method {method!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._process.ask(
                {"do": "registry", "method": method, "args": args, "kwargs": kwargs}
            )

        return call
