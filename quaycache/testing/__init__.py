"""An embedded Quay for tests: a registry model, a server over it with faults, a pytest fixture.

`EmbeddedQuay` starts the server in a process of its own; `Registry` and `QuayApi` are the pure
model behind it. The extra ``testing`` installs what the server needs. Importing this module
imports nothing of it, since its pytest plugin is loaded into every test run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quaycache.testing.answers import Answer as Answer
    from quaycache.testing.answers import QuayApi as QuayApi
    from quaycache.testing.counters import Counters as Counters
    from quaycache.testing.embedded import EmbeddedQuay as EmbeddedQuay
    from quaycache.testing.errors import EmbeddedQuayError as EmbeddedQuayError
    from quaycache.testing.errors import RegistryError as RegistryError
    from quaycache.testing.registry import Registry as Registry
    from quaycache.testing.settings import Fault as Fault
    from quaycache.testing.settings import FaultKind as FaultKind
    from quaycache.testing.settings import RateLimit as RateLimit
    from quaycache.testing.settings import Settings as Settings

_MODULES = {
    "answers": ("Answer", "QuayApi"),
    "counters": ("Counters",),
    "embedded": ("EmbeddedQuay",),
    "errors": ("EmbeddedQuayError", "RegistryError"),
    "registry": ("Registry",),
    "settings": ("Fault", "FaultKind", "RateLimit", "Settings"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


# The pytest plugin is imported into every test run, so importing this package must stay cheap.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
