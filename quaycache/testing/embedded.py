"""`EmbeddedQuay`: a Quay to test against, in a process of its own."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, cast

from quaycache.testing.counters import Counters
from quaycache.testing.process import ServerProcess
from quaycache.testing.registry import Registry
from quaycache.testing.settings import Settings


class EmbeddedQuay:
    """A Quay on the loopback interface that lives as long as this object is open.

    ::

        with EmbeddedQuay() as quay:
            quay.registry.push("kolla", "nova-api", "v1")
            httpx.get(f"{quay.url}/api/v1/repository", verify=quay.ssl_context(), ...)

    It speaks HTTP/2 and HTTP/1.1 over TLS, answers the read endpoints of API v1 as Quay does, and
    ends with this process even if that is killed. Methods may be called from any thread.

    Attributes:
        registry: the server's registry. Each call is carried out there before it returns.

    Raises:
        quaycache.errors.MissingExtraError: the extra ``testing`` is not installed.
        EmbeddedQuayError: the server did not start, or (from any method) has ended.
    """

    registry: Registry

    def __init__(self) -> None:
        self._process = ServerProcess()
        self._settings = Settings()
        self.registry = cast("Registry", _RemoteRegistry(self._process))

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``."""
        return f"https://127.0.0.1:{self._process.port}"

    @property
    def ca_file(self) -> str:
        """The path of the test CA in PEM, for ``SSL_CERT_FILE``; removed by `close`."""
        return self._process.ca_file

    def ssl_context(self) -> ssl.SSLContext:
        """A new client context that trusts the test CA and nothing else."""
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def configure(self, **changes: Any) -> None:
        """Changes the named `Settings` and leaves the others; takes effect before it returns.

        Raises:
            TypeError: there is no setting of that name.
            ValueError: a value is out of range.
        """
        settings = self._settings.changed(changes)
        checked = {name: getattr(settings, name) for name in changes}
        self._process.ask({"do": "configure", "changes": checked})
        self._settings = settings

    def counters(self) -> Counters:
        """What the server has counted since its start or the last reset."""
        read = self._process.ask({"do": "counters"})
        by_status = {int(status): count for status, count in read.pop("by_status").items()}
        return Counters(by_status=by_status, **read)

    def reset_counters(self) -> None:
        """Sets the counters to zero, and nothing else."""
        self._process.ask({"do": "reset_counters"})

    def reset(self) -> None:
        """Makes it as good as new: empty registry, default settings, counters at zero.

        Open connections are dropped.
        """
        self._process.ask({"do": "reset"})
        self._settings = Settings()

    def close(self) -> None:
        """Stops the server; does nothing the second time."""
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
    """Carries out every public method of `Registry` in the server."""

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
