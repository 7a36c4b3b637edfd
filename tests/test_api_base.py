"""The address of a Quay's API."""

from __future__ import annotations

import pytest

from quaycache.api_base import parse_api_base
from quaycache.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "url", "registry"),
    [
        ("https://quay.io", "https://quay.io/api/v1", "quay.io"),
        ("https://quay.io/", "https://quay.io/api/v1", "quay.io"),
        ("https://quay.io/api/v1", "https://quay.io/api/v1", "quay.io"),
        ("https://quay.io/api/v1/", "https://quay.io/api/v1", "quay.io"),
        ("HTTPS://Quay.IO:443", "https://quay.io/api/v1", "quay.io"),
        ("https://quay.lan:8443", "https://quay.lan:8443/api/v1", "quay.lan:8443"),
        ("https://[::1]:8443", "https://[::1]:8443/api/v1", "[::1]:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v1", "127.0.0.1:8080"),
        ("http://localhost", "http://localhost/api/v1", "localhost"),
    ],
)
def test_a_url_is_normalised(text: str, url: str, registry: str) -> None:
    base = parse_api_base(text)
    assert (str(base), base.registry) == (url, registry)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write it as https://"),
        ("quay.io", "write it as https://"),
        ("ftp://quay.io", "write it as https://"),
        ("https://", "write it as https://"),
        ("https://quay.io/api/v2", "write only https://host"),
        ("https://quay.io?x=1", "write only https://host"),
        ("https://quay.io:port", "Port"),
        ("https://quay.io:99999", "invalid port 99999"),
        ("https://quay.io:0", "invalid port 0"),
        ("https://[::1", "Invalid IPv6"),
        ("https://qu ay.io", "white space"),
        ("https://quäy.io", "non-ASCII"),
        ("https://-quay.io", "invalid host name '-quay.io'"),
        ("https://robot:s3cr3t@quay.io", "a user and password are not allowed"),
        ("http://quay.lan", "loopback"),
    ],
)
def test_an_error_gives_the_reason_without_secrets(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_api_base(text)
    assert reason in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
