"""The lock of a directory, whose file may be removed while a process waits for it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from quaycache.store.disk.faults import LockUnavailableError, StoreInUseError
from quaycache.store.disk.lock import StoreLock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


def test_shared_or_exclusive(path: str) -> None:
    one, other = StoreLock(path), StoreLock(path)
    one.acquire(exclusive=False)
    other.acquire(exclusive=False)
    one.release()
    with pytest.raises(StoreInUseError):
        one.acquire(exclusive=True)
    other.release()
    one.acquire(exclusive=True)
    with pytest.raises(StoreInUseError):
        other.acquire(exclusive=False)
    one.release()
    one.release()


def test_a_removed_lock_file_is_not_held(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, next_one = StoreLock(path), StoreLock(path)
    real_flock = fcntl.flock
    cleaned: list[str] = []

    def flock_just_after_a_clean(descriptor: int, operation: int) -> None:
        if not cleaned:
            cleaned.append(path)
            os.unlink(path)
            Path(path).touch()
        real_flock(descriptor, operation)

    monkeypatch.setattr("quaycache.store.disk.lock.fcntl.flock", flock_just_after_a_clean)
    lock.acquire(exclusive=True)
    assert cleaned
    with pytest.raises(StoreInUseError):
        next_one.acquire(exclusive=False)
    lock.release()
    next_one.acquire(exclusive=False)
    next_one.release()


def test_a_lock_file_is_created_only_on_demand(path: str, tmp_path: Path) -> None:
    with pytest.raises(LockUnavailableError):
        StoreLock(path).acquire(exclusive=False, create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LockUnavailableError):
        StoreLock(str(tmp_path / "none" / "lock")).acquire(exclusive=False)


def test_a_dropped_lock_is_released(path: str) -> None:
    StoreLock(path).acquire(exclusive=True)
    lock = StoreLock(path)
    lock.acquire(exclusive=True)
    lock.release()
