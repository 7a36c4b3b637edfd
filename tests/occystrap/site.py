"""A complete quay.io on loopback: the embedded Quay for the API, a real registry for images."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quaycache.testing import EmbeddedQuay
from tests import programs
from tests.conftest import HANG_GUARD
from tests.quay.connect_proxy import ConnectProxy
from tests.quay.nginx import nginx_before

_REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {directory}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""

_IMAGES = """
location /v2/ {{
    proxy_pass http://127.0.0.1:{port};
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Proto https;
}}
"""

SCRIPTS = Path(sysconfig.get_path("scripts"))


@dataclass
class Site:
    """The quay.io that commands in these tests see.

    Attributes:
        quay: The server of its API.
        environment: The environment that makes a command use it.
        directory: The working directory of commands.
    """

    quay: EmbeddedQuay
    environment: dict[str, str]
    directory: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a console script, which must succeed, and return the result."""
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / program), *arguments],
            env=os.environ | self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@contextmanager
def quay_io(quay: EmbeddedQuay, directory: Path) -> Iterator[Site]:
    """Run a quay.io that commands find only through their environment."""
    registry = programs.required("docker-registry")
    programs.required("nginx")
    port = programs.free_port()
    configuration = directory / "registry.yml"
    configuration.write_text(_REGISTRY.format(directory=directory / "registry", port=port))
    with (
        programs.running([registry, "serve", str(configuration)], port),
        nginx_before(
            quay, directory, limits="", host="quay.io", locations=_IMAGES.format(port=port)
        ) as nginx,
    ):
        proxy = ConnectProxy(routes={"quay.io:443": nginx.url.removeprefix("https://")})
        environment = {
            "HTTPS_PROXY": proxy.url,
            "SSL_CERT_FILE": nginx.ca_file,
            # occystrap 0.4.12 uses another HTTP library, which reads this variable.
            "REQUESTS_CA_BUNDLE": nginx.ca_file,
        }
        site = Site(quay, environment, directory)
        try:
            _push_images(site, f"127.0.0.1:{port}")
            quay.reset_counters()
            yield site
        finally:
            proxy.close()


def _push_images(site: Site, registry: str) -> None:
    """Push images with the tag ``v1`` with occystrap, and create repositories without it."""
    for name in ("nova-api", "nova-compute", "glance"):
        path = site.directory / f"{name}.tar"
        _write_image(path, name)
        site.run(
            "occystrap",
            *("--insecure", "process", f"tar://{path}", f"registry://{registry}/kolla/{name}:v1"),
        )
        site.quay.registry.push("kolla", name, "v1")
    site.quay.registry.push("kolla", "keystone", "v2")
    site.quay.registry.create_repository("kolla", "empty")


def _write_image(path: Path, name: str) -> None:
    """Write a tarball like that of ``docker save``, with one layer of two files."""
    layer = _tar({"etc/name": name.encode(), "bin/data": name.encode() * 1000})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"NAME={name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "a test"}],
        }
    ).encode()
    manifest = [
        {
            "Config": f"{_digest(config)}.json",
            "RepoTags": [f"kolla/{name}:v1"],
            "Layers": [f"{_digest(layer)}/layer.tar"],
        }
    ]
    path.write_bytes(
        _tar(
            {
                f"{_digest(config)}.json": config,
                f"{_digest(layer)}/layer.tar": layer,
                "manifest.json": json.dumps(manifest).encode(),
            }
        )
    )


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
