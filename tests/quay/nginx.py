"""A real front end: nginx in front of the embedded Quay, with the limits of Quay's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from quaycache.testing import EmbeddedQuay
from tests import programs

_CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http2 $http1_key {{ "" $binary_remote_addr; default ""; }}
    map $http2 $http2_key {{ "" ""; default $connection; }}
    limit_req_zone $http1_key zone=http1:1m rate=5r/s;
    limit_req_zone $http2_key zone=http2:1m rate=50r/s;
    limit_req_zone $binary_remote_addr zone=address:1m rate={address_rate}r/s;
    limit_req_status 429;
    upstream quay {{ server {upstream}; keepalive 128; }}
    server {{
        listen 127.0.0.1:{port} ssl {http2};
        ssl_certificate {directory}/chain.pem;
        ssl_certificate_key {directory}/key.pem;
        http2_max_concurrent_streams 128;
        keepalive_requests 1000;
        keepalive_timeout 5s;
        location /api/ {{
            keepalive_disable none;
            {keepalive}
            {limits}
            proxy_pass https://quay;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
        {locations}
    }}
}}
"""

QUAYS_LIMITS = "limit_req zone=http1 burst=25 nodelay; limit_req zone=http2 burst=100 nodelay;"


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    url: str
    ca_file: str


@contextmanager
def nginx_before(
    quay: EmbeddedQuay,
    directory: Path,
    *,
    http2: bool = True,
    limits: str = QUAYS_LIMITS,
    address_rate: int = 10,
    host: str = "127.0.0.1",
    locations: str = "",
) -> Iterator[Nginx]:
    """Run nginx on loopback while the body runs.

    Args:
        quay: The server behind it.
        directory: A directory for its configuration and files.
        http2: Whether it speaks HTTP/2.
        limits: ``limit_req`` directives, which may use the zone ``address``.
        address_rate: The requests a second that the zone ``address`` allows.
        host: The host that its certificate names.
        locations: Further locations beside ``/api/``.
    """
    found = programs.find("nginx")
    if found is None:
        raise FileNotFoundError("nginx is not installed")
    # Only nginx ends connections; the server behind it keeps them open.
    quay.configure(close_http1=False, connection_requests=None, idle_timeout=None)
    authority = trustme.CA()
    certificate = authority.issue_cert(host)
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(directory / "chain.pem", append=number > 0)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    port = programs.free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            directory=directory,
            upstream=quay.url.removeprefix("https://"),
            port=port,
            http2="http2" if http2 else "",
            keepalive="" if http2 else "keepalive_timeout 0;",
            limits=limits,
            address_rate=address_rate,
            locations=locations,
        )
    )
    command = [found, "-e", str(directory / "error.log"), "-c", str(configuration)]
    with programs.running(command, port):
        yield Nginx(f"https://127.0.0.1:{port}", str(directory / "ca.pem"))
