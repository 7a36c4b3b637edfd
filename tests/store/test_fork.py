"""A process that is forked while a `DiskStore` is open, and its parent.

Each scenario is a program of its own: it forks, and the two talk through pipes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.store.samples import finished

pytestmark = pytest.mark.timeout(120)

PROGRAM = """
    import json, os, signal, sys, threading, time
    from quaycache.errors import StoreError
    from quaycache.model import StoredAnswer
    from quaycache.store.disk import store as disk
    from quaycache.store.disk.store import DiskStore
    from quaycache.store.keys import AnswerKey, Scope

    signal.alarm(30)
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    directory, how = sys.argv[1:]

    def put(store, name):
        now = time.time()
        entries = {AnswerKey(scope, "v1", name): StoredAnswer(None, now, now)}
        store.put_newer(entries, max_checked_at=now)

    def names(store):
        return sorted(store.load_answers(scope, "v1"))

    def use(store, name):
        if how == "read":
            names(store)
        else:
            put(store, name)

    def prunes():
        other = DiskStore(directory)
        try:
            other.prune(lambda row: True, quarantined_before=0.0)
        except StoreError as error:
            return "in use" not in str(error)
        finally:
            other.close()
        return True

    class Steps:
        "Two processes that wait for each other's steps."
        def __init__(self):
            self.ours, self.theirs = os.pipe(), os.pipe()
        def fork(self):
            child = os.fork()
            if not child:
                self.ours, self.theirs = self.theirs, self.ours
            return child
        def tell(self, what=None):
            os.write(self.theirs[1], json.dumps(what).encode() + b"\\n")
        def hear(self):
            line = b""
            while not line.endswith(b"\\n"):
                line += os.read(self.ours[0], 1) or sys.exit("the other process has ended")
            return json.loads(line)

    def seen(directory=directory):
        other = DiskStore(directory)
        found = names(other)
        other.close()
        return found

    store = DiskStore(directory)
    put(store, "before")
    store.close()
    store, steps = DiskStore(directory), Steps()
    use(store, "parent")
"""


def run(directory: Path, how: str, scenario: str) -> object:
    """What the two processes of a scenario print, one JSON value a line."""
    return [json.loads(line) for line in finished(PROGRAM + scenario, directory, how).splitlines()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


USES = pytest.mark.parametrize("how", ["read", "write"])


@USES
def test_a_child_does_not_keep_the_lock_that_its_parent_has_released(
    directory: Path, how: str
) -> None:
    scenario = """
    if not steps.fork():
        steps.hear()
        os._exit(0)
    use(store, "again")
    print(json.dumps(prunes()))
    store.close()
    print(json.dumps(prunes()))
    steps.tell()
    os.wait()
    """
    assert run(directory, how, scenario) == [False, True]


@USES
def test_a_child_that_exits_does_not_release_its_parents_lock(directory: Path, how: str) -> None:
    scenario = """
    use(store, "parent")
    if not steps.fork():
        use(store, "child")
        store.close()
        sys.exit()
    os.wait()
    use(store, "parent")
    print(json.dumps(prunes()))
    """
    assert run(directory, how, scenario) == [False]


def test_a_child_holds_its_own_lock(directory: Path) -> None:
    scenario = """
    if not steps.fork():
        put(store, "child")
        steps.tell()
        steps.hear()
        store.close()
        steps.tell()
        os._exit(0)
    store.close()
    steps.hear()
    print(json.dumps(prunes()))
    steps.tell()
    steps.hear()
    print(json.dumps(prunes()))
    """
    assert run(directory, "write", scenario) == [False, True]


@USES
def test_entries_of_both_are_kept(directory: Path, how: str) -> None:
    scenario = """
    if not steps.fork():
        put(store, "child-1")
        steps.tell()
        steps.hear()
        put(store, "child-2")
        steps.tell(names(store))
        steps.hear()
        store.close()
        os._exit(0)
    use(store, "parent-1")
    steps.hear()
    store.close()
    steps.tell()
    print(json.dumps(steps.hear()))
    print(json.dumps(seen()))
    steps.tell()
    os.wait()
    print(json.dumps(seen()))
    """
    written = ["parent", "parent-1"] if how == "write" else []
    expected = sorted(["before", "child-1", "child-2", *written])
    assert run(directory, how, scenario) == [expected] * 3


@USES
def test_a_grandchild_outlives_both(directory: Path, how: str) -> None:
    scenario = """
    if not steps.fork():
        if os.fork():
            os._exit(0)
        steps.hear()
        put(store, "daemon")
        steps.tell()
        steps.hear()
        put(store, "daemon-2")
        store.close()
        steps.tell()
        os._exit(0)
    os.wait()
    use(store, "parent-1")
    steps.tell()
    steps.hear()
    store.close()
    steps.tell()
    steps.hear()
    print(json.dumps(seen()))
    print(json.dumps(prunes()))
    """
    written = ["parent", "parent-1"] if how == "write" else []
    assert run(directory, how, scenario) == [
        sorted(["before", "daemon", "daemon-2", *written]),
        True,
    ]


@USES
def test_a_fork_during_a_long_query(directory: Path, how: str) -> None:
    """The fork does not wait for ever. The child has no cache: it cannot use SQLite."""
    scenario = """
    disk._FORK_SECONDS = 0.05
    busy, done = threading.Event(), threading.Event()

    def query(reader):
        busy.set()
        done.wait()

    thread = threading.Thread(target=lambda: store._read(query, None))
    thread.start()
    busy.wait()
    if not steps.fork():
        put(store, "child")
        found = names(store), seen(), seen(directory + "-2")
        steps.tell(found)
        steps.hear()
        os._exit(0)
    print(json.dumps(steps.hear()))
    print(json.dumps(prunes()))
    done.set()
    thread.join()
    put(store, "after")
    print(json.dumps(prunes()))
    store.close()
    print(json.dumps(prunes()))
    steps.tell()
    os.wait()
    print(json.dumps(seen()))
    """
    written = ["parent"] if how == "write" else []
    assert run(directory, how, scenario) == [
        [[], [], []],
        False,
        False,
        True,
        sorted(["after", "before", *written]),
    ]


def test_a_fork_during_a_prune_does_not_keep_the_directory_locked(directory: Path) -> None:
    scenario = """
    disk._FORK_SECONDS = 0.05
    busy, done = threading.Event(), threading.Event()

    def keep(row):
        busy.set()
        return done.wait()

    thread = threading.Thread(target=lambda: store.prune(keep, quarantined_before=0.0))
    thread.start()
    busy.wait()
    if not steps.fork():
        steps.hear()
        os._exit(0)
    done.set()
    thread.join()
    print(json.dumps(prunes()))
    put(store, "after")
    print(json.dumps(seen()))
    steps.tell()
    os.wait()
    """
    assert run(directory, "read", scenario) == [True, ["after", "before"]]


def test_threads_fork_at_once(directory: Path) -> None:
    scenario = """
    stores = [store, DiskStore(directory), DiskStore(directory + "-2")]
    children = []

    def work(number):
        for step in range(3):
            one = stores[(number + step) % 3]
            put(one, f"parent-{number}-{step}")
            child = os.fork()
            if not child:
                for other in stores:
                    put(other, f"child-{number}-{step}")
                    other.close()
                os._exit(0)
            children.append(child)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        os.waitpid(child, 0)
    print(json.dumps([len(names(stores[1])), len(names(stores[2]))]))
    """
    # Of three stores two are in one directory; each thread has written to each of them once.
    assert run(directory, "write", scenario) == [[2 + 6 + 9, 3 + 9]]
