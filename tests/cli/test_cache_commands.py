"""``quaycache cache``, and the cache options of ``resolve``."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from quaycache.testing import EmbeddedQuay, Fault
from tests.conftest import Finished, command_environment

Command = Callable[..., Finished]

# What platformdirs does without HOME for a user that the system does not know.
HOMELESS = """
import sys, platformdirs
from quaycache.cli.app import run
def nowhere(*_, **__):
    raise RuntimeError("could not determine the home directory")
platformdirs.user_cache_dir = nowhere
run(sys.argv[1:])
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the cache directory of the `command` fixture."""
    return tmp_path / "quaycache"


@pytest.fixture
def kolla(embedded_quay: EmbeddedQuay) -> EmbeddedQuay:
    for name, tag in (("nova-api", "v1"), ("glance", "v1"), ("other", "v2")):
        embedded_quay.registry.push("kolla", name, tag)
    embedded_quay.registry.advance(1000)
    return embedded_quay


@pytest.fixture
def warm(kolla: EmbeddedQuay, command: Command) -> EmbeddedQuay:
    assert command("resolve", "quay://kolla/*:v1").code == 0
    kolla.reset_counters()
    return kolla


def host(quay: EmbeddedQuay) -> str:
    return quay.url.removeprefix("https://")


def damage(directory: Path) -> None:
    (directory / "quaycache-1" / "cache.db").write_bytes(b"garbage" * 1000)


class TestResolve:
    def test_a_second_run_sends_no_requests(self, warm: EmbeddedQuay, command: Command) -> None:
        done = command("resolve", "--stats", "quay://kolla/*:v1")
        assert done.out == f"{host(warm)}/kolla/glance:v1\n{host(warm)}/kolla/nova-api:v1\n"
        assert "requests=0" in done.err
        assert "fresh=3" in done.err
        assert warm.counters().requests == 0

    def test_no_cache(self, kolla: EmbeddedQuay, command: Command, directory: Path) -> None:
        for _ in range(2):
            command("resolve", "--no-cache", "quay://kolla/*:v1")
        assert kolla.counters().requests == 8
        assert not directory.exists()

    def test_ttl_and_refresh(self, warm: EmbeddedQuay, command: Command) -> None:
        command("resolve", "--ttl", "0", "quay://kolla/*:v1")
        assert warm.counters().requests == 1
        command("resolve", "--refresh", "quay://kolla/*:v1")
        assert warm.counters().requests == 5

    def test_max_age(self, warm: EmbeddedQuay, command: Command) -> None:
        command("resolve", "--max-age", "0", "quay://kolla/*:v1")
        assert (warm.counters().listing, warm.counters().tag) == (0, 2)

    def test_platform_cache_directory(
        self, kolla: EmbeddedQuay, command: Command, tmp_path: Path
    ) -> None:
        environment = {"QUAYCACHE_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "xdg")}
        for _ in range(2):
            assert command("resolve", "quay://kolla/*:v1", **environment).code == 0
        assert kolla.counters().requests == 4
        assert (tmp_path / "xdg" / "quaycache" / "CACHEDIR.TAG").exists()

    def test_file_modes(self, warm: EmbeddedQuay, directory: Path) -> None:
        assert warm.counters().requests == 0
        for path in (directory, *directory.rglob("*")):
            wanted = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path

    def test_offline(self, warm: EmbeddedQuay, command: Command) -> None:
        done = command("resolve", "--offline", "quay://kolla/*:v1", QUAYCACHE_API_URL=warm.url)
        assert done.code == 0
        assert len(done.out.splitlines()) == 2
        assert done.err.startswith("offline: the oldest answer is from 20")
        assert len(done.err.splitlines()) == 1
        assert warm.counters().connections == 0

    def test_offline_with_a_missing_answer(self, warm: EmbeddedQuay, command: Command) -> None:
        done = command("resolve", "--offline", "quay://kolla/*:v1", "quay://kolla/new:v1")
        assert warm.counters().requests == 0
        assert done.code == 4
        assert len(done.out.splitlines()) == 2
        assert "error: kolla/new:v1: not in the cache\n" in done.err
        assert command("resolve", "--offline", "quay://nobody/*:v1").code == 4

    def test_stale_if_error_prints_a_warning(self, warm: EmbeddedQuay, command: Command) -> None:
        warm.configure(faults=[Fault(kind="status", status=503)])
        arguments = ["resolve", "--ttl", "0", "--retries", "0"]
        assert command(*arguments, "quay://kolla/*:v1").code == 1
        done = command(*arguments, "--stale-if-error", "1h", "quay://kolla/*:v1")
        assert (done.code, len(done.out.splitlines())) == (0, 2)
        assert "3 of 3 answers are stale, the oldest from 20" in done.err
        assert done.err.endswith("Z: kolla/glance:v1, kolla/nova-api:v1\n")

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--refresh", "--offline"], "--refresh and --offline are mutually exclusive"),
            (["--no-cache", "--offline"], "--no-cache and --offline are mutually exclusive"),
            (["--no-cache", "--refresh"], "--no-cache and --refresh are mutually exclusive"),
            (["--ttl", "soon"], "invalid duration 'soon'"),
            (["--max-age", "-1"], "invalid duration '-1'"),
            (["--cache-dir", ""], "the cache directory's name is empty"),
        ],
    )
    def test_invalid_options(self, command: Command, arguments: list[str], reason: str) -> None:
        done = command("resolve", *arguments, "quay://kolla")
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
        assert len(done.err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [("TTL", "soon"), ("MAX_AGE", "-1"), ("STALE_IF_ERROR", "1w"), ("OFFLINE", "perhaps")],
    )
    def test_invalid_environment(self, command: Command, name: str, value: str) -> None:
        done = command("resolve", "quay://kolla", **{f"QUAYCACHE_{name}": value})
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert value in done.err

    def test_the_command_line_overrides_the_environment(
        self, warm: EmbeddedQuay, command: Command
    ) -> None:
        both = {"QUAYCACHE_REFRESH": "1", "QUAYCACHE_NO_CACHE": "1"}
        assert command("resolve", "--offline", "quay://kolla/*:v1", **both).code == 0
        assert warm.counters().requests == 0
        done = command("resolve", "quay://kolla/*:v1", **both)
        assert done.code == 2
        assert "QUAYCACHE_NO_CACHE and QUAYCACHE_REFRESH are mutually exclusive" in done.err

    def test_the_age_of_an_absent_answer_is_printed(
        self, warm: EmbeddedQuay, command: Command
    ) -> None:
        done = command("resolve", "--offline", "quay://kolla/other:v1")
        assert (done.code, done.out) == (0, "")
        assert done.err.startswith("offline: the oldest answer is from 20")
        warm.configure(faults=[Fault(kind="drop")])
        arguments = ["resolve", "--ttl", "0", "--retries", "0", "--stale-if-error", "1h"]
        done = command(*arguments, "quay://kolla/other:v1")
        assert (done.code, done.out) == (0, "")
        assert done.err.startswith("warning: the server failed, and 1 of 1 answers are stale")

    def test_one_warning_for_many_stale_answers(
        self, kolla: EmbeddedQuay, command: Command
    ) -> None:
        kolla.registry.populate("many", 40, tag="v1")
        command("resolve", "quay://many/*:v1")
        kolla.reset_counters()
        kolla.configure(faults=[Fault(kind="status", status=500, endpoint="tag")])
        arguments = ["resolve", "--ttl", "0", "--max-age", "0", "--retries", "0"]
        done = command(*arguments, "--stale-if-error", "1h", "quay://many/*:v1")
        assert (done.code, len(done.out.splitlines())) == (0, 40)
        (line,) = done.err.splitlines()
        assert line.endswith(", many/repository-00004:v1, 35 more")
        # After a few consecutive failures, the client sends no more requests.
        assert kolla.counters().tag < 20

    def test_vv_logs_each_repository(self, warm: EmbeddedQuay, command: Command) -> None:
        done = command("resolve", "-vv", "quay://kolla/*:v1")
        assert warm.counters().requests == 0
        assert "debug: kolla/other:v1: absent (fresh)\n" in done.err
        assert "debug: kolla/glance:v1: sha256:" in done.err
        assert "kolla/glance" not in command("resolve", "-v", "quay://kolla/*:v1").err

    def test_a_token_is_never_printed(self, kolla: EmbeddedQuay, command: Command) -> None:
        token = "alice-token-1234567890"
        kolla.registry.add_user("alice", token, namespaces=["kolla"])
        kolla.registry.add_user("bob", "bob-token-1234567890")
        kolla.registry.set_public("kolla", "nova-api", False)
        output = ""
        for arguments in (
            ["resolve", "-vv", "--stats", "quay://kolla/*:v1"],
            ["resolve", "-vv", "-o", "json", "quay://kolla/*:v1"],
            ["resolve", "-vv", "quay://kolla/missing:v1"],
            ["resolve", "-vv", "--offline", "quay://kolla/*:v2"],
            ["cache", "list"],
            ["cache", "info", "-o", "json"],
        ):
            done = command(*arguments, QUAYCACHE_TOKEN=token)
            output += done.out + done.err
        assert "kolla/nova-api:v1" in output
        assert token not in output
        # An entry shows that it belongs to some token, and no more.
        assert "  with token " in command("cache", "list").out

    def test_no_home(self, kolla: EmbeddedQuay, tmp_path: Path) -> None:
        environment = command_environment(kolla, tmp_path) | {"QUAYCACHE_CACHE_DIR": ""}

        def run(*arguments: str) -> Finished:
            done = subprocess.run(
                [sys.executable, "-c", HOMELESS, *arguments],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=False,
            )
            return Finished(done.returncode, done.stdout, done.stderr)

        done = run("resolve", "quay://kolla/*:v1")
        assert (done.code, len(done.out.splitlines())) == (0, 2)
        assert done.err == (
            "warning: no home directory for the cache: set --cache-dir; running without a cache\n"
        )
        assert run("resolve", "--no-cache", "quay://kolla/*:v1").err == ""
        assert kolla.counters().requests == 8
        for arguments in (["resolve", "--offline", "quay://kolla/*:v1"], ["cache", "info"]):
            done = run(*arguments)
            assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)

    def test_a_deleted_working_directory(self, kolla: EmbeddedQuay, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = f"rmdir {gone}; exec {sys.executable} -m quaycache resolve quay://kolla/*:v1"
        environment = command_environment(kolla, tmp_path) | {"QUAYCACHE_CACHE_DIR": "here"}
        done = subprocess.run(
            ["/bin/sh", "-fc", script],
            cwd=gone,
            env=os.environ | environment | {"PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(done.stdout.splitlines()) == 2
        assert len(done.stderr.splitlines()) == 1

    def test_an_unusable_cache_is_one_warning(
        self, kolla: EmbeddedQuay, command: Command, directory: Path
    ) -> None:
        directory.write_text("a file")
        done = command("resolve", "quay://kolla/*:v1")
        assert (done.code, len(done.out.splitlines())) == (0, 2)
        assert done.err.startswith("warning: cache ")
        assert len(done.err.splitlines()) == 1
        assert kolla.counters().requests == 4

    def test_a_damaged_cache_is_replaced_with_one_warning(
        self, warm: EmbeddedQuay, command: Command, directory: Path
    ) -> None:
        damage(directory)
        done = command("resolve", "quay://kolla/*:v1")
        assert (done.code, len(done.out.splitlines())) == (0, 2)
        assert len(done.err.splitlines()) == 1
        assert warm.counters().requests == 4
        again = command("resolve", "quay://kolla/*:v1")
        assert (again.code, again.err) == (0, "")
        assert warm.counters().requests == 4


class TestCommands:
    def test_dir(self, command: Command, directory: Path) -> None:
        assert command("cache", "dir") == Finished(0, f"{directory}\n", "")
        done = command("cache", "dir", "-o", "json")
        assert json.loads(done.out) == {"dir": str(directory)}
        assert not directory.exists()

    def test_info(self, warm: EmbeddedQuay, command: Command, directory: Path) -> None:
        done = command("cache", "info", "-o", "json")
        assert (done.code, done.err) == (0, "")
        document = json.loads(done.out)
        assert document["location"] == str(directory)
        assert document["size"] > 1000
        assert (document["entries"], document["void"], document["quarantines"]) == (4, 0, 0)
        (namespace,) = document["namespaces"]
        assert (namespace["registry"], namespace["namespace"]) == (host(warm), "kolla")
        assert (namespace["repositories"], namespace["answers"], namespace["present"]) == (3, 3, 2)
        assert namespace["identity"] == "anon"
        text = command("cache", "info").out
        assert f"{host(warm)}/kolla\n" in text
        assert "3 listed, 3 answers, 2 present" in text

    def test_list(self, warm: EmbeddedQuay, command: Command) -> None:
        lines = command("cache", "list").out.splitlines()
        assert [line.split()[0] for line in lines] == [
            f"{host(warm)}/kolla{name}" for name in ("", "/glance:v1", "/nova-api:v1", "/other:v1")
        ]
        assert "3 repositories" in lines[0]
        assert "sha256:" in lines[1]
        assert "absent" in lines[3]
        for glob in ("kolla/nova-*:v1", f"{host(warm)}/kolla/nova-*"):
            (row,) = json.loads(command("cache", "list", "-o", "json", glob).out)
            assert row["kind"] == "present"
            assert row["digest"].startswith("sha256:")
        assert command("cache", "list", "nothing*") == Finished(0, "", "")

    def test_remove(self, warm: EmbeddedQuay, command: Command) -> None:
        assert command("cache", "remove", "kolla/*a*:v1").out == "Removed 2 entries\n"
        assert command("cache", "remove", "kolla/*a*:v1").out == "Removed 0 entries\n"
        command("resolve", "quay://kolla/*:v1")
        assert (warm.counters().listing, warm.counters().tag) == (0, 2)

    @pytest.mark.parametrize("name", ["list", "remove"])
    def test_a_uri_is_not_a_valid_glob(self, command: Command, name: str) -> None:
        done = command("cache", name, "quay://kolla/*:v1")
        assert (done.code, done.out) == (2, "")
        assert "write the name of an entry without quay://: 'kolla/nova-*:v1'" in done.err

    def test_a_locked_cache_is_an_error(
        self, warm: EmbeddedQuay, command: Command, directory: Path
    ) -> None:
        assert warm.counters().requests == 0
        with closing(sqlite3.connect(directory / "quaycache-1" / "cache.db")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            done = command("cache", "remove", "kolla/*:v1")
        assert (done.code, done.out) == (1, "Removed 0 entries\n")
        assert done.err.endswith("error: 3 entries could not be removed\n")
        with (directory / "quaycache-1.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for arguments in (["info"], ["list"], ["remove", "*"], ["prune", "--dry-run"]):
                done = command("cache", *arguments)
                assert (done.code, done.out) == (1, "")
                assert "in use by another process" in done.err
                assert len(done.err.splitlines()) == 1

    def test_looking_at_a_damaged_cache_changes_nothing(
        self, warm: EmbeddedQuay, command: Command, directory: Path
    ) -> None:
        assert warm.counters().requests == 0
        damage(directory)
        before = sorted(directory.rglob("*"))
        for arguments in (["info"], ["list"], ["prune", "--ci", "--dry-run"]):
            done = command("cache", *arguments)
            assert (done.code, len(done.err.splitlines())) == (0, 1)
            assert "will be put aside by the next run" in done.err
        assert sorted(directory.rglob("*")) == before

    def test_quaycache_output_does_not_apply(self, command: Command) -> None:
        for arguments in (["dir"], ["info"], ["list"], ["prune"], ["clean"]):
            assert command("cache", *arguments, QUAYCACHE_OUTPUT="jsonl").code == 0

    def test_max_age_needs_ci(self, command: Command) -> None:
        done = command("cache", "prune", "--max-age", "1h")
        assert (done.code, done.out) == (2, "")
        assert "--max-age needs --ci" in done.err
        assert command("cache", "prune", QUAYCACHE_MAX_AGE="1h").code == 0

    def test_an_undecodable_directory_name(
        self, kolla: EmbeddedQuay, command: Command, tmp_path: Path
    ) -> None:
        odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
        environment = {"QUAYCACHE_CACHE_DIR": odd, "PYTHONIOENCODING": "utf-8:strict"}
        assert command("resolve", "quay://kolla/*:v1", **environment).code == 0
        assert kolla.counters().requests == 4
        for arguments in (["info"], ["clean"], ["dir"]):
            done = subprocess.run(
                [sys.executable, "-m", "quaycache", "cache", *arguments],
                env=os.environ | environment,
                capture_output=True,
                check=True,
            )
            assert os.fsencode(odd) in done.stdout

    def test_prune(self, warm: EmbeddedQuay, command: Command, directory: Path) -> None:
        damage(directory)
        command("resolve", "-q", "quay://kolla/*:v1")
        names = {"CACHEDIR.TAG", "quaycache-1", "quaycache-1.lock"}
        dry = command("cache", "prune", "--ci", "--dry-run", "-o", "json")
        assert json.loads(dry.out)["quarantines"] == 1
        assert json.loads(dry.out)["rows"] == 0
        done = command("cache", "prune", "--ci", "--max-age", "0")
        assert done.out.startswith("Removed 2 entries and 1 quarantine (")
        assert {path.name for path in directory.iterdir()} == names
        assert [path.name for path in (directory / "quaycache-1").iterdir()] == ["cache.db"]
        assert command("cache", "prune").out.startswith("Removed 0 entries and 0 quarantines")
        warm.reset_counters()
        command("resolve", "quay://kolla/*:v1")
        assert warm.counters().tag == 2

    def test_clean(self, warm: EmbeddedQuay, command: Command, directory: Path) -> None:
        assert warm.counters().requests == 0
        (directory / "mine").write_text("kept")
        damage(directory)
        command("cache", "info")
        assert json.loads(command("cache", "clean", "-o", "json").out)["freed"] > 1000
        assert [path.name for path in directory.iterdir()] == ["mine"]

    @pytest.mark.parametrize("state", ["missing", "empty", "foreign", "corrupt", "file"])
    @pytest.mark.parametrize(
        "arguments", [["dir"], ["info"], ["list"], ["remove", "*"], ["prune", "--ci"], ["clean"]]
    )
    def test_every_command_in_every_state_of_the_directory(
        self, command: Command, directory: Path, state: str, arguments: list[str]
    ) -> None:
        if state == "file":
            directory.write_text("a file")
        elif state != "missing":
            directory.mkdir()
        if state in ("foreign", "corrupt"):
            (directory / "quaycache-1").mkdir()
            (directory / "quaycache-1" / "cache.db").touch()
            damage(directory)
        if state == "foreign":
            (directory / "quaycache-1" / "cache.db").unlink()
            with closing(sqlite3.connect(directory / "quaycache-1" / "cache.db")) as connection:
                connection.execute("CREATE TABLE t (x)")
        done = command("cache", *arguments)
        assert "Traceback" not in done.err
        assert len(done.err.splitlines()) <= 1
        assert done.code in (0, 1)
        if state != "file":
            assert done.code == 0


def test_a_killed_run_has_stored_its_answers(
    embedded_quay: EmbeddedQuay, command: Command, tmp_path: Path
) -> None:
    embedded_quay.registry.populate("kolla", 600, tag="v1")
    embedded_quay.configure(latency=0.05)
    process = subprocess.Popen(
        [sys.executable, "-m", "quaycache", "resolve", "-j", "8", "quay://kolla/*:v1"],
        env=os.environ | command_environment(embedded_quay, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while embedded_quay.counters().tag < 400:
        assert process.poll() is None
    process.kill()
    process.wait()
    embedded_quay.configure(latency=0.0)
    embedded_quay.reset_counters()
    done = command("resolve", "-j", "8", "quay://kolla/*:v1")
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 600)
    # Eight answers every 50 ms: those of two seconds on a slow machine, and those in flight.
    assert embedded_quay.counters().tag <= 200 + 2 * 160 + 8


def test_a_fresh_run_imports_little(warm: EmbeddedQuay, directory: Path) -> None:
    code = f"""
