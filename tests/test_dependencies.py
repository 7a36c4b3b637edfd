"""The oldest releases that are allowed are those that are tested."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_lowest_is_the_lower_bound_of_every_requirement() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    document = tomllib.loads(PROJECT.read_text())
    project, groups = document["project"], document["dependency-groups"]
    extras = project["optional-dependencies"].values()
    required = [*project["dependencies"], *chain(*extras), *groups["tests"]]
    assert bounds(required, ">=") == bounds(groups["lowest"], "==")


def bounds(requirements: list[str], operator: str) -> set[tuple[str, str | None]]:
    """The name of each and the version after `operator`, or None without one."""
    return {
        (one.name, next((s.version for s in one.specifier if s.operator == operator), None))
        for one in map(Requirement, requirements)
    }
