"""HTTP/2 connections, leased one request at a time. The only package that imports httpx.

A sync httpx client that threads share mixes up the streams of its HTTP/2 connection; with one
request in flight on each connection it does not. So a request leases a whole connection, and the
most recently used idle one first: few stay open, and those stay warm.
"""

from quaycache.transport.connection import Response as Response
from quaycache.transport.pool import Transport as Transport
