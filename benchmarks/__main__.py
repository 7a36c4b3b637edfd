"""All benchmarks: tables on stdout, JSON and pictures in a directory.

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
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="small figures, within two minutes")
    parser.add_argument("--only", default=",".join(_ALL), help="comma-separated names")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="a directory")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in _ALL]:
        parser.error(f"there is no '{unknown[0]}'; there are {', '.join(_ALL)}")
    began = time.monotonic()
    for name in names:
        result = import_module(f"benchmarks.{name}").run(options.quick)
        if "skipped" not in result:
            save(name, result, options.out)
    if find_spec("matplotlib") is None:
        print("\nmatplotlib is not installed: no pictures")
    else:
        from benchmarks.pictures import draw

        made = draw(options.out)
        print(f"\nfigures and {len(made)} pictures are in {options.out}")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
