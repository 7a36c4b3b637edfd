"""Where a Quay's API lives: the text a user gives <-> a normalised value."""

from __future__ import annotations

import re
from typing import NamedTuple

from quaycache.errors import SettingsError
from quaycache.lazy_pattern import lazy_pattern
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
        scheme: ``https``, or ``http`` on a loopback host.
        host: lower case; an IPv6 address without brackets.
        port: always given.
    """

    scheme: str
    host: str
    port: int

    @property
    def registry(self) -> str:
        """The registry's name in an image reference: the host, and the port unless standard."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """The path that every endpoint begins with."""
        return _API_PATH

    def __str__(self) -> str:
        return f"{self.scheme}://{self.registry}{_API_PATH}"


def parse_api_base(text: str) -> ApiBase:
    """The normalised value of ``https://host[:port]``, with or without ``/api/v1``.

    Plain ``http`` is for a loopback host alone: a token would cross a network in the clear.

    Raises:
        SettingsError: `text` is something else; the message says what is wrong with it.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise _wrong(text, _reason(text))
    scheme, host = match[1].lower(), match[2].lower()
    if host.startswith("["):
        host = host[1:-1]
        if not _is_address(host):
            raise _wrong(text, f"'{host}' is no IPv6 address")
    port = int(match[3]) if match[3] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise _wrong(text, f"{port} is no port to connect to")
    if scheme == "http" and not _is_loopback(host):
        raise _wrong(text, "plain http is for loopback hosts; write https://")
    return ApiBase(scheme, host, port)


def _wrong(text: str, reason: str) -> SettingsError:
    return SettingsError(f"API URL '{printable(re.sub(r'//[^/@]*@', '//', text))}': {reason}")


def _reason(text: str) -> str:
    """Why a URL is none of an API, in a few words."""
    from urllib.parse import urlsplit  # only for who mistypes, and not cheap

    if not text.isascii() or any(character <= " " for character in text):
        return "white space or non-ASCII characters"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return printable(str(error))
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return "write it as https://host[:port]"
    if "@" in parts.netloc:
        return "no user or password here; Quay's API takes an OAuth token only"
    if parts.query or parts.fragment or parts.path.rstrip("/") not in ("", _API_PATH):
        return f"only https://host[:port], with or without {_API_PATH}"
    if port is not None:
        return f"'{printable(parts.netloc)}' is no host name and port"
    return f"'{printable(parts.netloc)}' is no host name"


def _is_address(host: str) -> bool:
    import ipaddress  # hardly ever: most have names

    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    import ipaddress  # hardly ever: https is the rule

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
