"""The pages say what is so: the generated ones are up to date, and links lead somewhere."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, run

REFERENCE = runpy.run_path(str(DOCS / "reference.py"))
GENERATED: dict[str, Callable[[], str]] = REFERENCE["PAGES"]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
TEXTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")] if path.is_file())


@pytest.mark.parametrize("page", GENERATED)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    hint = "run: python docs/reference.py"
    assert (DOCS / page).read_text() == GENERATED[page](), hint


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text()):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), f"{target}#{anchor}"


def anchors(path: Path) -> set[str]:
    """As a forge makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_option_of_the_main_job_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    page = (DOCS / "commands.md").read_text()
    resolve = page.partition("## quaycache resolve\n")[2].partition("\n## ")[0]
    flags = re.findall(r"`(--[a-z-]+)", resolve)
    assert len(flags) > 20
    short = {"--help", "--quiet", "--verbose"}
    assert [flag for flag in flags if flag not in readme and flag not in short] == []


def test_the_example_of_a_test_passes(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (example,) = [block for block in blocks(readme, "python") if "def test_" in block]
    (tmp_path / "test_example.py").write_text(example)
    run(f"{sys.executable} -m pytest -q -p no:cacheprovider test_example.py", tmp_path, {})
