"""Versions by name: their numbers, the next one, and what `NAME@VERSION` means."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.numbers import Part, next_number, parse_number, version_order
from dsvc.history.revisions import AmbiguousIdError, UnknownRevisionError, resolve, resolve_ref
from dsvc.history.versions import (
    InvalidAliasError,
    alias_name,
    dataset_ref,
    is_alias,
    is_only_remote,
    latest_version,
    split_version,
)
from dsvc.log.entry import RefChange
from dsvc.log.refs import InvalidRefNameError
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from tests.history_support import Clock, commit_object, make_store, move_refs

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
LABELS = st.sampled_from(["", "-rc.1", "-rc.2", "rc1", ".dev1", ".post1", "-alpha", "+abc", "-rc.1+abc"])
VERSIONS = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["", "v"]), NUMBERS, LABELS),
    st.text(alphabet="ab1.-+_@v", max_size=8),
    st.text(max_size=4),
)


class TestNumbers:
    def test_they_are_in_the_order_that_people_expect(self) -> None:
        expected = [
            "spring", "2026-08-01", "0.9", "1.0.dev1", "1.0-alpha", "1.0-beta", "1.0-rc.2", "1.0-rc.10", "1.0",
            "1.0.post1", "1.0.1", "v1.9.0", "1.10.0", "1.10.0+abc", "2",
        ]  # fmt: skip

        backwards = expected[::-1]

        assert sorted(backwards, key=version_order) == expected

    @given(st.lists(VERSIONS, max_size=6))
    def test_any_names_have_one_order(self, versions: list[str]) -> None:
        backwards = versions[::-1]

        assert sorted(backwards, key=version_order) == sorted(versions, key=version_order)
        assert len({version_order(one) for one in versions}) == len(set(versions))

    @given(st.lists(VERSIONS, max_size=6), st.sampled_from(get_args(Part)), st.sampled_from([None, "rc", "beta"]))
    def test_the_next_one_is_a_number_that_is_new_and_above_the_releases(
        self, taken: list[str], part: Part, label: str | None
    ) -> None:
        number = next_number(taken, part, label)

        assert parse_number(number) is not None
        assert number not in taken
        above = version_order(next_number(taken, part))
        releases = [one for one in taken if (known := parse_number(one)) and not known.is_prerelease]
        assert all(version_order(one) < above for one in releases)
        assert (version_order(number) < above) == (label is not None)

    @pytest.mark.parametrize(
        ("taken", "part", "expected"),
        [
            ("", "patch", "1.0.0"),
            ("", "major", "1.0.0"),
            ("spring 2026-08-01", "minor", "1.0.0"),
            ("1.9.3 1.10.3", "patch", "1.10.4"),
            ("1.9.3 1.10.3", "minor", "1.11.0"),
            ("1.9.3 1.10.3", "major", "2.0.0"),
            ("v1.2", "patch", "v1.2.1"),
            ("3", "minor", "3.1.0"),
            ("1.2.3.4", "patch", "1.2.3.5"),
            ("1.2.3.4", "minor", "1.3.0.0"),
            ("1.2.0 1.2.1-rc.3", "patch", "1.2.1"),
            ("1.2.0 2.0.0-rc.1", "minor", "1.3.0"),
            ("0.1.0-rc.1", "patch", "0.1.0"),
            ("1.0.post1", "patch", "1.0.1"),
        ],
    )
    def test_the_next_one(self, taken: str, part: Part, expected: str) -> None:
        assert next_number(taken.split(), part) == expected

    def test_a_build_in_a_number_does_not_crash_as_clearml_does(self) -> None:
        assert next_number(["1.0.0+abc"], "patch") == "1.0.1"

    def test_releases_are_counted_that_come_before_one(self) -> None:
        assert next_number(["1.0.0"], "minor", "rc") == "1.1.0-rc.1"
        assert next_number(["1.0.0", "1.1.0-rc.9", "1.1.0-rc.10", "1.1.0-beta.20"], "minor", "rc") == "1.1.0-rc.11"


class TestAliases:
    @pytest.mark.parametrize("name", ["data@prod", "data@latest", "vision/imagenet@v-next", "a@b@prod"])
    def test_a_word_may_be_one(self, name: str) -> None:
        assert alias_name(name) == name
        assert is_alias(f"refs/tags/{name}")

    @pytest.mark.parametrize("name", ["data@1.0", "data@v1", "data@2026-08-01", "data", "@prod", "data@"])
    def test_a_number_may_not(self, name: str) -> None:
        with pytest.raises(InvalidAliasError):
            alias_name(name)
        assert not is_alias(f"refs/tags/{name}")

    def test_it_has_to_be_a_name_of_a_tag(self) -> None:
        with pytest.raises(InvalidRefNameError):
            alias_name("da ta@prod")


class World:
    """A dataset `data` of two commits, with versions of each kind, and one that is only a remote's."""

    def __init__(self, folder: Path) -> None:
        self.store = make_store(folder, Clock())
        writer = self.store.writer()
        self.first = commit_object(writer, message="first")
        self.second = commit_object(writer, [self.first], message="second")
        self.other = commit_object(writer, message="other")
        sealed = [writer.seal()]
        self.store.publish(lambda _: [], sealed)
        move_refs(
            self.store,
            {
                "refs/heads/data": self.second,
                "refs/heads/other": self.other,
                "refs/remotes/origin/far/away": self.other,
            },
        )

    def publish(self, version: str, commit: ObjectId) -> None:
        change = RefChange(f"refs/tags/data@{version}", None, commit.hex(), publish=True)
        self.store.publish(lambda _: [change])

    @property
    def state(self) -> State:
        return self.store.state()

    def resolve(self, text: str) -> ObjectId:
        return resolve(self.store, self.state, text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_latest_is_the_highest_published_number(world: World) -> None:
    world.publish("2.0.0-rc.1", world.second)
    assert world.resolve("data@latest") == world.second
    world.publish("1.9.0", world.second)
    world.publish("1.10.0", world.first)
    world.publish("zebra", world.second)
    move_refs(world.store, {"refs/tags/data@3.0.0": world.second})

    assert world.resolve("data@latest") == world.first
    assert resolve_ref(world.store, world.state, "data@latest") == "refs/tags/data@1.10.0"
    assert latest_version(world.state, "data") == "1.10.0"


def test_an_alias_that_was_given_comes_before_the_highest_number(world: World) -> None:
    world.publish("1.0.0", world.first)
    move_refs(world.store, {"refs/tags/data@latest": world.second})

    assert world.resolve("data@latest") == world.second
    assert world.resolve("data@latest~1") == world.first


def test_a_commit_of_the_dataset_is_a_version_of_it(world: World) -> None:
    assert world.resolve(f"data@{world.first.hex()[:12]}") == world.first
    with pytest.raises(UnknownRevisionError):
        world.resolve(f"data@{world.other.hex()[:12]}")


def test_what_is_ambiguous_is_so_only_among_the_commits_of_the_dataset(tmp_path: Path) -> None:
    store = make_store(tmp_path, Clock())
    writer = store.writer()
    made = [commit_object(writer, message=str(number)) for number in range(600)]
    by_digits: dict[str, list[ObjectId]] = {}
    for one in made:
        by_digits.setdefault(one.hex()[:4], []).append(one)
    one, twin, *_ = next(ids for ids in by_digits.values() if len(ids) > 1)
    sealed = [writer.seal()]
    store.publish(lambda _: [], sealed)
    move_refs(store, {"refs/heads/data": one, "refs/heads/other": twin})

    assert resolve(store, store.state(), f"data@{one.hex()[:4]}") == one
    with pytest.raises(AmbiguousIdError):
        resolve(store, store.state(), one.hex()[:4])
    move_refs(store, {"refs/tags/data@1": twin})
    with pytest.raises(AmbiguousIdError):
        resolve(store, store.state(), f"data@{one.hex()[:4]}")


def test_a_dataset_that_is_only_a_remotes_is_found_by_its_name(world: World) -> None:
    assert world.resolve("far/away") == world.other
    move_refs(world.store, {"refs/remotes/backup/far/away": world.first, "refs/remotes/b/two": world.first})
    move_refs(world.store, {"refs/remotes/c/two": world.second})

    assert is_only_remote(world.state, "far/away")
    assert not is_only_remote(world.state, "data")
    assert dataset_ref(world.state, "far/away") == "refs/remotes/origin/far/away"
    assert dataset_ref(world.state, "two") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing@1.0", "there is no dataset `nothing`"),
        ("data@latest", "no version of `data` is published"),
        ("data@9", "`data` has no such version; it has 1.10, 1.9, 1.8"),
        ("other@9", "`other` has no such version"),
    ],
)
def test_what_is_not_there_is_said(world: World, text: str, reason: str) -> None:
    move_refs(world.store, {f"refs/tags/data@1.{number}": world.first for number in range(11)})

    with pytest.raises(UnknownRevisionError) as raised:
        world.resolve(text)

    assert str(raised.value) == f"unknown revision `{text}`: {reason}"


@given(st.text(max_size=12))
def test_a_name_is_a_dataset_and_a_version_or_is_not(name: str) -> None:
    parts = split_version(name)

    assert parts is None or (all(parts) and "@".join(parts) == name)
