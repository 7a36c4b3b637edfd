"""Check that a database is exactly as diskcache creates it, before anything is read or written.

A cache travels between machines and branches. An untrusted party that can write it must not be able
to do more than empty it, and SQLite executes schemas, and diskcache obeys its settings table.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from quaycache.store.disk.faults import StoreCorruptError

SETTINGS: Final[dict[str, int | str]] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    "size_limit": 2**62,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 8192,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**40,
    "disk_pickle_protocol": 0,
}
"""The settings that diskcache is given, and keeps in its settings table."""

_COUNTERS: Final = frozenset({"count", "size", "hits", "misses"})

_ON_CACHE: Final = "ON Cache FOR EACH ROW BEGIN UPDATE Settings SET value = value"

SCHEMA: Final = frozenset(
    {
        (
            "table",
            "Settings",
            "Settings",
            "CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value)",
        ),
        ("index", "sqlite_autoindex_Settings_1", "Settings", None),
        (
            "table",
            "Cache",
            "Cache",
            "CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER,"
            " store_time REAL, expire_time REAL, access_time REAL,"
            " access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0,"
            " mode INTEGER DEFAULT 0, filename TEXT, value BLOB)",
        ),
        (
            "index",
            "Cache_key_raw",
            "Cache",
            "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)",
        ),
        (
            "index",
            "Cache_expire_time",
            "Cache",
            "CREATE INDEX Cache_expire_time ON Cache (expire_time)",
        ),
        (
            "trigger",
            "Settings_count_insert",
            "Cache",
            f"CREATE TRIGGER Settings_count_insert AFTER INSERT {_ON_CACHE} + 1"
            ' WHERE key = "count"; END',
        ),
        (
            "trigger",
            "Settings_count_delete",
            "Cache",
            f"CREATE TRIGGER Settings_count_delete AFTER DELETE {_ON_CACHE} - 1"
            ' WHERE key = "count"; END',
        ),
        (
            "trigger",
            "Settings_size_insert",
            "Cache",
            f"CREATE TRIGGER Settings_size_insert AFTER INSERT {_ON_CACHE} + NEW.size"
            ' WHERE key = "size"; END',
        ),
        (
            "trigger",
            "Settings_size_update",
            "Cache",
            f"CREATE TRIGGER Settings_size_update AFTER UPDATE {_ON_CACHE} + NEW.size - OLD.size"
            ' WHERE key = "size"; END',
        ),
        (
            "trigger",
            "Settings_size_delete",
            "Cache",
            f"CREATE TRIGGER Settings_size_delete AFTER DELETE {_ON_CACHE} - OLD.size"
            ' WHERE key = "size"; END',
        ),
    }
)
"""Type, name, table and SQL of everything in the schema."""

_MAX_TEXT: Final = 1000


def preflight(connection: sqlite3.Connection) -> None:
    """Check a database's schema and settings, then that each page is used exactly once.

    A few forged pages could otherwise hold endless rows, or a key of a gigabyte. The connection
    must return text as bytes.

    Raises:
        StoreCorruptError: If the database is not quaycache's.
        sqlite3.Error: If it cannot be read.
    """
    if connection.execute("PRAGMA encoding").fetchone() != (b"UTF-8",):
        raise StoreCorruptError("its encoding is foreign")
    expected = {tuple(_as_stored(field) for field in row) for row in SCHEMA}
    schema = connection.execute(
        "SELECT substr(type, 1, :length), substr(name, 1, :length), substr(tbl_name, 1, :length),"
        " substr(sql, 1, :length) FROM sqlite_master LIMIT :rows",
        {"length": _MAX_TEXT, "rows": len(expected) + 1},
    ).fetchall()
    if len(schema) != len(expected) or set(schema) != expected:
        raise StoreCorruptError("its schema is foreign")
    settings = connection.execute(
        "SELECT substr(key, 1, :length), typeof(value), substr(value, 1, :length)"
        " FROM Settings LIMIT :rows",
        {"length": _MAX_TEXT, "rows": len(SETTINGS) + len(_COUNTERS) + 1},
    ).fetchall()
    counters = {(key.encode(), b"integer") for key in _COUNTERS}
    values = {
        (key.encode(), b"integer" if isinstance(value, int) else b"text", str(value).encode())
        for key, value in SETTINGS.items()
    }
    seen = {row[:2] if row[:2] in counters else row for row in settings}
    if len(settings) != len(seen) or seen != values | counters:
        raise StoreCorruptError("its settings are foreign")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != (b"ok",):
        raise StoreCorruptError("its pages are damaged")


def _as_stored(field: str | None) -> bytes | None:
    return None if field is None else field.encode("ascii")
