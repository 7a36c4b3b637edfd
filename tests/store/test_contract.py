"""The contract of every `Store`, with trusted contents."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from quaycache.errors import StoreError
from quaycache.model import StoredAnswer
from quaycache.store.entry import MAX_LISTING, Entry
from quaycache.store.keys import AnswerKey, Key, encode_key
from quaycache.store.protocol import Row, Store
from tests.store.conftest import Place
from tests.store.samples import (
    LATEST,
    LISTING_KEY,
    NOW,
    SCOPE,
    absent,
    finished,
    key,
    listing,
    merge,
    present,
    process,
    warnings,
)

STORE_ONE = """
    import sys
    from quaycache.model import StoredAnswer
    from quaycache.store.choice import store_at
    from quaycache.store.keys import AnswerKey, Scope
    scope = Scope("https://quay.io/api/v1", "anon", "kolla")
    store = store_at(sys.argv[1] or None, sys.argv[2] or None)
    store.put_newer(
        {AnswerKey(scope, "v1", name): StoredAnswer(None, 1795000000.0, 4e9)
         for name in sys.argv[3:]},
        max_checked_at=2e9,
    )
    store.close()
"""

OPEN = """
    import sys
    from quaycache.store.choice import store_at
    from quaycache.store.keys import Scope
    store = store_at(sys.argv[1] or None, sys.argv[2] or None)
    print(len(store.load_answers(Scope("https://quay.io/api/v1", "anon", "kolla"), "v1")))
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_it_is_a_store(store: Store) -> None:
    assert store.describe().size == 0
    assert list(store.rows()) == []


def test_stored_entries_are_found(store: Store) -> None:
    merge(store, {key(): present(), key("nova-compute"): absent(), LISTING_KEY: listing()})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present(), "nova-compute": absent()}
    assert store.load_answer(key()) == present()
    assert store.load_answer(key("glance")) is None
    assert store.load_listing(SCOPE) == listing()


def test_another_process_finds_it(store: Store, place: Place) -> None:
    assert store.load_answers(SCOPE, "v1") == {}
    finished(STORE_ONE, *place.words, "a")
    assert list(store.load_answers(SCOPE, "v1")) == ["a"]
    with process(OPEN, *place.words) as seen:
        assert seen == "1"
    finished(STORE_ONE, *place.words, "a", "b")
    assert list(store.load_answers(SCOPE, "v1")) == ["a", "b"]


def test_two_stores_of_one_process_see_each_others_entries(store: Store, place: Place) -> None:
    other = place.open()
    for number, writer in enumerate((store, other, store)):
        merge(writer, {key(f"r{number}"): absent()})
        for reader in (store, other):
            assert len(reader.load_answers(SCOPE, "v1")) == number + 1
            assert reader.load_answer(key(f"r{number}")) == absent()
    other.close()


def test_a_caller_may_change_a_loaded_dict(store: Store) -> None:
    merge(store, {key(): absent()})
    store.load_answers(SCOPE, "v1").clear()
    assert store.load_answers(SCOPE, "v1") == {"nova-api": absent()}


def test_a_changed_answer_is_loaded_again(store: Store) -> None:
    merge(store, {key(): absent(), key("glance"): absent()})
    store.load_answers(SCOPE, "v1")
    merge(store, {key(): present(NOW + 1)})
    store.remove_if_not_newer({key("glance"): NOW})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present(NOW + 1)}


def test_many_tags_are_loaded_again_and_again(store: Store) -> None:
    tags = [f"v{number}" for number in range(20)]
    merge(store, {key(tag=tag): present(tag=tag) for tag in tags})
    for tag in tags * 2:
        assert store.load_answers(SCOPE, tag) == {"nova-api": present(tag=tag)}


@pytest.mark.parametrize(
    ("stored", "comes", "latest", "kept"),
    [
        (NOW, NOW + 1, LATEST, NOW + 1),
        (NOW + 1, NOW, LATEST, NOW + 1),
        (NOW + 1, NOW, NOW + 1, NOW + 1),
        (NOW + 2, NOW, NOW + 1, NOW),
    ],
)
def test_the_newer_entry_is_kept_unless_its_time_is_impossible(
    store: Store, stored: float, comes: float, latest: float, kept: float
) -> None:
    merge(store, {key(): present(stored), LISTING_KEY: listing(stored)})
    merge(store, {key(): absent(comes), LISTING_KEY: listing(comes)}, latest)
    answer, kept_listing = store.load_answer(key()), store.load_listing(SCOPE)
    assert answer == (present(kept) if kept == stored else absent(kept))
    assert kept_listing == listing(kept)


