"""Where a Quay's API lives: the text a user gives <-> a normalised value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from quaycache.errors import SettingsError
from quaycache.names import printable

DEFAULT_API_URL = "https://quay.io"

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]", re.ASCII)
_API_PATH = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiBase:
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
    shown = printable(re.sub(r"//[^/@]*@", "//", text))
    if not text.isascii() or any(character <= " " for character in text):
        raise SettingsError(f"API URL '{shown}': white space or non-ASCII characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"API URL '{shown}': {printable(str(error))}") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise SettingsError(f"API URL '{shown}': write it as https://host[:port]")
    if "@" in parts.netloc:
        raise SettingsError(
            f"API URL '{shown}': no user or password here; Quay's API takes an OAuth token only"
        )
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        raise SettingsError(f"API URL '{shown}': '{printable(host)}' is no host name")
    if port == 0:
        raise SettingsError(f"API URL '{shown}': 0 is no port to connect to")
    if parts.query or parts.fragment or parts.path.rstrip("/") not in ("", _API_PATH):
        raise SettingsError(
            f"API URL '{shown}': only https://host[:port], with or without {_API_PATH}"
        )
    if parts.scheme == "http" and not _is_loopback(host):
        raise SettingsError(f"API URL '{shown}': plain http is for loopback hosts; write https://")
    return ApiBase(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def _is_loopback(host: str) -> bool:
    import ipaddress  # hardly ever: https is the rule

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
