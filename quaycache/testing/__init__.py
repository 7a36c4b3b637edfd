"""An embedded Quay for tests: a registry model, a server over it with faults, a pytest fixture.

`EmbeddedQuay` starts the server in a process of its own; `Registry` and `QuayApi` are the pure
model behind it. The extra ``testing`` installs what the server needs. Importing this module
imports nothing of it, since its pytest plugin is loaded into every test run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quaycache.testing.answers import Answer, QuayApi
    from quaycache.testing.counters import Counters
    from quaycache.testing.embedded import EmbeddedQuay
    from quaycache.testing.errors import EmbeddedQuayError, RegistryError
    from quaycache.testing.registry import Registry
    from quaycache.testing.settings import Fault, RateLimit, Settings

__all__ = [
    "Answer",
    "Counters",
    "EmbeddedQuay",
    "EmbeddedQuayError",
    "Fault",
    "QuayApi",
    "RateLimit",
    "Registry",
    "RegistryError",
    "Settings",
]

_HOMES = {
    "Answer": "answers",
    "Counters": "counters",
    "EmbeddedQuay": "embedded",
    "EmbeddedQuayError": "errors",
    "Fault": "settings",
    "QuayApi": "answers",
    "RateLimit": "settings",
    "Registry": "registry",
    "RegistryError": "errors",
    "Settings": "settings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
