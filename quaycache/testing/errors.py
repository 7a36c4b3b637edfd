"""The exceptions that the embedded Quay raises in the test's process."""

from __future__ import annotations


class EmbeddedQuayError(RuntimeError):
    """The server process did not start, or it has ended."""


class RegistryError(ValueError):
    """A registry method got an invalid name, or a repository, tag or digest does not exist."""
