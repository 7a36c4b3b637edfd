"""The ``quaycache`` command. Importing this package is cheap; `main` imports the rest."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command and exit with its code; exit with 2 if the ``cli`` extra is missing."""
    # Imports and thousands of answers leave no garbage. Collecting it would take a tenth of a
    # short run.
    gc.set_threshold(100_000)
    try:
        from quaycache.cli.app import run

        run(sys.argv[1:])
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("platformdirs", "rich"):
            raise
        sys.stderr.write(
            f"error: the package '{package}' is missing: pip install 'quaycache[cli]'\n"
        )
        sys.exit(2)
