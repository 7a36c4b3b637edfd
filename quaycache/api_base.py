"""The address of a Quay's API: a user's text <-> a normalised value."""

from __future__ import annotations

import re
from typing import NamedTuple

from quaycache._lazy import lazy_pattern
from quaycache.errors import SettingsError
from quaycache.names import printable

DEFAULT_API_URL = "https://quay.io"

_DEFAULT_PORTS = {"https": 443, "http": 80}
_URL = lazy_pattern(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?\.?)"
    r"(?::([0-9]{0,6}))?(?-i:/api/v1)?/*",
    re.ASCII | re.IGNORECASE,
)
_API_PATH = "/api/v1"


class ApiBase(NamedTuple):
    """The root of a Quay's API v1.

    Attributes:
        scheme: ``https``, or ``http`` for a loopback host.
        host: The host name or address in lower case; an IPv6 address has no brackets.
        port: The port, also if it is the scheme's default.
    """

    scheme: str
    host: str
    port: int

    @property
    def registry(self) -> str:
        """The registry's name in an image reference: the host, and any non-default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """The path prefix of every endpoint."""
        return _API_PATH

    def __str__(self) -> str:
        return f"{self.scheme}://{self.registry}{_API_PATH}"


def parse_api_base(text: str) -> ApiBase:
    """Parse ``https://host[:port]``, with or without ``/api/v1``, into its normalised value.

    Plain ``http`` is valid only for a loopback host: elsewhere, a token would cross a network in
    the clear.

    Raises:
        SettingsError: If *text* is anything else. The message gives the reason.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise _invalid(text, _reason(text))
    scheme, host = match[1].lower(), match[2].lower()
    if host.startswith("["):
        host = host[1:-1]
        if not _is_address(host):
            raise _invalid(text, f"invalid IPv6 address '{host}'")
    port = int(match[3]) if match[3] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise _invalid(text, f"invalid port {port}")
    if scheme == "http" and not _is_loopback(host):
        raise _invalid(text, "plain http is only for loopback hosts; write https://")
    return ApiBase(scheme, host, port)


def _invalid(text: str, reason: str) -> SettingsError:
    return SettingsError(
        f"invalid API URL '{printable(re.sub(r'//[^/@]*@', '//', text))}': {reason}"
    )


def _reason(text: str) -> str:
    """Return in a few words why a URL is invalid."""
    from urllib.parse import urlsplit  # costly to import, and needed only for an error

    if not text.isascii() or any(character <= " " for character in text):
        return "it contains white space or non-ASCII characters"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return printable(str(error))
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return "write it as https://host[:port]"
    if "@" in parts.netloc:
        return "a user and password are not allowed; Quay's API takes only an OAuth token"
    if parts.query or parts.fragment or parts.path.rstrip("/") not in ("", _API_PATH):
        return f"write only https://host[:port], with or without {_API_PATH}"
    if port is not None:
        return f"invalid host name or port '{printable(parts.netloc)}'"
    return f"invalid host name '{printable(parts.netloc)}'"


def _is_address(host: str) -> bool:
    import ipaddress  # rarely needed: most hosts have names

    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    import ipaddress  # rarely needed: most URLs are https

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
