"""The server process: its start, its commands and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from quaycache.errors import MissingExtraError
from quaycache.testing import EmbeddedQuay, EmbeddedQuayError, RegistryError

# A hang guard in seconds.
PATIENCE = 60


def test_it_serves_until_it_is_closed() -> None:
    with EmbeddedQuay() as quay:
        ca_file = Path(quay.ca_file)
        assert ca_file.read_text().startswith("-----BEGIN CERTIFICATE-----")
        with httpx.Client(verify=quay.ssl_context()) as client:
            assert client.get(quay.url).status_code == 404
    assert not ca_file.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(quay.url)
    quay.close()
    with pytest.raises(EmbeddedQuayError, match="has ended"):
        quay.counters()


def test_the_server_does_not_receive_ctrl_c(embedded_quay: EmbeddedQuay) -> None:
    server = embedded_quay._process._child.pid
    assert os.getpgid(server) == server


def test_modules_in_the_working_directory_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssl.py").write_text("raise SystemExit('wrong ssl module')")
    monkeypatch.chdir(tmp_path)
    EmbeddedQuay().close()


def test_registry_methods_run_in_the_server_and_return_values(embedded_quay: EmbeddedQuay) -> None:
    registry = embedded_quay.registry
    digest = registry.push("kolla", "nova", "v1", lifetime=60)
    assert registry.push("kolla", "nova", "v2", digest) == digest
    registry.add_user("ann", "good", namespaces=(name for name in ["kolla"]))
    before = registry.now()
    registry.advance(1000)
    assert 1000 <= registry.now() - before < 1000 + PATIENCE


def test_an_error_in_the_server_is_raised_in_the_caller(embedded_quay: EmbeddedQuay) -> None:
    with pytest.raises(RegistryError, match="no repository kolla/nova"):
        embedded_quay.registry.delete_repository("kolla", "nova")
    with pytest.raises(TypeError, match="push"):
        embedded_quay.registry.push("kolla")  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(TypeError, match="cannot be sent"):
        embedded_quay.registry.advance(object())  # type: ignore[arg-type]  # wrong on purpose
    embedded_quay.registry.push("kolla", "nova", "v1")


@pytest.mark.parametrize("name", ["users", "_create", "__class_getitem__", "nothing"])
def test_only_public_methods_of_the_registry_can_be_called(
    embedded_quay: EmbeddedQuay, name: str
) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(embedded_quay.registry, name)


def test_a_killed_server_raises_an_error() -> None:
    quay = EmbeddedQuay()
    process = quay._process._child
    process.kill()
    process.wait(PATIENCE)
    with pytest.raises(EmbeddedQuayError, match="has ended"):
        quay.counters()
    ca_file = Path(quay.ca_file)
    quay.close()
    assert not ca_file.exists()


CHILD_OF_A_KILLED_PARENT = """
import os, signal
from quaycache.testing import EmbeddedQuay
quay = EmbeddedQuay()
print(quay.ca_file, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_when_its_parent_is_killed() -> None:
    # The server inherits standard error, so that ends only when both processes have ended.
    killed = subprocess.run(
        [sys.executable, "-c", CHILD_OF_A_KILLED_PARENT],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert killed.stderr == ""
    assert not Path(killed.stdout.strip()).exists()


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("missing", ["h2", "h11", "trustme"])
def test_a_missing_extra_raises_an_error_with_the_install_command(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For an importer, this module looks as if it were not installed.
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError(name={missing!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=rf"needs {missing}: pip install .*\[testing\]"):
        EmbeddedQuay()


def test_a_server_that_does_not_start_raises_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trustme.py").write_text("raise SystemExit('no certificates today')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbeddedQuayError, match="has ended"):
        EmbeddedQuay()
    assert "no certificates today" in capfd.readouterr().err


HEAVY = "{'h2', 'h11', 'trustme', 'cryptography', 'httpx', 'asyncio', 'ssl', 'subprocess'}"


def test_importing_the_package_imports_no_heavy_module() -> None:
    code = f"import quaycache.testing, sys; print(sorted({HEAVY} & set(sys.modules)))"
    assert run(code).stdout == "[]\n"


def test_the_parent_never_imports_the_extra() -> None:
    code = (
        "import sys\nfrom quaycache.testing import EmbeddedQuay\n"
        "with EmbeddedQuay() as quay: quay.registry.push('kolla', 'nova', 'v1'); quay.counters()\n"
        "print(sorted({'h2', 'h11', 'trustme', 'cryptography', 'asyncio'} & set(sys.modules)))"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


PLUGIN_USER = """
def test_one(embedded_quay):
    assert embedded_quay.counters().requests == 0
    embedded_quay.registry.push("kolla", "nova", "v1")
    embedded_quay.configure(latency=9)

def test_two(embedded_quay):
    assert embedded_quay.settings.latency == 0
    embedded_quay.registry.create_repository("kolla", "nova")
"""


def test_the_fixture_is_reset_for_every_test(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(PLUGIN_USER)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_only_quaycache() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules)\n"
        "import quaycache.testing.pytest_plugin\n"
        "print(sorted(name for name in set(sys.modules) - before "
        "if not name.startswith('quaycache')))"
    )
    assert run(code).stdout == "[]\n"
