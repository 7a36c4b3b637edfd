"""HTTP/2 connections, leased one request at a time. The only package that imports h2 and httpx.

A request leases a whole connection, the most recently used idle one first. So few connections are
open, they stay warm, and no lock is held during a request. Quay counts its limit by connection.
`http2` serves nearly every Quay; `over_httpx` serves proxies, and servers that speak HTTP/1.1 only.
"""

from quaycache.quay.transport.connection import Response as Response
from quaycache.quay.transport.pool import Transport as Transport
