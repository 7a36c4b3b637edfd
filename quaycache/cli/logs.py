"""Selects the log records that are printed on stderr."""

from __future__ import annotations

from quaycache._lazy import set_up_with


def show_logs(verbose: int, quiet: bool) -> None:
    """Print warnings; also progress (``-v``) and each repository (``-vv``), or nothing (``-q``)."""
    level = "ERROR" if quiet else "WARNING"
    if verbose:
        level = "INFO" if verbose == 1 else "DEBUG"

    def show() -> None:
        from quaycache.cli.log_lines import show_from

        show_from(level)

    if verbose:
        show()
    else:
        set_up_with(show)
