"""HTTP/2 connections, leased one request at a time. The only package that imports h2 and httpx.

A request leases a whole connection, and the most recently used idle one first: few stay open, those
stay warm, and nothing is locked while a request is under way. Quay counts its limit by connection.
`http2` is the way to nearly every Quay; `over_httpx` the way through a proxy, and to a server that
speaks HTTP/1.1 alone.
"""

from quaycache.transport.connection import Response as Response
from quaycache.transport.pool import Transport as Transport
