"""Revisions: the texts that name commits, against a model of a small history."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.commits import Commits
from dsvc.history.head import Head, HeadMove
from dsvc.history.revisions import (
    AmbiguousIdError,
    UnbornHeadError,
    UnknownRevisionError,
    find_ref,
    resolve,
    resolve_any,
    resolve_range,
    resolve_ref,
    split_path,
    split_range,
)
from dsvc.history.store import Store
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from tests.history_support import DAY, NOON, Clock, commit_object, make_store, move_refs, tag_object


class World(NamedTuple):
    """A store, and what is in it: commits by name.

    A, B, C and D are main; E and F came from B and went into D: side/topic. v1 is a tag object of B.
    """

    store: Store
    state: State
    ids: dict[str, ObjectId]
    tag: ObjectId
    head: Head

    def resolve(self, text: str, head: Head | None = None) -> str:
        """Return the name of the commit."""
        found = resolve(self.store, self.state, text, head=head or self.head)
        return next(name for name, one in self.ids.items() if one == found)


PARENTS = {"A": "", "B": "A", "C": "B", "E": "B", "F": "E", "D": "CF"}
REFS = {
    "refs/heads/main": "D",
    "refs/heads/side/topic": "F",
    "refs/heads/both": "C",
    "refs/tags/both": "A",
    "refs/tags/vision/imagenet@1.2.0": "B",
    "refs/remotes/origin/main": "C",
    "refs/remotes/elsewhere/main": "E",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    clock = Clock(NOON - 10 * DAY)
    store = make_store(tmp_path_factory.mktemp("store"), clock)
    writer = store.writer()
    ids: dict[str, ObjectId] = {}
    for name, parents in PARENTS.items():
        ids[name] = commit_object(writer, [ids[parent] for parent in parents], message=name)
    tag = tag_object(writer, ids["B"])
    sealed = [writer.seal()]
    store.publish(lambda _: [], sealed)
    # main was A ten days ago, then B, C and D, one a day.
    for name in "ABC":
        move_refs(store, {"refs/heads/main": ids[name]})
        clock.time += DAY
    move_refs(store, {"refs/heads/gone": ids["E"]})
    move_refs(store, {"refs/heads/gone": None})
    state = move_refs(store, {**{ref: ids[name] for ref, name in REFS.items()}, "refs/tags/v1": tag})
    clock.time = NOON
    return World(store, state, ids, tag, Head("refs/heads/main", ids["D"]))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HEAD", "D"),
        ("@", "D"),
        ("main", "D"),
        ("heads/main", "D"),
        ("refs/heads/main", "D"),
        ("side/topic", "F"),
        ("v1", "B"),
        ("tags/v1", "B"),
        ("vision/imagenet@1.2.0", "B"),
        ("vision/imagenet@1.2.0~1", "A"),
        ("origin/main", "C"),
        ("remotes/origin/main", "C"),
        ("both", "A"),
        ("heads/both", "C"),
        ("HEAD~", "C"),
        ("HEAD~0", "D"),
        ("@~2", "B"),
        ("HEAD^", "C"),
        ("HEAD^2", "F"),
        ("HEAD^0", "D"),
        ("HEAD^^2", None),
        ("HEAD^2^", "E"),
        ("HEAD^2~2", "B"),
        ("HEAD~4", None),
        ("v1^{}", "B"),
        ("v1^0", "B"),
        ("v1^{commit}~1", "A"),
        ("main@{0}", "D"),
        ("main@{1}", "C"),
        ("main@{3}", "A"),
        ("main@{4}", None),
        ("@{1}", "C"),
        ("main@{1}~1", "B"),
        ("main@{2026-07-22}", "A"),
        ("main@{2026-07-23}", "B"),
        ("main@{2026-07-23 11:00}", "A"),
        ("main@{9 days ago}", "B"),
        ("main@{yesterday}", "D"),
        ("main@{2020-01-01}", None),
        ("main@{not a date}", None),
        ("gone", None),
        ("gone@{0}", None),
        ("gone@{1}", "E"),
        ("@{u}", "C"),
        ("@{upstream}", "C"),
        ("main@{u}~1", "B"),
        ("HEAD@{upstream}", "C"),
        ("side/topic@{u}", None),
        ("v1@{u}", None),
        ("@{-1}", None),
        ("-", None),
        ("", None),
        ("nothing", None),
        ("main^{tree}", None),
        ("main^{nothing}", None),
        ("main:", None),
        ("main~x", None),
        ("main@{1}@{1}", None),
        ("~1", None),
        ("refs/heads", None),
        ("00000000", None),
        ("0" * 64, None),
    ],
)
def test_a_text_names_the_commit_that_git_would_name(world: World, text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(UnknownRevisionError) as caught:
            world.resolve(text)
        assert text in str(caught.value)
        assert caught.value.text == text
    else:
        assert world.resolve(text) == name


@given(st.data())
def test_every_commit_is_named_by_its_id_and_by_its_first_digits(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(world.ids)))
    digits = world.ids[name].hex()[: data.draw(st.integers(4, 64))]
    twins = [one for one in [*world.ids.values(), world.tag] if one.hex().startswith(digits)]

    for spelled in (digits, digits.upper()):
        if len(twins) == 1:
            assert world.resolve(spelled) == name
        else:
            with pytest.raises(AmbiguousIdError):
                world.resolve(spelled)


@given(st.lists(st.tuples(st.sampled_from("~^"), st.integers(0, 3)), max_size=4))
def test_steps_from_a_commit_follow_its_parents(world: World, steps: list[tuple[str, int]]) -> None:
    place: str | None = "D"
    for sign, number in steps:
        for parent in [1] * number if sign == "~" else [number] * (number > 0):
            parents = PARENTS[place] if place else ""
            place = parents[parent - 1] if place and parent <= len(parents) else None
    text = "main" + "".join(f"{sign}{number}" for sign, number in steps)

    if place:
        assert world.resolve(text) == place
    else:
        with pytest.raises(UnknownRevisionError):
            world.resolve(text)


@given(st.text(max_size=20))
def test_any_text_is_resolved_or_refused(world: World, text: str) -> None:
    for named in (resolve, resolve_any):
        with suppress(UnknownRevisionError, AmbiguousIdError):
            named(world.store, world.state, text, head=world.head)


def test_an_ambiguous_id_names_all_that_it_may_be(tmp_path: Path) -> None:
    store = make_store(tmp_path, Clock())
    writer = store.writer()
    by_start: dict[str, list[ObjectId]] = {}
    number = 0
    # Two of the first few hundred ids begin with the same four digits.
    while max(map(len, by_start.values()), default=0) < 2:
        commit_id = commit_object(writer, message=str(number))
        by_start.setdefault(commit_id.hex()[:4], []).append(commit_id)
        number += 1
    sealed = [writer.seal()]
    state = store.publish(lambda _: [], sealed)
    digits, twins = next((start, ids) for start, ids in by_start.items() if len(ids) > 1)

    with pytest.raises(AmbiguousIdError, match=digits) as caught:
        resolve(store, state, digits)

    assert set(caught.value.candidates) == set(twins)
    assert all(f"commit {twin.hex()[:12]}" in str(caught.value) for twin in twins)


def test_objects_of_other_kinds_are_named_too(world: World) -> None:
    def kind(text: str) -> Kind:
        return resolve_any(world.store, world.state, text, head=world.head).kind

    tree = resolve_any(world.store, world.state, "main^{tree}", head=world.head)
    assert tree.kind == kind(tree.id.hex()) == kind(tree.id.hex()[:10]) == Kind.PAGE
    assert kind("v1") == kind("v1^{tag}") == kind("v1^{object}") == Kind.TAG
    assert kind("v1^{}") == kind("main") == Kind.COMMIT
    with pytest.raises(UnknownRevisionError, match="it is a tree, not a commit"):
        world.resolve(tree.id.hex())


def test_an_id_that_is_also_a_name_is_an_id_only_if_whole(world: World) -> None:
    short, whole = world.ids["A"].hex()[:8], world.ids["A"].hex()
    state = move_refs(world.store, {f"refs/heads/{short}": world.ids["B"], f"refs/heads/{whole}": world.ids["B"]})

    assert resolve(world.store, state, short) == world.ids["B"]
    assert resolve(world.store, state, whole) == world.ids["A"]


def test_before_the_first_commit_head_names_nothing(world: World) -> None:
    with pytest.raises(UnbornHeadError, match="your current branch `new` does not have any commits yet"):
        world.resolve("HEAD~2", Head("refs/heads/new", None))


def moved(*moves: tuple[str, ObjectId]) -> Head:
    """Return a HEAD that was each of *moves*, the oldest first, one a day."""
    newest_first = [
        HeadMove(number, NOON + (number - len(moves)) * DAY, "", "", head, commit)
        for number, (head, commit) in enumerate(moves)
    ][::-1]
    last = newest_first[0]
    ref = last.head if last.head.startswith("refs/") else None
    return Head(ref, last.commit, lambda: iter(newest_first))


def test_earlier_heads_are_named_by_switches_and_by_moves(world: World) -> None:
    ids = world.ids
    head = moved(
        ("refs/heads/main", ids["A"]),
        (ids["E"].hex(), ids["E"]),
        ("refs/heads/side/topic", ids["E"]),
        ("refs/heads/side/topic", ids["F"]),
        ("refs/heads/main", ids["D"]),
    )

    assert world.resolve("-", head) == world.resolve("@{-1}", head) == "F"
    assert world.resolve("@{-1}~1", head) == "E"
    assert world.resolve("@{-2}", head) == "E"
    assert resolve_ref(world.store, world.state, "-", head=head) == "refs/heads/side/topic"
    assert resolve_ref(world.store, world.state, "@{-2}", head=head) is None
    assert [world.resolve(f"HEAD@{{{number}}}", head) for number in range(5)] == list("DFEEA")
    assert world.resolve("HEAD@{3 days ago}", head) == "E"


def test_refs_are_named_without_looking_at_what_they_point_to(world: World) -> None:
    def ref(text: str) -> str | None:
        return resolve_ref(world.store, world.state, text, head=world.head)

    assert ref("HEAD") == ref("@") == ref("main") == ref("refs/heads/main") == "refs/heads/main"
    assert ref("both") == find_ref(world.state, "both") == "refs/tags/both"
    assert ref("main@{u}") == ref("origin/main") == "refs/remotes/origin/main"
    assert ref("main~1") is ref("main@{1}") is ref("nothing") is ref("HEAD@{-1}") is None
    other = Head("refs/heads/main", None, upstreams={"refs/heads/main": "refs/remotes/elsewhere/main"})
    assert resolve_ref(world.store, world.state, "@{u}", head=other) == "refs/remotes/elsewhere/main"


@pytest.mark.parametrize(
    ("words", "include", "exclude"),
    [
        (["main"], "D", ""),
        (["v1..main"], "D", "B"),
        (["v1.."], "D", "B"),
        (["..v1"], "B", "D"),
        (["main", "^v1"], "D", "B"),
        (["heads/both...side/topic"], "CF", "B"),
        (["main^!"], "D", "CF"),
        (["main@{2}..main", "side/topic"], "DF", "B"),
    ],
)
def test_ranges_name_what_to_include_and_what_to_exclude(
    world: World, words: list[str], include: str, exclude: str
) -> None:
    found = resolve_range(world.store, world.state, words, head=world.head)

    assert found.include == tuple(world.ids[name] for name in include)
    assert found.exclude == tuple(world.ids[name] for name in exclude)


@pytest.mark.parametrize("word", ["..", "a..b", "main..nothing", "^", "^main..side/topic", "main....main"])
def test_a_range_with_an_unknown_side_is_refused(world: World, word: str) -> None:
    with pytest.raises(UnknownRevisionError):
        resolve_range(world.store, world.state, [word], head=world.head)


def test_a_range_is_split_at_its_dots() -> None:
    assert split_range("a..b") == ("a", "..", "b")
    assert split_range("a...b") == ("a", "...", "b")
    assert split_range("a..") == ("a", "..", "HEAD")
    assert split_range("...") == ("HEAD", "...", "HEAD")
    assert split_range("..") is split_range("a.b") is None


def test_a_path_stands_behind_the_first_colon_outside_of_braces() -> None:
    assert split_path("main") == ("main", None)
    assert split_path("main:a/b") == ("main", b"a/b")
    assert split_path("main:a:b") == ("main", b"a:b")
    assert split_path("main@{2026-08-01 12:00}") == ("main@{2026-08-01 12:00}", None)
    assert split_path("main@{12:00}~1:x@{1:2}") == ("main@{12:00}~1", b"x@{1:2}")
    assert split_path(":a") == ("", b"a")
    assert split_path("main:caf\udce9") == ("main", b"caf\xe9")


def test_commits_are_decoded_once(world: World) -> None:
    commits = Commits(world.store.objects)

    assert commits.get(world.ids["D"]) is commits.get(world.ids["D"])
    assert commits.parents(world.ids["D"]) == [world.ids["C"], world.ids["F"]]
