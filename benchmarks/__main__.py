"""All benchmarks: they print tables, and write JSON and pictures to a directory.

python -m benchmarks [--quick] [--only NAME,NAME] [--out DIR]
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from benchmarks.report import save

_ALL = ("startup", "staleness", "fanout", "limits", "fleet", "scale")


def main() -> None:
    """Run the benchmarks one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="small sizes, in two minutes")
    parser.add_argument("--only", default=",".join(_ALL), help="comma-separated names")
    parser.add_argument(
        "--out", type=Path, default=Path("build/benchmarks"), help="the output directory"
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in _ALL]:
        parser.error(f"unknown benchmark '{unknown[0]}': choose from {', '.join(_ALL)}")
    began = time.monotonic()
    for name in names:
        result = import_module(f"benchmarks.{name}").run(options.quick)
        if "skipped" not in result:
            save(name, result, options.out)
    if find_spec("matplotlib") is None:
        print("\nmatplotlib is not installed, so no pictures were drawn")
    else:
        from benchmarks.pictures import draw

        made = draw(options.out)
        print(f"\nfigures and {len(made)} pictures are in {options.out}")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