def test_a_new_entry_of_the_same_time_is_kept(store: Store) -> None:
    merge(store, {key(): present()})
    merge(store, {key(): absent()})
    assert store.load_answer(key()) == absent()


def test_a_removal_keeps_newer_entries(store: Store) -> None:
    merge(store, {key("old"): absent(), key("new"): absent(NOW + 1), LISTING_KEY: listing()})
    store.remove_if_not_newer(
        {key("old"): NOW, key("new"): NOW, key("none"): NOW, LISTING_KEY: NOW}
    )
    assert store.load_answers(SCOPE, "v1") == {"new": absent(NOW + 1)}
    assert store.load_listing(SCOPE) is None


def test_unlisted_repositories_are_removed_for_every_tag(store: Store) -> None:
    elsewhere = SCOPE._replace(namespace="kolla2")
    spared: list[Key] = [
        key("glance"),
        key("nova"),
        key("a/nova-api"),
        key(scope=elsewhere),
        key(scope=SCOPE._replace(identity="0" * 64)),
        LISTING_KEY,
    ]
    entries: dict[Key, Entry] = {one: absent() for one in spared[:-1]}
    merge(store, {**entries, LISTING_KEY: listing()})
    merge(store, {key(tag=f"v{number}"): absent() for number in range(3)})
    merge(store, {key("nova-db"): absent(), key("nova-db", "new"): absent(NOW + 1)})
    store.discard_unlisted(SCOPE, ["glance", "nova", "a/nova-api", "none"], until=NOW)
    expected = {encode_key(one) for one in (*spared, key("nova-db", "new"))}
    assert {encode_key(row.key) for row in store.rows()} == expected


@pytest.mark.parametrize(
    "neighbour",
    [
        key(tag="v1.1"),
        key(tag="v"),
        key(tag="V1"),
        key(scope=SCOPE._replace(namespace="kolla.b")),
        key(scope=SCOPE._replace(namespace="koll")),
        key(scope=SCOPE._replace(identity="0" * 64)),
        key(scope=SCOPE._replace(api_base="https://quay.io:8443/api/v1")),
        key(scope=SCOPE._replace(api_base="http://quay.io/api/v1")),
    ],
)
def test_neighbours_do_not_see_each_other(store: Store, neighbour: AnswerKey) -> None:
    merge(store, {key(): present(), neighbour: present(NOW + 1, neighbour.tag)})
    assert store.load_answers(SCOPE, "v1") == {"nova-api": present()}
    assert store.load_answers(neighbour.scope, neighbour.tag) == {
        "nova-api": present(NOW + 1, neighbour.tag)
    }
    store.discard_unlisted(SCOPE, ["nova"], until=LATEST)
    same_scope = neighbour.scope == SCOPE
    assert (store.load_answer(neighbour) is None) == same_scope


def test_rows_come_in_the_order_of_their_keys(store: Store) -> None:
    entries: dict[Key, Entry] = {key(f"r{number:04}"): absent() for number in range(700)}
    merge(store, {**entries, LISTING_KEY: listing()})
    rows = list(store.rows())
    assert [row.key for row in rows] == [*entries, LISTING_KEY]
    assert [row.entry for row in rows] == [*entries.values(), listing()]
    assert all(row.size > 60 for row in rows)


def test_a_closed_store_is_empty(store: Store, place: Place) -> None:
    merge(store, {key(): absent(), LISTING_KEY: listing()})
    store.close()
    store.close()
    merge(store, {key("b"): absent()})
    store.remove_if_not_newer({key(): LATEST})
    assert store.load_answers(SCOPE, "v1") == {}
    assert store.load_answer(key()) is None
    assert store.load_listing(SCOPE) is None
    assert list(store.rows()) == []
    with pytest.raises(StoreError, match="closed"):
        store.clean()
    again = place.open()
    assert again.load_answers(SCOPE, "v1") == {"nova-api": absent()}
    again.close()


