"""occystrap's command with a cache: its options, its output, and its clean-up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from quaycache.errors import MissingExtraError, SettingsError
from quaycache.testing import EmbeddedQuay, Fault
from tests.conftest import HANG_GUARD

pytestmark = pytest.mark.usefixtures("occystrap_quay")

Call = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture
def launched(embedded_quay: EmbeddedQuay) -> list[str]:
    """Return the launcher's command line, with an occystrap pointed at the embedded Quay."""
    program = (
        "import occystrap.quay, sys;"
        f"occystrap.quay.QUAY_API_BASE = {embedded_quay.url + '/api/v1'!r};"
        "from quaycache.occystrap.launcher import main; main()"
    )
    return [sys.executable, "-c", program]


def run(
    command: list[str], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=HANG_GUARD,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture
def cli() -> Any:
    from quaycache.occystrap.launcher import launcher_cli

    return launcher_cli()


@pytest.fixture
def calls(occystrap_quay: Any, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Return the recorded calls of occystrap's own function, which finds nothing."""
    seen: list[Call] = []

    def own(*arguments: Any, **options: Any) -> list[Any]:
        seen.append((arguments, options))
        return []

    monkeypatch.setattr(occystrap_quay, "resolve_quay_uri", own)
    return seen


def invoke(cli: Any, *arguments: str, **environment: str) -> Any:
    from click.testing import CliRunner

    return CliRunner().invoke(cli, list(arguments), env=environment)


class TestOptions:
    def test_without_a_cache_occystraps_function_is_called(
        self, cli: Any, calls: list[Call], occystrap_quay: Any
    ) -> None:
        from occystrap.main import cli as own_cli

        own = occystrap_quay.resolve_quay_uri
        arguments = ["-j", "7", "info", "quay://kolla/nova-*:v1?since=2026-03-01&token=abc"]
        assert invoke(own_cli, *arguments).exit_code == 0
        assert invoke(cli, *arguments).exit_code == 0
        assert invoke(cli, *arguments, OCCYSTRAP_CACHE_DIR="").exit_code == 0
        assert calls[0] == calls[1] == calls[2]
        assert occystrap_quay.resolve_quay_uri is own

    def test_with_a_cache_the_function_is_replaced_and_restored(
        self, cli: Any, calls: list[Call], occystrap_quay: Any, tmp_path: Path
    ) -> None:
        own = occystrap_quay.resolve_quay_uri
        for environment in ({}, {"OCCYSTRAP_CACHE_DIR": str(tmp_path)}):
            arguments = [] if environment else ["--cache-dir", str(tmp_path)]
            done = invoke(cli, *arguments, "info", "quay://kolla/*:v1", **environment)
            assert done.exit_code == 0
            assert occystrap_quay.resolve_quay_uri is own
        assert calls == []

    def test_occystraps_group_is_not_modified(self, cli: Any) -> None:
        from occystrap.main import cli as own_cli

        assert "--cache-dir" not in {name for option in own_cli.params for name in option.opts}
        assert len(cli.params) == len(own_cli.params) + 3
        assert cli.commands == own_cli.commands
        assert cli.commands is not own_cli.commands

    def test_options_are_passed_on(
        self, cli: Any, embedded_quay: EmbeddedQuay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import quaycache.occystrap.bridge as bridge

        seen: dict[str, Any] = {}

        def resolve(*arguments: Any, **options: Any) -> list[Any]:
            seen.update(options, arguments=arguments)
            return []

        monkeypatch.setattr(bridge, "resolve_quay_uri", resolve)
        options = ["--cache-dir", str(tmp_path), "--cache-ttl", "90", "-j", "7"]
        if any(parameter.name == "retries" for parameter in cli.params):
            options += ["--retries", "5", "--rate-limit", "20"]
            assert invoke(cli, *options, "info", "quay://kolla/*:v1").exit_code == 0
            assert (seen["retries"], seen["rate_limit"]) == (5, 20.0)
        assert invoke(cli, *options, "--password", "p", "info", "quay://kolla/*:v1").exit_code == 0
        assert (seen["cache_dir"], seen["cache_ttl"]) == (str(tmp_path), 90.0)
        assert (seen["max_workers"], seen["token"]) == (7, "p")
        assert seen["arguments"] == ("kolla", "*", "v1")
        url = "redis://cache.example"
        assert invoke(cli, "--cache-url", url, "info", "quay://kolla/*:v1").exit_code == 0
        assert (seen["cache_dir"], seen["cache_url"]) == (None, url)
        assert embedded_quay.counters().requests == 0

    def test_an_invalid_duration(self, launched: list[str]) -> None:
        done = run(launched, "--cache-ttl", "soon", "info", "quay://kolla/*:v1")
        assert done.returncode == 2
        assert "invalid duration 'soon'" in done.stderr


class TestCommand:
    def test_a_second_run_sends_no_requests(
        self, launched: list[str], embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        embedded_quay.registry.populate("kolla", 30, tag="other")
        for expected in (31, 0):
            embedded_quay.reset_counters()
            done = run(launched, "info", "quay://kolla/*:v1", OCCYSTRAP_CACHE_DIR=str(tmp_path))
            assert done.returncode == 0
            assert done.stderr.endswith("No images found matching quay://kolla/*:v1\n")
            assert embedded_quay.counters().requests == expected
            assert f"({expected} requests)" in done.stdout + done.stderr

    def test_verbose(
        self, launched: list[str], embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        embedded_quay.registry.populate("kolla", 1, tag="other")
        options = ["--cache-dir", str(tmp_path)]
        quiet = run(launched, *options, "info", "quay://kolla/*:v1")
        assert "DEBUG" not in quiet.stdout + quiet.stderr
        verbose = run(launched, *options, "--verbose", "info", "quay://kolla/*:v1")
        output = verbose.stdout + verbose.stderr
        assert re.search(r"DEBUG\S*: kolla/repository-00000:v1: absent \(fresh\)", output)

    def test_an_error_is_one_line_in_occystraps_form(
        self, launched: list[str], embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        embedded_quay.registry.populate("kolla", 1)
        embedded_quay.configure(faults=[Fault(kind="status", status=403)])
        done = run(launched, "--cache-dir", str(tmp_path), "info", "quay://kolla/*:v1")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Error: listing of kolla: HTTP 403")
        assert "Traceback" not in done.stderr

    def test_an_unusable_directory_is_a_warning(
        self, launched: list[str], embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        embedded_quay.registry.populate("kolla", 3, tag="other")
        done = run(launched, "--cache-dir", str(tmp_path / "file"), "info", "quay://kolla/*:v1")
        assert done.returncode == 0
        assert (done.stdout + done.stderr).count("WARNING") == 1
        assert embedded_quay.counters().requests == 4

    def test_as_a_module(self) -> None:
        module = [sys.executable, "-m", "quaycache.occystrap"]
        done = run(module, "--help")
        assert done.returncode == 0
        assert "--cache-dir DIR" in done.stdout
        assert "occystrap-quaycache" in done.stdout

    def test_ctrl_c_with_many_repositories_in_the_queue(
        self, launched: list[str], embedded_quay: EmbeddedQuay, tmp_path: Path
    ) -> None:
        n = 500
        embedded_quay.registry.populate("kolla", n)
        embedded_quay.configure(tag_latency=0.2)
        process = subprocess.Popen(
            [*launched, "--cache-dir", str(tmp_path), "info", "quay://kolla/*:latest"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while embedded_quay.counters().tag < 8:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANG_GUARD)
        assert process.returncode == 1
        assert b"Traceback" not in err
        # With four workers: only the lookups in flight, and none from the queue.
        assert embedded_quay.counters().tag < n / 10


class TestHooks:
    def test_an_occystrap_with_its_own_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import click
        import occystrap.main

        from quaycache.occystrap.launcher import launcher_cli

        own = click.Group("occystrap", params=[click.Option(["--cache-dir"])])
        monkeypatch.setattr(occystrap.main, "cli", own)
        assert launcher_cli() is own

    def test_an_occystrap_without_the_function(
        self, monkeypatch: pytest.MonkeyPatch, occystrap_quay: Any
    ) -> None:
        from quaycache.occystrap import launcher

        monkeypatch.delattr(occystrap_quay, "resolve_quay_uri")
        monkeypatch.setattr(launcher, "version", lambda _: "0.4.11")
        with pytest.raises(
            SettingsError, match=r"0\.4\.12 or newer.* installed version is 0\.4\.11"
        ):
            launcher.launcher_cli()

    def test_an_occystrap_without_the_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from quaycache.occystrap import launcher

        monkeypatch.setitem(sys.modules, "occystrap.quay", None)
        monkeypatch.setattr(launcher, "version", lambda _: "0.4.11")
        with pytest.raises(SettingsError, match=r"installed version is 0\.4\.11"):
            launcher.launcher_cli()

    def test_an_occystrap_that_calls_another_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import occystrap.main

        from quaycache.occystrap.launcher import launcher_cli

        monkeypatch.setattr(occystrap.main, "quay_module", types.ModuleType("other"))
        with pytest.raises(SettingsError, match="needs occystrap"):
            launcher_cli()

    def test_occystrap_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from importlib.metadata import PackageNotFoundError

        from quaycache.occystrap import launcher

        def missing(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(launcher, "version", missing)
        with pytest.raises(MissingExtraError, match=r"pip install 'quaycache\[occystrap\]'"):
            launcher.launcher_cli()

    def test_an_error_at_the_start_is_one_line(self) -> None:
        program = (
            "import importlib.metadata as m, sys\n"
            "def missing(name): raise m.PackageNotFoundError(name)\n"
            "m.version = missing\n"
            "from quaycache.occystrap.launcher import main; main()"
        )
        done = run([sys.executable, "-c", program], "info", "quay://kolla/*:v1")
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_the_function_does_not_import_occystrap() -> None:
    program = "import sys, quaycache.occystrap; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"occystrap", "click", "httpx"}.isdisjoint(done.stdout.split())
