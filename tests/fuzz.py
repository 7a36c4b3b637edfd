"""The tests of hypothesis with random seeds, as many at once as there are processors.

python -m tests.fuzz [SEED ...]
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

SEEDS = 30


def main() -> None:
    """Run them with the given seeds, or with random ones; print how to repeat what failed."""
    seeds = [int(seed) for seed in sys.argv[1:]] or [secrets.randbelow(2**32) for _ in range(SEEDS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = [
            seed for seed, passed in zip(seeds, pool.map(run, seeds), strict=True) if not passed
        ]
    if failed:
        sys.exit(f"to repeat what failed: python -m tests.fuzz {' '.join(map(str, failed))}")


def run(seed: int) -> bool:
    """Whether the tests pass with one seed, which also orders their sets of texts."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", "tests"),
            *("--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}"),
        ],
        env=os.environ | {"PYTHONHASHSEED": str(seed)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = done.returncode == 0
    print(
        f"seed {seed}: {done.stdout.splitlines()[-1] if passed else done.stdout + done.stderr}",
        flush=True,
    )
    return passed


if __name__ == "__main__":
    main()
