"""The pages of `docs/`, their blocks, and a machine on which to run what they say."""

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

# quaycache is installed already, from this tree.
_PIP = """#!/bin/sh
case "$1 $2" in
"install quaycache["*"]") ;;
*) echo "pip $*: not on this page" >&2; exit 1 ;;
esac
"""


def section(page: str, heading: str) -> str:
    """The text below one heading of a page, up to the next of its rank."""
    found = (DOCS / page).read_text().partition(f"\n## {heading}\n")[2]
    assert found, heading
    return found.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks in one language."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def install(home: Path) -> dict[str, str]:
    """The environment of a user who has our command, and a pip that has nothing left to do."""
    programs = home / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "pip").write_text(_PIP)
    (programs / "pip").chmod(0o755)
    path = os.pathsep.join([str(programs), str(_SCRIPTS), os.environ["PATH"]])
    return {"HOME": str(home), "PATH": path, "XDG_CACHE_HOME": str(home / "cache")}


def run(script: str, directory: Path, environment: dict[str, str]) -> str:
    """What a script prints on both streams; it must succeed."""
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
