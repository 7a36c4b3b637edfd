"""``quaycache cache``: show and clean up the stored answers."""

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
from quaycache.cli.output import format_size, format_time, print_out
from quaycache.cli.parser import Options, Parser, UsageError, one_of
from quaycache.errors import StoreError
from quaycache.freshness import Moment, Policy
from quaycache.model import StoredListing
from quaycache.names import ANONYMOUS
from quaycache.query import SCHEME
from quaycache.store.contents import (
    NamespaceSummary,
    entry_name,
    keep_predicate,
    matches,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from quaycache.store.protocol import Description, Row, Store

_EXAMPLE: Final = "'kolla/nova-*:v1'"
_GLOB: Final = f"{_EXAMPLE}, or with the registry in front; * also matches /."


def group() -> Group:
    """Return ``quaycache cache``."""
    here = "quaycache.cli.cache"
    return Group(
        "quaycache cache",
        "Show and clean up the answers stored between runs.",
        {
            "dir": ("Print the location of the cache.", here, "dir_command"),
            "info": ("Print the size and contents of the cache.", here, "info_command"),
            "list": ("Print all entries, or those that match GLOB.", here, "list_command"),
            "remove": ("Remove the entries that match GLOB.", here, "remove_command"),
            "prune": ("Remove expired entries, and compact the rest.", here, "prune_command"),
            "clean": ("Remove all entries.", here, "clean_command"),
        },
    )


def dir_command() -> Command:
    """Return ``quaycache cache dir``."""
    return Command(
        _parser("dir", "Print the directory of the cache, or its URL without the password."),
        _dir,
    )


def info_command() -> Command:
    """Return ``quaycache cache info``."""
    return Command(
        _parser("info", "Print the size of the cache and its contents by namespace."), _info
    )


def list_command() -> Command:
    """Return ``quaycache cache list``."""
    parser = _parser("list", "Print the entries whose name matches GLOB.")
    parser.add_argument("glob", metavar="GLOB", nargs="?", default="*", help=_GLOB)
    return Command(parser, _list)


def remove_command() -> Command:
    """Return ``quaycache cache remove``."""
    parser = _parser("remove", "Remove the entries whose name matches GLOB.")
    parser.add_argument("glob", metavar="GLOB", help=_GLOB)
    return Command(parser, _remove)


def prune_command() -> Command:
    """Return ``quaycache cache prune``."""
    parser = _parser(
        "prune",
        "Remove expired entries, and compact the rest.\n\n"
        "With --ci, also remove every quarantine, present answers past --max-age, and the answers\n"
        "for repositories that are no longer listed; one compact file remains.",
    )
    parser.add_flag(
        "--ci",
        about="Keep only what the next run can use, before a CI job saves the cache.",
        environment=False,
    )
    add_max_age(parser)
    parser.add_flag(
        "--dry-run", about="Remove nothing; print what would be removed.", environment=False
    )
    return Command(parser, _prune)


def clean_command() -> Command:
    """Return ``quaycache cache clean``."""
    return Command(
        _parser("clean", "Remove everything that quaycache has stored, and nothing else."),
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
        about="text: human-readable; json: one document.",
        # QUAYCACHE_OUTPUT is meant for `resolve`, which has other formats.
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
    sums = summarize(rows)
    void = sum(row.entry is None for row in rows)
    document = {
        "location": location,
        "size": description.size,
        "quarantines": description.quarantines,
        "entries": len(rows),
        "void": void,
        "namespaces": [namespace._asdict() for namespace in sums],
    }
    return _print(options, document, _info_lines(location, description, len(rows), void, sums))


def _list(options: Options) -> int:
    glob = _glob("list", options)
    with _opened(options) as store:
        fields = [_row_fields(row) for row in store.rows() if matches(row.key, glob)]
    fields.sort(key=itemgetter("name", "identity"))
    return _print(options, fields, map(_format, fields))


def _remove(options: Options) -> int:
    glob = _glob("remove", options)
    with _opened(options) as store:
        keys = [row.key for row in store.rows() if matches(row.key, glob)]
        store.remove_if_not_newer(dict.fromkeys(keys, math.inf))
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
        keep = keep_predicate(list(store.rows()), policy, Moment(now, store=store.now()), strict=ci)
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
        raise UsageError(
            f"quaycache cache {name}", f"write the name of an entry without {SCHEME}: {_EXAMPLE}"
        )
    return glob


def _opened(options: Options) -> AbstractContextManager[Store]:
    show_logs(0, quiet=False)
    return closing(open_store(options))


def _print(options: Options, document: object, lines: Iterable[str]) -> int:
    if options.output == "json":
        lines = [json.dumps(document, indent=2)]
    print_out(*lines)
    return SUCCESS


def _info_lines(
    location: str,
    description: Description,
    entries: int,
    void: int,
    sums: Sequence[NamespaceSummary],
) -> list[str]:
    lines = [
        f"location     {location}",
        f"size         {format_size(description.size)}",
        f"entries      {entries}" + (f", {void} of them void" if void else ""),
        f"quarantines  {description.quarantines}",
    ]
    for namespace in sums:
        repositories = namespace.repositories
        listing = "no listing" if repositories is None else f"{repositories} listed"
        answers = _count(namespace.answers, "answer", "answers")
        lines += [
            "",
            f"{namespace.registry}/{namespace.namespace}{_format_identity(namespace.identity)}",
            f"  {listing}, {answers}, {namespace.present} present, {format_size(namespace.size)}",
            f"  checked from {_time(namespace.oldest)} to {_time(namespace.newest)}",
        ]
    return lines


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


def _format(fields: dict[str, Any]) -> str:
    if fields["kind"] == "listing":
        content = f"{fields['repositories']} repositories"
    else:
        content = fields.get("digest", fields["kind"])
    identity = _format_identity(fields["identity"])
    return f"{fields['name']}  {content}  {_time(fields['checked_at'])}{identity}"


def _format_identity(identity: str) -> str:
    return "" if identity == ANONYMOUS else f"  with token {identity[:8]}"


def _time(seconds: float | None) -> str:
    return "never" if seconds is None else format_time(seconds)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
