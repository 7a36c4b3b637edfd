"""The layers hold, and importing the library costs next to nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_go_down_the_layers() -> None:
    done = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()")
    assert done.returncode == 0, done.stdout


def test_import_loads_nothing_that_takes_long() -> None:
    heavy = {"httpx", "httpcore", "h2", "rich", "click", "tenacity", "asyncio", "ssl", "logging"}
    done = run(sys.executable, "-c", "import quaycache, sys; print(*sys.modules)")
    assert heavy.isdisjoint(done.stdout.split())


def test_first_use_loads_no_httpx_before_something_is_fetched() -> None:
    done = run(
        sys.executable,
        "-c",
        "import quaycache, sys; quaycache.QuayClient(); quaycache.resolve; print(*sys.modules)",
    )
    assert {"httpx", "rich", "click", "tenacity", "asyncio"}.isdisjoint(done.stdout.split())


def test_embedded_quay_is_cheap_to_import() -> None:
    done = run(sys.executable, "-c", "import quaycache.testing, sys; print(*sys.modules)")
    assert {"trustme", "cryptography", "h2", "h11"}.isdisjoint(done.stdout.split())


def test_the_architecture_page_names_every_module_outside_the_entry_points() -> None:
    named = set(re.findall(r"\w+", (ROOT / "ARCHITECTURE.md").read_text()))
    packages = ("", "quay", "store", "cached", "resolving")
    modules = {
        path.stem
        for package in packages
        for path in (ROOT / "quaycache" / package).glob("*.py")
        if path.stem != "__init__"
    }
    assert modules - named == set()
    assert len(list((ROOT / "quaycache").glob("*.py"))) <= 14
