"""Numbers on the command line."""

from __future__ import annotations

import pytest

from quaycache.cli.parser import integer
from quaycache.errors import SettingsError


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("099", 99), ("100", 100)])
def test_integer(text: str, number: int) -> None:
    assert integer(0, 100)(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1.0", "1e1", "1_0", " 1", "٣", "101", "000000000999", "0" * 5000, "9" * 5000],
)
def test_no_integer(text: str) -> None:
    with pytest.raises(SettingsError, match=r"invalid number .*: write 0 to 100") as caught:
        integer(0, 100)(text)
    assert len(str(caught.value)) < 100