import sys
from quaycache import QuayClient, resolve
with QuayClient(api_url="{warm.url}") as client:
    found = resolve(["quay://kolla/*:v1"], client=client, cache_dir="{directory}")
print(len(found.images), *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    images, *modules = done.stdout.split()
    assert images == "2"
    heavy = {"httpx", "diskcache", "tenacity", "asyncio", "click", "rich", "random", "tempfile"}
    assert heavy.isdisjoint(modules)


@pytest.mark.parametrize("owner", ["ours", "another's"])
def test_ci_round_trip(
    kolla: EmbeddedQuay, command: Command, directory: Path, tmp_path: Path, owner: str
) -> None:
    """What a CI job does: prune, save; restore at another path, perhaps as another user's files."""
    if owner == "another's" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    kolla.registry.populate("many", 120, tag="v1", every=2)
    kolla.registry.advance(1000)
    command("resolve", "-j", "16", "quay://many/*:v1")
    assert command("cache", "prune", "--ci").code == 0
    archive, elsewhere = tmp_path / "cache.tar", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["tar", "-C", directory, "-cf", archive, "."], check=True)  # noqa: S607
    subprocess.run(["tar", "-C", elsewhere, "-xf", archive], check=True)  # noqa: S607
    if owner == "another's":
        for path in (elsewhere, *elsewhere.rglob("*")):
            os.chown(path, 65534, 65534)
    kolla.reset_counters()
    restored = {"QUAYCACHE_CACHE_DIR": str(elsewhere)}
    done = command("resolve", "quay://many/*:v1", **restored)
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 60)
    assert kolla.counters().requests == 0
    done = command("resolve", "--ttl", "0", "quay://many/*:v1", **restored)
    assert (done.code, len(done.out.splitlines())) == (0, 60)
    assert (kolla.counters().listing, kolla.counters().tag) == (2, 0)
    if owner == "another's":
        assert done.err.endswith("it belongs to another user; nothing will be stored\n")
    else:
        assert done.err == ""
