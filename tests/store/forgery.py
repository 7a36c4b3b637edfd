"""Databases that SQLite would never write: pages of an index, forged byte by byte.

The format: https://www.sqlite.org/fileformat.html, sections 1.3, 1.6 and 2.1.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

PAGE: int = 4096
LEAF, INTERIOR = 0x0A, 0x02
PAGES_AT = 28
"""Where the header counts the pages."""


class Index:
    """The index of keys of a closed database, to be replaced."""

    def __init__(self, database: Path) -> None:
        self._path = database
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            find = "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_key_raw'"
            (self._root,) = connection.execute(find).fetchone()
            rows = connection.execute("SELECT key, raw, rowid FROM Cache ORDER BY key").fetchall()
        self.records = [_record(*row) for row in rows]
        self._bytes = bytearray(database.read_bytes())

    def unsorted(self) -> None:
        """Every entry is there, in the wrong order."""
        self._set(self._root, _page(LEAF, list(map(_cell, reversed(self.records)))))
        self._save()

    def endless(self, depth: int = 6, fan: int = 30) -> None:
        """A few pages, of which each names the next one many times: some billions of entries."""
        child = self._add(_page(LEAF, list(map(_cell, self.records[:1] * fan))))
        for level in range(depth):
            cells = [struct.pack(">I", child) + _cell(self.records[0])] * fan
            page = _page(INTERIOR, cells, child)
            if level < depth - 1:
                child = self._add(page)
        self._set(self._root, page)
        self._save()

    def huge_key(self, size: int = 400_000_000) -> None:
        """One key on one overflow page that is its own successor, in a file with holes."""
        overflow = self._add(bytes(PAGE))
        self._set(overflow, struct.pack(">I", overflow) + b"a" * (PAGE - 4))
        header = _varint(13 + 2 * size) + _varint(9) + _varint(1)
        payload = len(header) + 1 + size + 1
        least, most = (PAGE - 12) * 32 // 255 - 23, (PAGE - 12) * 64 // 255 - 23
        local = least + (payload - least) % (PAGE - 4)
        local = local if local <= most else least
        start = bytes([len(header) + 1]) + header + self.records[0][4:40]
        cell = _varint(payload) + start.ljust(local, b"a") + struct.pack(">I", overflow)
        self._set(self._root, _page(LEAF, [cell]))
        pages = size // PAGE + len(self._bytes) // PAGE
        struct.pack_into(">I", self._bytes, PAGES_AT, pages)
        self._save()
        os.truncate(self._path, pages * PAGE)

    def _add(self, page: bytes) -> int:
        self._bytes += page
        number = len(self._bytes) // PAGE
        struct.pack_into(">I", self._bytes, PAGES_AT, number)
        return number

    def _set(self, number: int, page: bytes) -> None:
        self._bytes[(number - 1) * PAGE : number * PAGE] = page

    def _save(self) -> None:
        self._path.write_bytes(self._bytes)


def _page(kind: int, cells: list[bytes], right: int | None = None) -> bytes:
    page, end, pointers = bytearray(PAGE), PAGE, 8 if right is None else 12
    for number, cell in enumerate(cells):
        end -= len(cell)
        page[end : end + len(cell)] = cell
        struct.pack_into(">H", page, pointers + 2 * number, end)
    struct.pack_into(">BHHHB", page, 0, kind, 0, len(cells), end, 0)
    if right is not None:
        struct.pack_into(">I", page, 8, right)
    return bytes(page)


def _cell(record: bytes) -> bytes:
    return _varint(len(record)) + record


def _record(key: str, raw: int, rowid: int) -> bytes:
    text = key.encode()
    assert raw == 1
    types = _varint(13 + 2 * len(text)) + _varint(9) + _varint(6)
    return bytes([len(types) + 1]) + types + text + struct.pack(">q", rowid)


def _varint(number: int) -> bytes:
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(0x80 | number & 0x7F)
    return bytes(reversed(parts))
