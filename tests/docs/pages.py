"""The pages of `docs/`, their code blocks, and an environment to run the code in."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

from tests.conftest import HANG_GUARD

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAMESPACE, TAG, N, PAGES = "openstack.kolla", "2025.1-debian-bookworm", 120, 2

_SCRIPTS = Path(sysconfig.get_path("scripts"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# quaycache is already installed, from this tree.
_PIP = """#!/bin/sh
case "$1 $2" in
"install quaycache["*"]") ;;
*) echo "pip $*: not on this page" >&2; exit 1 ;;
esac
"""


def section(page: str, heading: str) -> str:
    """Return the text below a second-level heading of a page, up to the next such heading."""
    found = (DOCS / page).read_text().partition(f"\n## {heading}\n")[2]
    assert found, heading
    return found.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in one language."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def install(home: Path) -> dict[str, str]:
    """Return an environment with the quaycache command, and a pip that installs nothing."""
    programs = home / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "pip").write_text(_PIP)
    (programs / "pip").chmod(0o755)
    path = os.pathsep.join([str(programs), str(_SCRIPTS), os.environ["PATH"]])
    return {"HOME": str(home), "PATH": path, "XDG_CACHE_HOME": str(home / "cache")}


def run(script: str, directory: Path, environment: dict[str, str]) -> str:
    """Run a script, which must succeed, and return what it prints on both streams."""
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", script],
        cwd=directory,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG_GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
