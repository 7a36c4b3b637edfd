"""The records of a registry: tag lifetimes, repositories and namespaces.

Times are integer milliseconds UTC, as in Quay's database; answers floor them to seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TagLifetime:
    """A period in which a tag pointed at one manifest.

    A push, a retarget and a restore each end the current lifetime and start a new one; deletion
    and expiry only end it. A lifetime whose `end_ms` is in the future is alive and has an expiry.
    """

    name: str
    manifest_digest: str
    start_ms: int
    end_ms: int | None = None
    manifest_list: bool = False
    reversion: bool = False
    hidden: bool = False

    def visible_at(self, now_ms: int) -> bool:
        """Return whether this lifetime is neither hidden nor ended at `now_ms`."""
        return not self.hidden and (self.end_ms is None or self.end_ms > now_ms)


@dataclass(slots=True, eq=False)
class RepositoryRecord:
    """One repository with all lifetimes of its tags.

    Attributes:
        id: A number that increases with every new repository of the registry.
        rows: All lifetimes, in the order of their start.
        newest: The index in `rows` of each tag's newest lifetime.
        log: Every version of every row as (time of writing, index in `rows`, lifetime); it shows
            the rows as a lagging replica has them.
    """

    id: int
    namespace: str
    name: str
    public: bool
    state: str
    kind: str
    description: str | None
    created_ms: int
    deleted_ms: int | None = None
    rows: list[TagLifetime] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    log: list[tuple[int, int, TagLifetime]] = field(default_factory=list)

    def start(self, lifetime: TagLifetime, written_ms: int) -> None:
        """Add a lifetime as the newest of its name."""
        self.newest[lifetime.name] = len(self.rows)
        self.log.append((written_ms, len(self.rows), lifetime))
        self.rows.append(lifetime)

    def rewrite(self, lifetime: TagLifetime, written_ms: int) -> None:
        """Replace the newest lifetime of this name with one that has another end."""
        row = self.newest[lifetime.name]
        self.log.append((written_ms, row, lifetime))
        self.rows[row] = lifetime

    def tag(self, name: str, now_ms: int) -> TagLifetime | None:
        """Return the visible lifetime of the tag `name` at `now_ms`, or None."""
        row = self.newest.get(name)
        if row is None or not self.rows[row].visible_at(now_ms):
            return None
        return self.rows[row]

    def visible_tags(self, now_ms: int) -> Iterator[TagLifetime]:
        """Return the visible lifetimes at `now_ms`, in any order."""
        return (
            lifetime
            for lifetime in map(self.rows.__getitem__, self.newest.values())
            if lifetime.visible_at(now_ms)
        )

    def rows_written_by(self, as_of_ms: int) -> list[TagLifetime]:
        """Return the rows as they were stored at `as_of_ms`."""
        known = {row: lifetime for written, row, lifetime in self.log if written <= as_of_ms}
        return list(known.values())

    def last_modified(self, now_ms: int) -> int | None:
        """Return the newest start of a visible tag at `now_ms` in seconds, or None without tags."""
        newest = max((tag.start_ms for tag in self.visible_tags(now_ms)), default=None)
        return None if newest is None else newest // 1000


class NamespaceRecord:
    """The repositories of one namespace, by name and in order of their ids."""

    def __init__(self) -> None:
        self._by_name: dict[str, RepositoryRecord] = {}
        self._ids: list[int] = []
        self._in_order: list[RepositoryRecord] = []
        self._deleted: list[RepositoryRecord] = []

    def get(self, name: str) -> RepositoryRecord | None:
        """Return the repository that has this name now, or None."""
        return self._by_name.get(name)

    def get_as_of(self, name: str, as_of_ms: int) -> RepositoryRecord | None:
        """Return the repository that had this name at `as_of_ms`, even a deleted one, or None."""
        present = self._by_name.get(name)
        if present is not None and present.created_ms <= as_of_ms:
            return present
        for record in reversed(self._deleted):
            if record.name == name and record.created_ms <= as_of_ms:
                still_there = record.deleted_ms is None or record.deleted_ms > as_of_ms
                return record if still_there else None
        return None

    def add(self, record: RepositoryRecord) -> None:
        """Add a repository whose id is higher than all others."""
        self._by_name[record.name] = record
        self._ids.append(record.id)
        self._in_order.append(record)

    def delete(self, record: RepositoryRecord, now_ms: int) -> None:
        """Delete a repository; `get_as_of` still finds it."""
        record.deleted_ms = now_ms
        del self._by_name[record.name]
        position = bisect_left(self._ids, record.id)
        del self._ids[position], self._in_order[position]
        self._deleted.append(record)

    def from_id(self, first_id: int) -> Iterator[RepositoryRecord]:
        """Return the repositories whose id is `first_id` or higher, in order of their ids."""
        for position in range(bisect_left(self._ids, first_id), len(self._in_order)):
            yield self._in_order[position]
