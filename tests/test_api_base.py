"""Where a Quay's API lives."""

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
def test_is_normalised(text: str, url: str, registry: str) -> None:
    base = parse_api_base(text)
    assert (str(base), base.registry) == (url, registry)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write it as https://"),
        ("quay.io", "write it as https://"),
        ("ftp://quay.io", "write it as https://"),
        ("https://", "write it as https://"),
        ("https://quay.io/api/v2", "only https://host"),
        ("https://quay.io?x=1", "only https://host"),
        ("https://quay.io:port", "Port"),
        ("https://quay.io:99999", "99999 is no port"),
        ("https://quay.io:0", "no port"),
        ("https://[::1", "Invalid IPv6"),
        ("https://qu ay.io", "white space"),
        ("https://quäy.io", "non-ASCII"),
        ("https://-quay.io", "no host name"),
        ("https://robot:s3cr3t@quay.io", "no user or password"),
        ("http://quay.lan", "loopback"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_api_base(text)
    assert reason in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
