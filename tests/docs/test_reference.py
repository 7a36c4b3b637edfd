"""The documentation matches the code, its links resolve, and its examples run."""

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
SIGNATURE = re.compile(r"^#+ [^\n]*\n\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
TEXTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")] if path.is_file())


@pytest.mark.parametrize("page", GENERATED)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    hint = "run: python docs/reference.py"
    assert (DOCS / page).read_text() == GENERATED[page](), hint


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text()):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), f"{target}#{anchor}"


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge generates for the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_lists_every_option_of_resolve() -> None:
    readme = (ROOT / "README.md").read_text()
    page = (DOCS / "commands.md").read_text()
    resolve = page.partition("## quaycache resolve\n")[2].partition("\n## ")[0]
    flags = re.findall(r"`(--[a-z-]+)", resolve)
    assert len(flags) > 20
    short = {"--help", "--quiet", "--verbose"}
    assert [flag for flag in flags if flag not in readme and flag not in short] == []


README_EXAMPLES = [
    block for block in blocks((ROOT / "README.md").read_text(), "python") if "def test_" in block
]
PAGE_EXAMPLES = blocks(SIGNATURE.sub("", (DOCS / "testing.md").read_text()), "python")


def test_the_readme_and_the_testing_page_have_examples() -> None:
    assert (len(README_EXAMPLES), len(PAGE_EXAMPLES)) == (1, 3)


@pytest.mark.parametrize("example", [*README_EXAMPLES, *PAGE_EXAMPLES])
def test_an_example_of_the_embedded_quay_passes(example: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example)
    is_test = "def test_" in example
    program = "-m pytest -q -p no:cacheprovider" if is_test else ""
    run(f"{sys.executable} {program} test_example.py", tmp_path, {})
