"""A certificate authority of one server's own, and the TLS settings that go with it."""

from __future__ import annotations

import ssl

import trustme


def issue() -> tuple[ssl.SSLContext, bytes]:
    """A server's TLS context for ``localhost`` and ``127.0.0.1``, and the PEM of its CA."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context, authority.cert_pem.bytes()


def offer(context: ssl.SSLContext, *, http2: bool) -> None:
    """Sets what connections made from now on can choose from."""
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
