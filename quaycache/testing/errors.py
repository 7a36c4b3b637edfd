"""The exceptions that the embedded Quay raises in the test's process."""

from __future__ import annotations


class EmbeddedQuayError(RuntimeError):
    """The server process did not start, or it has ended."""


class RegistryError(ValueError):
    """A registry method refused its arguments, as `Registry` describes."""
