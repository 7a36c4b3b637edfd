"""``quaycache cache``: see what is kept, and tidy it."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from quaycache.cli.commands import Command, Group
from quaycache.cli.exits import SUCCESS
from quaycache.cli.logs import show_logs
from quaycache.cli.options import add_cache_place, add_max_age, open_store
from quaycache.cli.output import format_size, format_time, say
from quaycache.cli.parser import Options, Parser, UsageError, one_of
from quaycache.errors import StoreError
from quaycache.freshness import Moment, Policy
from quaycache.model import StoredListing
from quaycache.query import SCHEME
from quaycache.store.contents import NamespaceSum, entry_name, keeps, matches, sum_up
from quaycache.store.keys import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from quaycache.store.protocol import Description, Row, Store

_EXAMPLE: Final = "'kolla/nova-*:v1'"
_GLOB: Final = f"{_EXAMPLE}, or with the registry before it; * crosses /"


def group() -> Group:
    """``quaycache cache``."""
    here = "quaycache.cli.cache"
    return Group(
        "quaycache cache",
        "See what is kept between runs, and tidy it.",
        {
            "dir": ("Print where the cache is.", here, "dir_command"),
            "info": ("Print what is kept of each namespace, and its size.", here, "info_command"),
            "list": ("Print the entries, or those that match GLOB.", here, "list_command"),
            "remove": ("Remove the entries that match GLOB.", here, "remove_command"),
            "prune": ("Remove what is too old, and compact the rest.", here, "prune_command"),
            "clean": ("Remove everything that is kept.", here, "clean_command"),
        },
    )


def dir_command() -> Command:
    """``quaycache cache dir``."""
    return Command(
        _parser("dir", "Print where the cache is: its directory, or its URL without a password."),
        _dir,
    )


def info_command() -> Command:
    """``quaycache cache info``."""
    return Command(
        _parser("info", "Print what is kept of each namespace, and what it takes."), _info
    )


def list_command() -> Command:
    """``quaycache cache list``."""
    parser = _parser("list", "Print the entries whose name matches GLOB.")
    parser.add_argument("glob", metavar="GLOB", nargs="?", default="*", help=_GLOB)
    return Command(parser, _list)


def remove_command() -> Command:
    """``quaycache cache remove``."""
    parser = _parser("remove", "Remove the entries whose name matches GLOB.")
    parser.add_argument("glob", metavar="GLOB", help=_GLOB)
    return Command(parser, _remove)


def prune_command() -> Command:
    """``quaycache cache prune``."""
    parser = _parser(
        "prune",
        "Remove what is too old to be of use, and take as little room as possible.\n\n"
        "With --ci also every quarantine, present answers past --max-age and the answers of\n"
        "repositories that are no longer listed. What is left is one compact file.",
    )
    parser.add_flag(
        "--ci",
        about="Keep only what the next run can use: for a cache to be saved.",
        environment=False,
    )
    add_max_age(parser)
    parser.add_flag("--dry-run", about="Remove nothing; say what would go.", environment=False)
    return Command(parser, _prune)


def clean_command() -> Command:
    """``quaycache cache clean``."""
    return Command(
        _parser("clean", "Remove everything that quaycache keeps in the directory, and no more."),
        _clean,
    )


def _parser(name: str, description: str) -> Parser:
    parser = Parser(f"quaycache cache {name}", description)
    add_cache_place(parser)
    parser.add_option(
        "-o",
        "--output",
        convert=one_of("text", "json"),
        default="text",
        metavar="FORMAT",
        about="text: for people; json: one document.",
        # What is set there is meant for `resolve`, which has other formats.
        environment=False,
    )
    return parser


def _dir(options: Options) -> int:
    with _opened(options) as store:
        location = store.location
    return _print(options, {"dir": location}, [location])


def _info(options: Options) -> int:
    with _opened(options) as store:
        rows = list(store.rows())
        location, description = store.location, store.describe()
    sums = sum_up(rows)
    void = sum(row.entry is None for row in rows)
    document = {
        "location": location,
        "size": description.size,
        "quarantines": description.quarantines,
        "entries": len(rows),
        "void": void,
        "namespaces": [_namespace_fields(of) for of in sums],
    }
    return _print(options, document, _info_lines(location, description, len(rows), void, sums))


def _list(options: Options) -> int:
    glob = _glob("list", options)
    with _opened(options) as store:
        fields = [_row_fields(row) for row in store.rows() if matches(row.key, glob)]
    fields.sort(key=itemgetter("name", "identity"))
    lines = [f"{row['name']}  {_said(row)}  {_time(row['checked_at'])}{_by(row)}" for row in fields]
    return _print(options, fields, lines)


def _remove(options: Options) -> int:
    glob = _glob("remove", options)
    with _opened(options) as store:
        keys = [row.key for row in store.rows() if matches(row.key, glob)]
        store.remove(dict.fromkeys(keys, math.inf))
        left = {row.key for row in store.rows()}.intersection(keys)
    removed = len(keys) - len(left)
    _print(options, {"removed": removed}, [f"Removed {_count(removed, 'entry', 'entries')}"])
    if left:
        raise StoreError(f"{_count(len(left), 'entry', 'entries')} could not be removed")
    return SUCCESS


def _prune(options: Options) -> int:
    ci, dry_run = options.ci, options.dry_run
    if not ci and "max_age" in options.on_command_line:
        raise UsageError("quaycache cache prune", "--max-age needs --ci")
    policy = Policy()._replace(max_age=options.max_age)
    now = time.time()
    with _opened(options) as store:
        keep = keeps(list(store.rows()), policy, Moment(now), strict=ci)
        before = math.inf if ci else now - policy.retention
        pruned = store.prune(keep, quarantined_before=before, dry_run=dry_run)
    line = (
        f"{'Would remove' if dry_run else 'Removed'} {_count(pruned.rows, 'entry', 'entries')}"
        f" and {_count(pruned.quarantines, 'quarantine', 'quarantines')}"
        f" ({format_size(pruned.freed)})"
    )
    return _print(options, pruned._asdict(), [line])


def _clean(options: Options) -> int:
    with _opened(options) as store:
        location = store.location
        freed = store.clean()
    return _print(options, {"freed": freed}, [f"Removed {format_size(freed)} from {location}"])


def _glob(name: str, options: Options) -> str:
    glob: str = options.glob
    if glob.startswith(SCHEME):
        raise UsageError(f"quaycache cache {name}", f"an entry's name has no {SCHEME}: {_EXAMPLE}")
    return glob


def _opened(options: Options) -> AbstractContextManager[Store]:
    show_logs(0, quiet=False)
    return closing(open_store(options))


def _print(options: Options, document: object, lines: Iterable[str]) -> int:
    if options.output == "json":
        lines = [json.dumps(document, indent=2)]
    say(*lines)
    return SUCCESS


def _info_lines(
    location: str, description: Description, entries: int, void: int, sums: Sequence[NamespaceSum]
) -> list[str]:
    lines = [
        f"location     {location}",
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
    return of._asdict()


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
