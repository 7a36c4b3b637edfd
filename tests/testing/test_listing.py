"""The listing of a namespace: rows, visibility, pages and page tokens."""

from __future__ import annotations

import pytest

from quaycache.testing import QuayApi, Registry

from .reader import NOON, Reader


def walk(read: Reader, token: str | None = None) -> list[str]:
    names: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = read.page(token, **query)
        names += [row["name"] for row in page["repositories"]]
        if "next_page" not in page:
            return names
        query = {"next_page": page["next_page"]}


def page_tokens(read: Reader) -> list[str]:
    """Return the token of each page after the first."""
    tokens: list[str] = []
    page = read.page()
    while "next_page" in page:
        tokens.append(page["next_page"])
        page = read.page(next_page=tokens[-1])
    return tokens


def test_the_fields_of_a_row_and_their_order(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "nova", description="compute")
    registry.push("kolla", "nova", "v1")
    assert list(read.page()["repositories"][0].items()) == [
        ("namespace", "kolla"),
        ("name", "nova"),
        ("description", "compute"),
        ("is_public", True),
        ("kind", "image"),
        ("state", "NORMAL"),
        ("last_modified", int(NOON)),
    ]


def test_a_push_creates_a_public_repository_without_a_description(
    registry: Registry, read: Reader
) -> None:
    registry.push("kolla", "nova", "v1")
    row = read.page()["repositories"][0]
    assert (row["is_public"], row["description"]) == (True, None)


def test_last_modified_is_present_only_on_request(registry: Registry, read: Reader) -> None:
    registry.push("kolla", "nova", "v1")
    assert "last_modified" not in read.page(last_modified="false")["repositories"][0]


def test_last_modified_is_null_without_an_alive_tag(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "nova")
    assert read.page()["repositories"][0]["last_modified"] is None


def test_is_starred_is_present_only_for_an_accepted_token(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "nova")
    registry.add_user("ann", "good")
    assert "is_starred" not in read.page()["repositories"][0]
    assert read.page("good")["repositories"][0]["is_starred"] is False
    assert "is_starred" not in read.page("bad")["repositories"][0]


def test_pages_have_exactly_100_rows_in_order_of_creation(registry: Registry, read: Reader) -> None:
    names = [f"r{number}" for number in (7, 3, 9)] + [f"x{number}" for number in range(248)]
    for name in names:
        registry.create_repository("kolla", name)
    first = read.page()
    second = read.page(next_page=first["next_page"])
    third = read.page(next_page=second["next_page"])
    pages = (first, second, third)
    assert [len(page["repositories"]) for page in pages] == [100, 100, 51]
    assert [row["name"] for page in pages for row in page["repositories"]] == names


@pytest.mark.parametrize("parameter", ["limit", "page_size", "n", "per_page"])
def test_no_parameter_changes_the_size_of_a_page(
    registry: Registry, read: Reader, parameter: str
) -> None:
    registry.populate("kolla", 101)
    assert len(read.page(**{parameter: "7"})["repositories"]) == 100


def test_next_page_is_absent_on_the_last_page(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 101)
    first = read.page()
    assert "next_page" not in read.page(next_page=first["next_page"])


def test_exactly_100_repositories_are_one_page(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 100)
    page = read.page()
    assert len(page["repositories"]) == 100
    assert "next_page" not in page


def test_empty_missing_misspelled_and_private_namespaces_look_the_same(
    registry: Registry, read: Reader
) -> None:
    registry.create_repository("kolla", "gone")
    registry.delete_repository("kolla", "gone")
    registry.create_repository("secret", "nova", public=False)
    for namespace in ("kolla", "nobody", "Kolla", "secret"):
        assert read.page(namespace=namespace) == {"repositories": []}


def test_a_token_differs_on_every_call(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 101)
    assert len({read.page()["next_page"] for _ in range(10)}) == 10


def test_a_token_is_reusable(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 150)
    token = read.page()["next_page"]
    assert read.names(next_page=token) == read.names(next_page=token)
    assert len(read.names(next_page=token)) == 50


def test_a_token_is_valid_for_every_namespace(registry: Registry, read: Reader) -> None:
    registry.populate("other", 150)
    registry.populate("kolla", 150)
    token = read.page(namespace="other")["next_page"]
    assert read.names(next_page=token) == read.names()


def test_a_token_is_valid_for_every_user(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 150)
    registry.add_user("ann", "good", namespaces=["kolla"])
    token = read.page("good")["next_page"]
    assert len(read.names(next_page=token)) == 50


def test_a_token_lasts_48_hours(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 150)
    token = read.page()["next_page"]
    registry.advance(48 * 3600)
    assert len(read.names(next_page=token)) == 50
    registry.advance(1)
    assert len(read.names(next_page=token)) == 100


def test_an_invalid_token_gets_page_1(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 150)
    token = read.page()["next_page"]
    middle = len(token) // 2
    other = "A" if token[middle] != "A" else "B"
    altered = token[:middle] + other + token[middle + 1 :]
    for bad in ("nonsense", token[:-4], token[:-1], altered, "é", "A" * 5000):
        assert read.names(next_page=bad) == read.names(), bad


