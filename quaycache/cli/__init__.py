"""The command. Importing this package is cheap; `main` imports the rest."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command and exit with its code; without the extra ``cli``, one line and exit 2."""
    for package in ("click", "platformdirs", "rich"):
        if find_spec(package) is None:
            sys.stderr.write(
                f"error: the command needs the package '{package}': pip install 'quaycache[cli]'\n"
            )
            sys.exit(2)
    from quaycache.cli.app import run

    run(sys.argv[1:])
