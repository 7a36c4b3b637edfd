"""What the embedded Quay raises in the process that uses it."""

from __future__ import annotations


class EmbeddedQuayError(RuntimeError):
    """The server process did not start, or ended before it was told to."""


class RegistryError(ValueError):
    """A change that a registry could not carry out: a bad name, or something that is not there."""
