"""Options as text, and which source of a token wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from quaycache.errors import SettingsError
from quaycache.settings import find_token, parse_duration, parse_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("12h", 43200), ("7d", 604800), ("0", 0)],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "1.5h", "5 m", "5w", "٣", "1" * 12])
def test_no_duration(text: str) -> None:
    with pytest.raises(SettingsError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "rate"), [("40", 40), ("0.5", 0.5), ("0.001", 0.001)])
def test_rate(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "nan", "inf", "1e-11", "0.0009", "1" * 5000, "0" * 5000],
)
def test_no_rate(text: str) -> None:
    with pytest.raises(SettingsError, match="invalid rate limit") as caught:
        parse_rate(text)
    assert len(str(caught.value)) < 200


def test_token_file_beats_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    environ = {"QUAYCACHE_TOKEN": "from-environment"}
    assert find_token(str(file), environ) == "from-file"
    assert find_token(None, environ) == "from-environment"
    assert find_token(None, {"QUAYCACHE_TOKEN": ""}) is None


def test_what_is_wrong_with_a_token_is_said_without_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content, reason in [
        (b"", "is empty"),
        (b"s3cr3t s3cr3t", "white space"),
        (b"s3cr3t\xff", "non-ASCII"),
        (b"s" * 10_000, "longer than"),
        (b"s" * 70_000, "too large"),
    ]:
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=reason) as caught:
            find_token(str(file), {})
        assert "s3cr3t" not in str(caught.value)
    with pytest.raises(SettingsError, match="No such file"):
        find_token(str(tmp_path / "missing"), {})
    with pytest.raises(SettingsError, match="Is a directory"):
        find_token(str(tmp_path), {})