def test_a_token_of_another_server_gets_page_1(registry: Registry, read: Reader) -> None:
    registry.populate("kolla", 150)
    foreign = Reader(QuayApi(registry)).page()["next_page"]
    assert read.names(next_page=foreign) == read.names()


def test_changes_during_a_walk_neither_duplicate_nor_skip_a_survivor(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 250, name="r{:03d}")
    first = read.page()
    registry.delete_repository("kolla", "r000")
    registry.delete_repository("kolla", "r100")
    registry.delete_repository("kolla", "r150")
    registry.set_public("kolla", "r001", False)
    registry.set_public("kolla", "r120", False)
    registry.push("kolla", "a-new-one", "v1")
    rest, page = [], first
    while "next_page" in page:
        page = read.page(next_page=page["next_page"])
        rest += [row["name"] for row in page["repositories"]]
    survivors = [f"r{number:03d}" for number in range(100, 250) if number not in (100, 120, 150)]
    assert rest == [*survivors, "a-new-one"]


def second_page(read: Reader, tokens: list[str]) -> tuple[list[str], list[str]]:
    """Return page 2 by the token of an earlier walk, and by page 1's own token now."""
    return read.names(next_page=tokens[0]), read.names(next_page=read.page()["next_page"])


def test_pages_by_earlier_tokens_overlap_after_a_deletion_or_a_hiding(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 250, name="r{:03d}")
    tokens = page_tokens(read)
    registry.delete_repository("kolla", "r000")
    registry.set_public("kolla", "r001", False)
    earlier, current = second_page(read, tokens)
    assert read.names()[-2:] == earlier[:2] == ["r100", "r101"]
    assert current[0] == "r102"


def test_a_repository_created_after_a_walk_makes_its_last_page_longer(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 150, name="r{:03d}")
    tokens = page_tokens(read)
    registry.populate("kolla", 60, name="s{:03d}")
    last = read.page(next_page=tokens[-1])
    assert len(last["repositories"]) == 100
    assert read.names(next_page=last["next_page"])[-1] == "s059"


def test_a_repository_shown_again_on_page_1_hides_another_from_pages_by_earlier_tokens(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 250, name="r{:03d}")
    registry.set_public("kolla", "r050", False)
    tokens = page_tokens(read)
    registry.set_public("kolla", "r050", True)
    earlier, current = second_page(read, tokens)
    assert "r100" not in read.names() + earlier
    # The sign of the gap: page 1's own token leads to another first row.
    assert (current[0], earlier[0]) == ("r100", "r101")


def test_a_repository_between_two_pages_that_becomes_public_is_missed_without_a_sign(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 250, name="r{:03d}")
    registry.set_public("kolla", "r100", False)
    tokens, before = page_tokens(read), read.names()
    registry.set_public("kolla", "r100", True)
    earlier, current = second_page(read, tokens)
    assert read.names() == before
    assert (current[0], earlier[0]) == ("r100", "r101")


def test_a_repository_recreated_during_a_walk_is_shown_twice(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 150, name="r{:03d}")
    first = read.page()
    registry.delete_repository("kolla", "r000")
    registry.create_repository("kolla", "r000")
    last = read.page(next_page=first["next_page"])["repositories"][-1]
    assert first["repositories"][0]["name"] == last["name"] == "r000"
    assert first["repositories"][0]["last_modified"] is not None
    assert last["last_modified"] is None


def test_all_states_but_marked_for_deletion_are_listed(registry: Registry, read: Reader) -> None:
    for state in ("NORMAL", "READ_ONLY", "MIRROR", "ORG_MIRROR", "MARKED_FOR_DELETION"):
        registry.create_repository("kolla", state.lower(), state=state)
    assert [row["state"] for row in read.page()["repositories"]] == [
        "NORMAL",
        "READ_ONLY",
        "MIRROR",
        "ORG_MIRROR",
    ]


def test_only_images_are_listed(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "chart", kind="application")
    assert read.names() == []
    assert read.names(repo_kind="application") == ["chart"]


def test_an_anonymous_listing_is_empty_without_public(registry: Registry, read: Reader) -> None:
    registry.create_repository("kolla", "nova")
    for value in ("false", "0", ""):
        assert read.names(public=value) == []


def test_an_authenticated_listing_shows_the_repositories_that_the_user_may_read(
    registry: Registry, read: Reader
) -> None:
    registry.create_repository("kolla", "nova")
    registry.create_repository("kolla", "secret", public=False)
    registry.add_user("ann", "member", namespaces=["kolla"])
    registry.add_user("bob", "outsider")
    assert read.names() == ["nova"]
    assert read.names("member") == ["nova", "secret"]
    assert read.names("outsider") == ["nova"]
    assert read.names("member", public="false") == ["nova", "secret"]
    assert read.names("outsider", public="false") == []


def test_a_listing_requires_a_namespace(api: QuayApi) -> None:
    assert api.listing({}).status == 400


def test_all_pages_of_a_namespace_with_50_000_repositories(
    registry: Registry, read: Reader
) -> None:
    registry.populate("kolla", 50_000, every=3, tag="v1")
    names = walk(read)
    assert len(names) == len(set(names)) == 50_000
    assert names[-1] == "repository-49999"
    assert [bool(read.tag("v1", name)) for name in names[:6]] == [True, False, False] * 2