def test_any_thread_can_close_it(store: Store) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(merge, store, {key(): absent()}).result()
    assert store.load_answer(key()) == absent()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(store.close).result()


def test_many_threads_store_at_once(store: Store, place: Place) -> None:
    other = place.open()

    def work(number: int) -> None:
        target = (store, other)[number % 2]
        for step in range(10):
            merge(target, {key(f"r{number}-{step}"): absent(), key("same"): absent(NOW + number)})
            target.load_answers(SCOPE, "v1")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    loaded = store.load_answers(SCOPE, "v1")
    assert len(loaded) == 81
    assert loaded["same"] == absent(NOW + 7)
    other.close()


def test_an_interrupted_prune_loses_nothing(store: Store) -> None:
    merge(store, {key(): absent()})

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prune(interrupt, quarantined_before=0.0)
    assert store.load_answer(key()) == absent()


def test_an_entry_that_is_too_large_is_left_out(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    large = listing(**{f"{number:0200}": 1 for number in range(MAX_LISTING // 200)})
    store = place.open()
    merge(store, {LISTING_KEY: large, key(): absent()})
    assert store.load_listing(SCOPE) is None
    assert store.load_answer(key()) == absent()
    store.close()
    assert ["too large" in line for line in warnings(caplog)] == [True]


def test_logging_gets_no_handlers(store: Store) -> None:
    merge(store, {key(): absent()})
    assert logging.getLogger("quaycache.store").handlers == []


def test_many_processes_share_it(store: Store, place: Place) -> None:
    def work(number: int) -> str:
        return finished(STORE_ONE, *place.words, f"r{number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(8)))
    assert len(store.load_answers(SCOPE, "v1")) == 8


def test_a_prune_keeps_the_chosen_rows(store: Store) -> None:
    merge(store, {key(f"r{number}"): absent(NOW + number) for number in range(3000)})
    merge(store, {LISTING_KEY: listing()})
    size = store.describe().size

    def keep(row: Row) -> bool:
        return not isinstance(row.entry, StoredAnswer) or row.entry.checked_at < NOW + 10

    would = store.prune(keep, quarantined_before=0.0, dry_run=True)
    assert (would.rows, would.quarantines) == (2990, 0)
    assert would.freed > 0
    assert len(store.load_answers(SCOPE, "v1")) == 3000
    pruned = store.prune(keep, quarantined_before=0.0)
    assert (pruned.rows, pruned.quarantines) == (2990, 0)
    assert 100_000 < pruned.freed <= size - store.describe().size
    assert len(store.load_answers(SCOPE, "v1")) == 10
    assert store.load_listing(SCOPE) == listing()
    merge(store, {key("after"): absent()})
    assert len(store.load_answers(SCOPE, "v1")) == 11


def test_after_a_clean_it_is_empty_and_works(store: Store) -> None:
    merge(store, {key(): absent(), LISTING_KEY: listing()})
    assert store.clean() > 0
    assert list(store.rows()) == []
    assert store.load_answers(SCOPE, "v1") == {}
    merge(store, {key(): present()})
    assert store.load_answer(key()) == present()


def test_a_claim_returns_stored_answers(store: Store) -> None:
    merge(store, {key("a"): present(), key("b"): absent(), key("c", "v2"): absent()})
    claimed = store.claim(SCOPE, "v1", ["a", "b", "c"], seconds=2)
    assert claimed.answers == {"a": present(), "b": absent()}
    assert list(claimed.claimed_elsewhere) == []
    assert list(store.claim(SCOPE, "v1", ["a", "b", "c"], seconds=2).claimed_elsewhere) == []
    assert [row.key for row in store.rows()] == [key("a"), key("b"), key("c", "v2")]


def test_a_release_leaves_answers(store: Store) -> None:
    merge(store, {key("a"): present(), key("b"): absent()})
    store.claim(SCOPE, "v1", ["a", "b", "c"], seconds=30)
    store.release(SCOPE, "v1", ["a", "c"])
    assert list(store.claim(SCOPE, "v1", ["a", "c"], seconds=2).claimed_elsewhere) == []
    assert store.load_answers(SCOPE, "v1") == {"a": present(), "b": absent()}
    store.close()
    store.release(SCOPE, "v1", ["a"])
