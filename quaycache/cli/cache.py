"""``quaycache cache``: see what is kept, and tidy it."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from quaycache.cli.cache_options import cache_dir_option, max_age_option, open_store
from quaycache.cli.logs import show_logs
from quaycache.cli.options import is_on_command_line, option
from quaycache.cli.output import format_size, format_time
from quaycache.errors import StoreError
from quaycache.freshness import Moment, Policy
from quaycache.model import StoredListing
from quaycache.store.contents import NamespaceSum, entry_name, keeps, matches, sum_up
from quaycache.store.keys import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from quaycache.store.protocol import Description, Row


def _output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    # Not from the environment: what is set there is meant for `resolve`, which has other formats.
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="For people, or one JSON document.",
    )(function)


@click.group(short_help="See and tidy what is kept between runs.")
def cache() -> None:
    """See what is kept between runs, and tidy it."""
    show_logs(0, quiet=False)


@cache.command("dir")
@cache_dir_option
@_output_option
def directory(cache_dir: str | None, output: str) -> None:
    """Print the cache directory."""
    with closing(open_store(cache_dir)) as store:
        location = store.describe().location
    _print(output, {"dir": location}, [location])


@cache.command()
@cache_dir_option
@_output_option
def info(cache_dir: str | None, output: str) -> None:
    """Print what is kept of each namespace, and what it takes."""
    with closing(open_store(cache_dir)) as store:
        rows = list(store.rows())
        description = store.describe()
    sums = sum_up(rows)
    void = sum(row.entry is None for row in rows)
    document = {
        "location": description.location,
        "size": description.size,
        "quarantines": description.quarantines,
        "entries": len(rows),
        "void": void,
        "namespaces": [_namespace_fields(of) for of in sums],
    }
    _print(output, document, _info_lines(description, len(rows), void, sums))


@cache.command("list", short_help="Print the entries, or those that match GLOB.")
@click.argument("glob", default="*")
@cache_dir_option
@_output_option
def list_(glob: str, cache_dir: str | None, output: str) -> None:
    """Print the entries whose name matches GLOB: 'kolla/nova-*:v1', or with the registry."""
    with closing(open_store(cache_dir)) as store:
        fields = [_row_fields(row) for row in store.rows() if matches(row.key, glob)]
    fields.sort(key=itemgetter("name", "identity"))
    lines = [f"{row['name']}  {_said(row)}  {_time(row['checked_at'])}{_by(row)}" for row in fields]
    _print(output, fields, lines)


@cache.command()
@click.argument("glob")
@cache_dir_option
@_output_option
def remove(glob: str, cache_dir: str | None, output: str) -> None:
    """Remove the entries whose name matches GLOB."""
    with closing(open_store(cache_dir)) as store:
        keys = [row.key for row in store.rows() if matches(row.key, glob)]
        store.remove(dict.fromkeys(keys, math.inf))
        left = {row.key for row in store.rows()}.intersection(keys)
    removed = len(keys) - len(left)
    _print(output, {"removed": removed}, [f"Removed {_count(removed, 'entry', 'entries')}"])
    if left:
        raise StoreError(f"{_count(len(left), 'entry', 'entries')} could not be removed")


@cache.command(short_help="Remove what is too old, and compact the rest.")
@cache_dir_option
@option("--ci", is_flag=True, help="Keep only what the next run can use: for a cache to be saved.")
@max_age_option
@option("--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@_output_option
@click.pass_context
def prune(
    context: click.Context,
    cache_dir: str | None,
    ci: bool,
    max_age: float,
    dry_run: bool,
    output: str,
) -> None:
    """Remove what is too old to be of use, and take as little room as possible.

    With --ci also every quarantine, present answers past --max-age and the answers of repositories
    that are no longer listed. What is left is one compact file.
    """
    if not ci and is_on_command_line(context, "max_age"):
        raise click.UsageError("--max-age needs --ci")
    policy = replace(Policy(), max_age=max_age)
    now = time.time()
    with closing(open_store(cache_dir)) as store:
        keep = keeps(list(store.rows()), policy, Moment(now), strict=ci)
        before = math.inf if ci else now - policy.retention
        pruned = store.prune(keep, quarantined_before=before, dry_run=dry_run)
    fields = {"rows": pruned.rows, "quarantines": pruned.quarantines, "freed": pruned.freed}
    line = (
        f"{'Would remove' if dry_run else 'Removed'} {_count(pruned.rows, 'entry', 'entries')}"
        f" and {_count(pruned.quarantines, 'quarantine', 'quarantines')}"
        f" ({format_size(pruned.freed)})"
    )
    _print(output, fields, [line])


@cache.command(short_help="Remove everything that is kept.")
@cache_dir_option
@_output_option
def clean(cache_dir: str | None, output: str) -> None:
    """Remove everything that quaycache keeps in the directory, and nothing else."""
    with closing(open_store(cache_dir)) as store:
        location = store.describe().location
        freed = store.clean()
    _print(output, {"freed": freed}, [f"Removed {format_size(freed)} from {location}"])


def _print(output: str, document: object, lines: Iterable[str]) -> None:
    if output == "json":
        lines = [json.dumps(document, indent=2)]
    # A directory's name need not be text: it leaves as the bytes that it came in.
    click.echo(os.fsencode("".join(f"{line}\n" for line in lines)), nl=False)


def _info_lines(
    description: Description, entries: int, void: int, sums: Sequence[NamespaceSum]
) -> list[str]:
    lines = [
        f"location     {description.location}",
        f"size         {format_size(description.size)}",
        f"entries      {entries}" + (f", {void} of them void" if void else ""),
        f"quarantines  {description.quarantines}",
    ]
    for of in sums:
        listing = "no listing" if of.repositories is None else f"{of.repositories} listed"
        lines += [
            "",
            f"{of.registry}/{of.namespace}"
            + ("" if of.identity == ANONYMOUS else f" with token {of.identity[:8]}"),
            f"  {listing}, {_count(of.answers, 'answer', 'answers')}, {of.present} present,"
            f" {format_size(of.size)}",
            f"  checked from {_time(of.oldest)} to {_time(of.newest)}",
        ]
    return lines


def _namespace_fields(of: NamespaceSum) -> dict[str, Any]:
    return {name: getattr(of, name) for name in NamespaceSum.__dataclass_fields__}


def _row_fields(row: Row) -> dict[str, Any]:
    entry = row.entry
    fields: dict[str, Any] = {
        "name": entry_name(row.key),
        "kind": "void",
        "identity": row.key.scope.identity,
        "size": row.size,
        "checked_at": None if entry is None else entry.checked_at,
        "stored_at": None if entry is None else entry.stored_at,
    }
    if isinstance(entry, StoredListing):
        return fields | {"kind": "listing", "repositories": len(entry.repositories)}
    if entry is not None and entry.tag is None:
        return fields | {"kind": "absent"}
    if entry is not None and entry.tag is not None:
        return fields | {"kind": "present", "digest": entry.tag.manifest_digest}
    return fields


def _said(fields: dict[str, Any]) -> str:
    if fields["kind"] == "listing":
        return f"{fields['repositories']} repositories"
    return str(fields.get("digest", fields["kind"]))


def _by(fields: dict[str, Any]) -> str:
    return "" if fields["identity"] == ANONYMOUS else f"  with token {fields['identity'][:8]}"


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else format_time(seconds)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
