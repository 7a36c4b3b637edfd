"""Runs the recipes of docs/ci.md several times, and keeps what a CI system would keep."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from quaycache.testing import EmbeddedQuay
from tests.docs.pages import DOCS, NAMESPACE, PAGES, TAG, N, blocks, install, run, section
from tests.redis_server import running_redis

PAGE = "ci.md"


class Job(NamedTuple):
    """What a CI system runs, the environment of the job, and the directory that it keeps."""

    script: str
    environment: dict[str, str]
    kept: str | None


def github(workspace: Path) -> Job:
    (text,) = blocks(section(PAGE, "GitHub Actions"), "yaml")
    job = yaml.safe_load(text)["jobs"]["images"]
    steps = job["steps"]
    restored, saved = (
        next(step for step in steps if step.get("uses", "").startswith(f"actions/cache/{verb}"))
        for verb in ("restore", "save")
    )
    assert restored["with"]["key"] == saved["with"]["key"]
    assert restored["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert "run_id" in restored["with"]["key"]
    assert saved["if"] == "github.event_name != 'pull_request'"
    environment = {
        name: value.replace("${{ github.workspace }}", str(workspace))
        for name, value in job["env"].items()
    }
    return Job("\n".join(s["run"] for s in steps if "run" in s), environment, saved["with"]["path"])


def gitlab(workspace: Path) -> Job:
    (text,) = blocks(section(PAGE, "GitLab CI"), "yaml")
    job = yaml.safe_load(text)["images"]
    assert job["cache"]["policy"] == "$CACHE_POLICY"
    assert job["rules"][0]["variables"] == {"CACHE_POLICY": "pull"}
    environment = {
        name: value.replace("$CI_PROJECT_DIR", str(workspace))
        for name, value in job["variables"].items()
    }
    (kept,) = job["cache"]["paths"]
    return Job("\n".join(job["script"]), environment, kept.rstrip("/"))


@pytest.mark.parametrize("recipe", [github, gitlab])
def test_recipes_that_keep_a_directory(
    recipe: Callable[[Path], Job], embedded_quay: EmbeddedQuay, tmp_path: Path
) -> None:
    fill(embedded_quay)
    user = install(tmp_path / "home") | server(embedded_quay)
    costs = []
    for name, more in (("first", {}), ("second", {}), ("third", {"QUAYCACHE_TTL": "0"})):
        workspace = tmp_path / name
        workspace.mkdir()
        job = recipe(workspace)
        assert job.kept is not None
        kept = tmp_path / "kept"
        if kept.exists():
            shutil.copytree(kept, workspace / job.kept)
        embedded_quay.reset_counters()
        output = run(job.script, workspace, user | job.environment | more)
        assert "warning" not in output
        assert len((workspace / "images.txt").read_text().splitlines()) == N
        costs.append(embedded_quay.counters().requests)
        assert sorted(path.name for path in (workspace / job.kept / "quaycache-1").iterdir()) == [
            "cache.db"
        ]
        shutil.rmtree(kept, ignore_errors=True)
        (workspace / job.kept).rename(kept)
    assert costs == [PAGES + N, 0, PAGES]


def zuul(url: str) -> Job:
    (text,) = blocks(section(PAGE, "Zuul"), "yaml")
    (play,) = yaml.safe_load(text)
    scripts = [task["ansible.builtin.shell"] for task in play["tasks"]]
    # The tests' own virtual environment replaces the one that the script creates.
    script = "\n".join(scripts).replace("python3 -m venv ~/quaycache", "")
    script = script.replace("~/quaycache/bin/", "")
    environment: dict[str, str] = play["environment"]
    return Job(
        script,
        {name: value.replace("{{ quaycache_url }}", url) for name, value in environment.items()},
        None,
    )


def fleet(url: str) -> Job:
    (script,) = blocks(section(PAGE, "A fleet with Valkey"), "sh")
    assert "redis://cache.example:6379/0" in script
    return Job(script.replace("redis://cache.example:6379/0", url), {}, None)


@pytest.mark.parametrize("recipe", [zuul, fleet])
def test_recipes_with_a_server(
    recipe: Callable[[str], Job], embedded_quay: EmbeddedQuay, redis_url: str, tmp_path: Path
) -> None:
    fill(embedded_quay)
    user = install(tmp_path / "home") | server(embedded_quay)
    costs = []
    for name in ("first", "second"):
        workspace = tmp_path / name
        workspace.mkdir()
        job = recipe(redis_url)
        embedded_quay.reset_counters()
        output = run(job.script, workspace, user | job.environment)
        assert "warning" not in output
        assert len((workspace / "images.txt").read_text().splitlines()) == N
        costs.append(embedded_quay.counters().requests)
    assert costs == [PAGES + N, 0]


def test_the_access_rules_of_the_server(embedded_quay: EmbeddedQuay, tmp_path: Path) -> None:
    fill(embedded_quay)
    user = install(tmp_path / "home") | server(embedded_quay)
    rules = re.findall(r"^    user (\w+) (.*)$", section(PAGE, "A fleet with Valkey"), re.MULTILINE)
    assert [name for name, _ in rules] == ["writer", "reader"]
    with running_redis() as redis, redis.client() as admin:
        for name, rule in rules:
            admin.execute_command("ACL", "SETUSER", name, *rule.split())
        resolve_v1 = f"quaycache resolve 'quay://{NAMESPACE}/*:{TAG}'"
        resolve_other = f"quaycache resolve 'quay://{NAMESPACE}/*:other'"
        output = {}
        for name, script in (
            ("writer", resolve_v1),
            ("reader", resolve_v1),
            ("reader", resolve_other),
            ("reader", "quaycache cache info; ! quaycache cache clean"),
            ("writer", "quaycache cache info; quaycache cache prune; quaycache cache clean"),
        ):
            embedded_quay.reset_counters()
            url = redis.url.replace("//", f"//{name}:PASSWORD@")
            output[name, script] = run(script, tmp_path, user | {"QUAYCACHE_CACHE_URL": url})
            if (name, script) == ("reader", resolve_v1):
                assert embedded_quay.counters().requests == 0
        assert len(output["writer", resolve_v1].splitlines()) == N
        assert len(output["reader", resolve_v1].splitlines()) == N
        line, nothing = output["reader", resolve_other].splitlines()
        assert "does not permit this user" in line
        assert "no matching tag found" in nothing
        assert not list(admin.scan_iter())
        for name, _ in rules:
            refused = admin.execute_command("ACL", "DRYRUN", name, "HGET", "others", "field")
            assert b"access" in refused or b"permissions" in refused


def test_the_getting_started_page(embedded_quay: EmbeddedQuay, tmp_path: Path) -> None:
    fill(embedded_quay)
    user = install(tmp_path / "home") | server(embedded_quay)
    scripts = blocks((DOCS / "getting-started.md").read_text(), "sh")
    assert len(scripts) > 5
    for script in scripts:
        run(script, tmp_path, user)
    assert len((tmp_path / "images.txt").read_text().splitlines()) == N // 2
    assert embedded_quay.counters().tag == N


def fill(quay: EmbeddedQuay) -> None:
    for number in range(N):
        kind = ("nova", "glance")[number % 2]
        quay.registry.push(NAMESPACE, f"{kind}-{number:03}", TAG)
    quay.registry.advance(1000)


def server(quay: EmbeddedQuay) -> dict[str, str]:
    return {"QUAYCACHE_API_URL": quay.url, "SSL_CERT_FILE": quay.ca_file}
