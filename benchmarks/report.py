"""The output of a benchmark: tables on standard output, and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Benchmark = Callable[[bool], Result]
"""A function that takes whether to be quick, and returns figures that JSON can store."""


def heading(text: str) -> None:
    """Print the title of the next table."""
    print(f"\n{text}")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the caller formats the numbers."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in (list(columns), *texts)) for at in range(len(columns))]
    for line in (list(columns), *texts):
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)


def environment() -> dict[str, Any]:
    """Return a description of the machine, and the time."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def save(name: str, result: Result, directory: Path) -> None:
    """Write a benchmark's figures to ``NAME.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"benchmark": name, "environment": environment(), **result}
    (directory / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def alone(benchmark: Benchmark) -> None:
    """Run one benchmark, with the options on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    benchmark(parser.parse_args().quick)
