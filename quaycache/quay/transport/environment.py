"""The proxies and certificates that the environment names."""

from __future__ import annotations

import os
import ssl
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from quaycache.errors import SettingsError
from quaycache.names import printable

if TYPE_CHECKING:
    import httpx

    from quaycache.api_base import ApiBase


def environment_proxy(api_base: ApiBase) -> httpx.Proxy | None:
    """Return the proxy that the environment names for an API, or None.

    Raises:
        SettingsError: If it cannot be used. The message does not contain its password.
    """
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # saves two large imports; other systems have settings of their own
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = proxies.get(api_base.scheme) or proxies.get("all")
    if not url or proxy_bypass(f"{api_base.host}:{api_base.port}"):
        return None
    import httpx

    name = f"{api_base.scheme}_proxy or all_proxy"
    if "://" not in url:
        url = f"http://{url}"
    try:
        proxy = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        # The URL may contain a password.
        raise SettingsError(
            f"the environment's {name} is not an http://, https:// or socks5:// URL"
        ) from None
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise SettingsError(
            f"the environment's {name} names a SOCKS proxy: pip install 'httpx[socks]'"
        )
    return proxy


def environment_ssl_context() -> ssl.SSLContext:
    """Return a context with the authorities of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, or certifi's.

    Raises:
        SettingsError: If they cannot be loaded.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file or directory:
            return ssl.create_default_context(cafile=file or None, capath=directory or None)
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    except (OSError, ValueError) as error:
        variables = {"SSL_CERT_FILE": file, "SSL_CERT_DIR": directory}
        named = [f"{name}={printable(path)}" for name, path in variables.items() if path]
        raise SettingsError(
            f"cannot load the certificates of {' or '.join(named) or 'certifi'}:"
            f" {printable(getattr(error, 'strerror', None) or str(error))}"
        ) from None
