"""The private certificate authority of one server, and its TLS settings."""

from __future__ import annotations

import ssl

import trustme


def issue() -> tuple[ssl.SSLContext, bytes]:
    """Return a server's TLS context for ``localhost`` and ``127.0.0.1``, and its CA as PEM."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context, authority.cert_pem.bytes()


def offer(context: ssl.SSLContext, *, http2: bool) -> None:
    """Set the protocols that new connections can negotiate."""
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
