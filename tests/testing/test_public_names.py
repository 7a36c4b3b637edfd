"""The names that `quaycache.testing` exports."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from typing import Any, get_args

import pytest

import quaycache.testing
from quaycache.testing import Answer, Counters, Fault, FaultKind, RateLimit, Settings

# A hang guard in seconds.
PATIENCE = 60


def test_help_shows_every_public_class_and_method() -> None:
    # The names are imported at their first use, and only a new process has not used any.
    code = (
        "import pydoc, quaycache.testing\n"
        "print(pydoc.render_doc(quaycache.testing, renderer=pydoc.plaintext))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    for name in quaycache.testing.__all__:
        value = getattr(quaycache.testing, name)
        if not isinstance(value, type):
            assert f"    {name} = " in shown, name
            continue
        assert f"    class {name}(" in shown, name
        for member in vars(value):
            assert member.startswith("_") or f" {member}" in shown, f"{name}.{member}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        quaycache.testing.Nothing  # noqa: B018 - the attribute is looked up


@pytest.mark.parametrize("described", [Settings, RateLimit, Fault, Counters, Answer])
def test_the_docstring_of_a_record_describes_every_field(described: type[Any]) -> None:
    # Python 3.13 takes the common indentation away itself.
    attributes = (inspect.getdoc(described) or "").partition("Attributes:\n")[2]
    names = re.findall(r"^ {4}(\w+): ", attributes, re.MULTILINE)
    fields = [field.name for field in dataclasses.fields(described)]
    assert [name for name in names if name in fields] == fields


def test_the_docstring_of_fault_describes_every_kind() -> None:
    kinds = re.findall(r"^- ``(\w+)``: ", inspect.getdoc(Fault) or "", re.MULTILINE)
    assert kinds == list(get_args(FaultKind))
