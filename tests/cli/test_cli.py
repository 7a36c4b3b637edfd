"""The command as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quaycache.testing import EmbeddedQuay, Fault
from tests.conftest import HANG_GUARD, Finished, command_environment

Command = Callable[..., Finished]


@pytest.fixture
def kolla(embedded_quay: EmbeddedQuay) -> EmbeddedQuay:
    """A namespace with three repositories, two of which carry v1."""
    embedded_quay.registry.push("kolla", "nova-api", "v1")
    embedded_quay.registry.push("kolla", "glance", "v1")
    embedded_quay.registry.push("kolla", "other", "v2")
    return embedded_quay


class TestOutput:
    def test_text(self, kolla: EmbeddedQuay, command: Command) -> None:
        host = kolla.url.removeprefix("https://")
        done = command("resolve", "quay://kolla/*:v1")
        assert done == Finished(0, f"{host}/kolla/glance:v1\n{host}/kolla/nova-api:v1\n", "")

    def test_digest(self, kolla: EmbeddedQuay, command: Command) -> None:
        digest = kolla.registry.push("kolla", "glance", "v3")
        host = kolla.url.removeprefix("https://")
        done = command("resolve", "-o", "digest", "quay://kolla/*:v3")
        assert done == Finished(0, f"{host}/kolla/glance@{digest}\n", "")

    def test_each_digest_is_printed_once(
        self, embedded_quay: EmbeddedQuay, command: Command
    ) -> None:
        registry = embedded_quay.registry
        old, new = (registry.push("kolla", "glance", tag) for tag in ("v1", "v2"))
        registry.push("kolla", "glance", "v3", digest=old)
        host = embedded_quay.url.removeprefix("https://")
        uris = [f"quay://kolla/*:v{number}" for number in (1, 2, 3)]
        done = command("resolve", "-o", "digest", *uris)
        assert done.out.splitlines() == [f"{host}/kolla/glance@{d}" for d in (old, new)]
        assert len(command("resolve", *uris).out.splitlines()) == 3

    def test_json(self, kolla: EmbeddedQuay, command: Command) -> None:
        kolla.configure(faults=[Fault(kind="status", status=403, match="/other/")])
        done = command("resolve", "-o", "json", "--keep-going", "quay://kolla/*:v1")
        assert done.code == 3
        document = json.loads(done.out)
        assert list(document) == ["images", "failures", "stats"]
        assert [list(image) for image in document["images"]] == [
            ["registry", "repository", "tag", "digest", "start_ts", "checked_at", "stale"]
        ] * 2
        assert [image["repository"] for image in document["images"]] == [
            "kolla/glance",
            "kolla/nova-api",
        ]
        assert [list(failure) for failure in document["failures"]] == [["repository", "error"]]
        assert " ".join(document["stats"]) == (
            "repositories matched found requests listing_pages fresh validated proven fetched"
            " stale failed retries rate_limited connections elapsed_s"
        )

    def test_json_when_nothing_matched(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command("resolve", "-o", "json", "quay://kolla/*:never")
        assert done.code == 0
        assert json.loads(done.out)["images"] == []

    def test_jsonl(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command("resolve", "-o", "jsonl", "quay://kolla/*:v1")
        assert [json.loads(line)["repository"] for line in done.out.splitlines()] == [
            "kolla/glance",
            "kolla/nova-api",
        ]

    def test_stats_are_on_stderr(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command("resolve", "--stats", "quay://kolla/*:v1")
        assert len(done.out.splitlines()) == 2
        assert "repositories=3 matched=3 found=2 requests=4 listing_pages=1" in done.err

    def test_verbose(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command("resolve", "-v", "quay://kolla/*:v1")
        assert done.err.splitlines() == [
            "info: checking 3 of 3 repositories with 4 workers",
            "info: 2 of 3 repositories carry the tag",
        ]


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["quay://kolla/*:"], "the tag after ':' is empty"),
            (["quay://kolla/x@sha256:00"], "not a digest"),
            ([], "arguments are required: URI"),
            (["-j", "0", "quay://kolla"], "invalid number '0': write 1 to 256"),
            (["--since", "soon", "quay://kolla"], "invalid date 'soon'"),
            (["--api-url", "quay.lan", "quay://kolla"], "write it as https://"),
            (["--token-file", "/nowhere/token", "quay://kolla"], "No such file"),
            (["--timeout", "long", "quay://kolla"], "invalid duration 'long'"),
            (["--rate-limit", "0", "quay://kolla"], "invalid rate limit"),
            (["--rate-limit", "nan", "quay://kolla"], "invalid rate limit"),
            (["--output", "xml", "quay://kolla"], "'xml'"),
            (["--outputs", "quay://kolla"], "unrecognized arguments: --outputs"),
        ],
    )
    def test_one_line_and_exit_2(
        self, embedded_quay: EmbeddedQuay, command: Command, arguments: list[str], reason: str
    ) -> None:
        done = command("resolve", *arguments)
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
        assert len(done.err.splitlines()) == 1
        assert embedded_quay.counters().requests == 0

    def test_environment(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command(
            "resolve", "quay://kolla/*:v1", QUAYCACHE_OUTPUT="jsonl", QUAYCACHE_STATS="1"
        )
        assert done.out.startswith("{")
        assert "requests=4" in done.err
        done = command("resolve", "quay://kolla/*:v1", QUAYCACHE_PARALLEL="many")
        assert done.code == 2
        assert "QUAYCACHE_PARALLEL" in done.err

    def test_version_and_help(self, command: Command) -> None:
        assert command("--version").out.startswith("quaycache 0.")
        for arguments in (["--help"], ["resolve", "--help"], ["demo", "-h"]):
            done = command(*arguments)
            assert (done.code, done.err) == (0, "")
            assert "usage: quaycache" in done.out

    def test_every_option_of_resolve_is_read_from_the_environment(self) -> None:
        from quaycache.cli.resolve import command

        for name, setting in command().parser.settings.items():
            assert setting.variable == f"QUAYCACHE_{name.upper()}"

    @pytest.mark.parametrize(
        ("missing", "arguments", "extra"),
        [
            ("rich", ["resolve", "--progress", "quay://kolla"], "quaycache[cli]"),
            ("platformdirs", ["cache", "info"], "quaycache[cli]"),
            ("trustme", ["demo"], "testing"),
        ],
    )
    def test_missing_extra_is_one_line(
        self, missing: str, arguments: list[str], extra: str
    ) -> None:
        program = (
            "import importlib.util as util, sys; real = util.find_spec\n"
            f"util.find_spec = lambda name, *a: None if name == {missing!r} else real(name, *a)\n"
            f"sys.modules[{missing!r}] = None\n"
            f"sys.argv[1:] = {arguments!r}\n"
            "from quaycache.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert extra in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_options_between_uris_and_after_them(
        self, kolla: EmbeddedQuay, command: Command
    ) -> None:
        done = command("resolve", "quay://kolla/*:v1", "-j", "2", "quay://kolla/*:v2", "--stats")
        assert (done.code, len(done.out.splitlines())) == (0, 3)
        assert "requests=" in done.err
        assert kolla.counters().tag == 6

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ([], "a command is missing"),
            (["resolv"], "unknown command 'resolv'; did you mean 'resolve'?"),
            (["--cache-dir"], "unknown option '--cache-dir'"),
            (["cache"], "a command is missing; see 'quaycache cache --help'"),
            (["cache", "lst"], "did you mean 'list'?"),
            (["cache", "remove"], "arguments are required: GLOB"),
        ],
    )
    def test_unknown_command(self, command: Command, arguments: list[str], reason: str) -> None:
        done = command(*arguments)
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
        assert len(done.err.splitlines()) == 1


class TestToken:
    def test_uri_beats_file_beats_environment(
        self, embedded_quay: EmbeddedQuay, command: Command, tmp_path: Path
    ) -> None:
        registry = embedded_quay.registry
        for user in ("uri", "file", "environment"):
            registry.create_repository(user, "private", public=False)
            registry.push(user, "private", "v1")
            registry.add_user(user, f"token-{user}", namespaces=[user])
        file = tmp_path / "token"
        file.write_text("token-file\n")

        def sees(user: str, *options: str, uri_token: str = "") -> bool:
            done = command(
                "resolve",
                *options,
                f"quay://{user}/private:v1{uri_token}",
                QUAYCACHE_TOKEN="token-environment",
            )
            assert "token-" not in done.out + done.err
            return done.code == 0

        assert sees("environment")
        assert sees("file", "--token-file", str(file))
        assert not sees("environment", "--token-file", str(file))
        assert sees("uri", "--token-file", str(file), uri_token="?token=token-uri")
        assert not sees("file", "--token-file", str(file), uri_token="?token=token-uri")


class TestFailure:
    def test_failure_is_one_line(self, kolla: EmbeddedQuay, command: Command) -> None:
        kolla.configure(faults=[Fault(kind="status", status=500, match="/other/")])
        done = command("resolve", "--retries", "1", "quay://kolla/*:v1")
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith("error: kolla/other:v1: gave up after 2 tries: HTTP 500")

    def test_a_failure_mentions_the_images_that_are_not_printed(
        self, kolla: EmbeddedQuay, command: Command
    ) -> None:
        kolla.configure(faults=[Fault(kind="status", status=403, match="namespace=broken")])
        assert command("resolve", "quay://kolla/*:v1").code == 0
        # The cache answers for kolla before the listing of broken fails.
        done = command("resolve", "quay://kolla/*:v1", "quay://broken/*:v1")
        assert (done.code, done.out) == (1, "")
        assert done.err.endswith(
            "; 2 images found before the failure not printed: see --keep-going\n"
        )

    def test_a_rate_limit_failure_names_the_options(
        self, kolla: EmbeddedQuay, command: Command
    ) -> None:
        kolla.configure(faults=[Fault(kind="status", status=429)])
        done = command("resolve", "--timeout", "0", "quay://kolla/*:v1")
        assert (done.code, done.out) == (1, "")
        assert "(-j, --rate-limit) or wait longer (--timeout)" in done.err

    def test_no_network(self, command: Command) -> None:
        done = command(
            "resolve", "--retries", "0", "quay://kolla", QUAYCACHE_API_URL="https://127.0.0.1:1"
        )
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: listing of kolla: cannot connect to 127.0.0.1:1")
        assert len(done.err.splitlines()) == 1

    def test_keep_going_with_nothing_answered(self, kolla: EmbeddedQuay, command: Command) -> None:
        kolla.configure(faults=[Fault(kind="status", status=403)])
        done = command("resolve", "--keep-going", "quay://kolla/*:v1")
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("uris", "code"),
        [
            (["quay://empty", "quay://broken"], 3),
            (["quay://kolla/zz*:v1", "quay://broken"], 3),
            (["quay://kolla/zz*:v1", "quay://kolla/other:v1"], 3),
            (["quay://kolla/glance:never", "quay://broken"], 3),
            (["quay://kolla/*:v1", "quay://broken"], 3),
            (["quay://kolla/other:v1", "quay://broken"], 1),
            (["quay://kolla/oth*:v1"], 1),
            (["quay://broken"], 1),
        ],
    )
    def test_keep_going_with_one_answered_query_is_partial(
        self, kolla: EmbeddedQuay, command: Command, uris: list[str], code: int
    ) -> None:
        kolla.configure(
            faults=[
                Fault(kind="status", status=403, match="namespace=broken"),
                Fault(kind="status", status=403, match="/other/"),
            ]
        )
        assert command("resolve", "--keep-going", *uris).code == code

    def test_anonymous_and_empty(self, command: Command) -> None:
        done = command("resolve", "quay://misspelt")
        assert (done.code, done.out) == (0, "")
        assert done.err.startswith("warning: misspelt shows no repository")
        assert command("resolve", "-q", "quay://misspelt").err == ""

    def test_a_registry_instead_of_a_namespace(self, command: Command) -> None:
        done = command("resolve", "quay://127.0.0.1/kolla/*:v1")
        assert (done.code, done.out) == (0, "")
        assert done.err.endswith("; a URI does not name the registry\n")

    def test_closed_pipe_is_quiet(self, kolla: EmbeddedQuay, tmp_path: Path) -> None:
        kolla.registry.populate("many", 400)
        script = f'"{sys.executable}" -m quaycache resolve -j 16 quay://many | head -n 1'
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            env=os.environ | command_environment(kolla, tmp_path),
            capture_output=True,
            text=True,
            timeout=HANG_GUARD,
            check=True,
        )
        assert len(done.stdout.splitlines()) == 1
        assert done.stderr == ""

    def test_broken_certificate_file(self, kolla: EmbeddedQuay, command: Command) -> None:
        assert kolla.counters().requests == 0
        done = command("resolve", "quay://kolla", SSL_CERT_FILE="/nowhere/ca.pem")
        assert done.code == 2
        assert "SSL_CERT_FILE" in done.err
        assert len(done.err.splitlines()) == 1


class TestInterrupt:
    def test_ctrl_c_while_the_server_is_silent(self, kolla: EmbeddedQuay, tmp_path: Path) -> None:
        kolla.registry.populate("many", 50)
        kolla.configure(faults=[Fault(kind="hang", endpoint="tag")])
        process = subprocess.Popen(
            [sys.executable, "-m", "quaycache", "resolve", "-j", "16", "quay://many"],
            env=os.environ | command_environment(kolla, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while kolla.counters().tag < 16:
            assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=HANG_GUARD)
        assert time.monotonic() - began < 10, "a guard: it takes a fraction of a second"
        assert (process.returncode, out, err) == (130, "", "error: interrupted\n")
        assert kolla.counters().tag == 16


@pytest.mark.slow
def test_demo(command: Command) -> None:
    done = command("demo", "-j", "32")
    assert (done.code, done.err) == (0, "")
    rows = [line.split("  ") for line in done.out.splitlines()[3:]]
    cells = [[cell.strip() for cell in row if cell.strip()][:4] for row in rows]
    assert cells == [
        ["one at a time", "1", "50", "101"],
        ["cold", "32", "50", "101"],
        ["stale but unchanged", "32", "50", "1"],
        ["fresh", "32", "50", "0"],
    ]


class TestStreams:
    @pytest.mark.parametrize("arguments", [["--version"], ["resolve", "quay://kolla/*:v1"]])
    def test_a_closed_stdout_is_an_error(self, arguments: list[str]) -> None:
        assert through_the_shell(arguments, ">&-") == (1, "", "error: stdout is closed\n")

    def test_a_closed_stderr_changes_nothing(self) -> None:
        code, out, _ = through_the_shell(["--version"], "2>&-")
        assert (code, out.split()[0]) == (0, "quaycache")
        assert through_the_shell(["resolve"], "2>&-")[0] == 2

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is missing")
    def test_a_full_device_is_an_error(self) -> None:
        code, _, err = through_the_shell(["--version"], "> /dev/full")
        assert (code, err) == (1, "error: stdout cannot be written: No space left on device\n")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["cache", "dir", "--cacheurl=redis://:s3cret@h/0"],
            ["cache", "dir", "redis://:s3cret@h/0"],
            ["resolve", "redis://:s3/cret@h/0"],
            ["cache", "info", "--cache-dir", "redis://:s3cret@h/0"],
            ["cache", "dir", "--cache-url", "unix://:12/s3cret@/run/x.sock"],
        ],
    )
    def test_a_password_in_the_wrong_place_is_not_shown(self, arguments: list[str]) -> None:
        code, out, err = through_the_shell(arguments)
        assert (code, out) == (2, "")
        assert "cret" not in err

    @pytest.mark.parametrize(
        ("arguments", "shown"),
        [
            (["cache", "dir", "--cache-url", "redis:x"], "redis://[user:password@]host"),
            (["resolve", "quay://kolla/nova@sha256:00"], "'quay://kolla/nova@sha256:00'"),
            (["resolve", "quay://kolla@sha256:00"], "'quay://kolla@sha256:00'"),
            (["resolve", "quay://u:s3/cret@k/x@sha256:00"], "'quay://***@k/x@sha256:00'"),
        ],
    )
    def test_a_message_masks_only_secrets(self, arguments: list[str], shown: str) -> None:
        code, out, err = through_the_shell(arguments)
        assert (code, out) == (2, "")
        assert shown in err


def through_the_shell(arguments: list[str], redirection: str = "") -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command whose streams a shell has redirected."""
    command = shlex.join([sys.executable, "-m", "quaycache", *arguments])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} {redirection}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=HANG_GUARD,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class TestWarnings:
    def test_an_empty_result(self, embedded_quay: EmbeddedQuay, command: Command) -> None:
        embedded_quay.registry.populate("kolla", 3, tag="v1")
        for uri, lookups in (("quay://kolla/*:v2", 3), ("quay://kolla/zz*:v1", 0)):
            done = command("resolve", "--no-cache", uri)
            assert (done.code, done.out) == (0, "")
            assert done.err == (
                "warning: no matching tag found (repositories listed: 3,"
                f" tags looked up: {lookups})\n"
            )
            assert command("resolve", "-q", "--no-cache", uri).err == ""

    def test_only_the_first_failures_are_printed(
        self, embedded_quay: EmbeddedQuay, command: Command
    ) -> None:
        embedded_quay.registry.populate("kolla", 50)
        embedded_quay.configure(faults=[Fault(kind="status", status=403, endpoint="tag")])
        done = command("resolve", "--keep-going", "quay://kolla/*:latest")
        lines = done.err.splitlines()
        assert len(lines) == 21
        assert lines[-1] == "error: 30 more failures: see --output json"
