"""The lines that ``docs/occystrap.md`` proposes to upstream, applied to a copy of occystrap."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from quaycache.testing import EmbeddedQuay
from tests.conftest import HANG_GUARD

DOCS = Path(__file__).parents[2] / "docs" / "occystrap.md"


def lines_for_upstream() -> tuple[str, str, str]:
    """Return the option, the line that stores its value, and the call."""
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    _, first, call = re.split(r"# occystrap/main\.py: .*\n", block)
    option, keep = first.split("...\n")
    return option, keep.rstrip() + "\n", call


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_the_proposed_lines_work(
    occystrap_quay: Any, embedded_quay: EmbeddedQuay, tmp_path: Path
) -> None:
    option, keep, call = lines_for_upstream()
    package = tmp_path / "occystrap"
    shutil.copytree(Path(occystrap_quay.__file__).parent, package)
    main = package / "main.py"
    text = main.read_text()
    text = replace_once(
        text, "@click.option('--temp-dir'", option.rstrip() + "\n@click.option('--temp-dir'"
    )
    text = replace_once(text, "def cli(ctx,", "def cli(ctx, cache_dir=None,")
    text = replace_once(
        text, "    ctx.obj['TEMP_DIR'] = temp_dir\n", keep + "    ctx.obj['TEMP_DIR'] = temp_dir\n"
    )
    returns = "    return quay_module.resolve_quay_uri("
    # Older versions lack these variables in that function.
    head = "" if "    max_workers = ctx_obj" in text else "    ctx_obj, max_workers = ctx.obj, 4\n"
    main.write_text(replace_once(text, returns, f"{head}{call.rstrip()}\n{returns}"))

    embedded_quay.registry.populate("kolla", 30, tag="other")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import occystrap.quay as quay;"
        f"assert quay.__file__.startswith({str(tmp_path)!r});"
        f"quay.QUAY_API_BASE = {embedded_quay.url + '/api/v1'!r};"
    )
    own = "from occystrap.main import cli; cli()"
    launcher = "from quaycache.occystrap.launcher import main; main()"
    for command, expected in ((own, 31), (own, 0), (launcher, 0)):
        embedded_quay.reset_counters()
        done = subprocess.run(
            [
                *(sys.executable, "-c", program + command),
                *("--cache-dir", str(tmp_path / "cache"), "info", "quay://kolla/*:v1"),
            ],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert embedded_quay.counters().requests == expected
