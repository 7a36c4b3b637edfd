"""occystrap's own tests, unmodified, run with the launcher's command instead of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("occystrap_quay")

PLUGIN = """
import occystrap.main
from quaycache.occystrap.launcher import launcher_cli

occystrap.main.cli = launcher_cli()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_occystraps_own_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "launcher_in_place.py").write_text(PLUGIN)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "launcher_in_place", "-p"),
            *("no:cacheprovider", "--pyargs", "occystrap.tests"),
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= (348 if version("occystrap") == "0.4.17" else 100)
