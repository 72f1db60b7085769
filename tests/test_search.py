"""dsvc search: versions by what they are called, what is said of them, and what they hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.datasets import DatasetInfo
from dsvc.history.search import Query, search
from dsvc.history.tree import Tree
from dsvc.history.tree_search import TreeSearch
from dsvc.log.entry import RefChange
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects
from tests.crash_support import Ended, fast_folder, run_forked, warm_up
from tests.history_support import DAY, NOON, Versions, entry, move_refs

EDITS = st.lists(
    st.dictionaries(st.integers(0, 2000).map(lambda number: b"f/%04d" % number), st.sampled_from([b"a", b"b", None])),
    max_size=4,
)


class CountingObjects(MemoryObjects):
    """Objects in memory, and how often each page was read."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[bytes] = []

    def read(self, kind: int, object_id: bytes) -> bytes:
        self.pages += [object_id] if kind == Kind.PAGE else []
        return super().read(kind, object_id)


class TestTrees:
    @given(EDITS)
    def test_it_finds_what_a_look_at_every_entry_finds(self, edits: list[dict[bytes, bytes | None]]) -> None:
        objects = MemoryObjects()
        tree = Tree(objects).apply(objects, [(one.path, one) for one in map(_file, range(1500))])
        digest = bytes(hash_object(Kind.CHUNK, b"a"))
        found = TreeSearch(objects, lambda one: one.digest == digest)
        for edit in edits:
            changed = {path: None if content is None else entry(path, content) for path, content in edit.items()}
            tree = tree.apply(objects, changed.items())

            expected = [one for one in tree.entries() if one.digest == digest]
            assert list(found.entries(tree.root)) == expected
            assert found.count(tree.root) == len(expected)

    def test_pages_that_versions_share_are_read_once(self) -> None:
        objects = CountingObjects()
        trees = [Tree(objects).apply(objects, [(one.path, one) for one in map(_file, range(20_000))])]
        for number in range(30):
            path = b"f/%05d" % (number * 500)
            trees.append(trees[-1].apply(objects, [(path, entry(path, b"edited %d" % number))]))
        objects.pages.clear()
        found = TreeSearch(objects, lambda one: one.path.endswith(b"/00000"))

        assert [found.count(tree.root) for tree in trees] == [1] * 31

        # The first tree, and of each other one its root and the page that changed.
        assert len(objects.pages) < 40 + 2 * 31
        assert len(objects.pages) == len(set(objects.pages))

    def test_an_empty_tree_has_nothing(self) -> None:
        objects = MemoryObjects()

        assert TreeSearch(objects, lambda _: True).count(Tree.empty(objects)) == 0


def _file(number: int) -> Entry:
    return entry(b"f/%05d" % number, b"x")


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Four versions of `data`, of which the second is 1.0, and one of `other`, which is newer."""
    made = Versions(tmp_path)
    parents: list[ObjectId] = []
    for number in range(1, 5):
        files = {b"a": b"%d" % number, b"keep": b"same"}
        last = made.make(files, f"version {number}", parents=parents, ref="refs/heads/data")
        parents = [last]
        if number == 2:
            tag = RefChange("refs/tags/data@1.0", None, last.hex(), publish=True)
            made.store.publish(lambda _, tag=tag: [tag])  # type: ignore[misc]  # mypy cannot see the default's type
    made.make({b"b": b"other"}, "of another", ref="refs/heads/other", author="Ben <ben@example.org>")
    return made


def names(versions: Versions, query: Query) -> list[str]:
    return [found.name for found in search(versions.store, versions.store.state(), query)]


class TestVersions:
    def test_each_is_there_once_by_the_nearest_name(self, versions: Versions) -> None:
        tip = versions.store.state().value("refs/heads/data")
        move_refs(versions.store, {"refs/remotes/origin/data": tip, "refs/tags/data@prod": tip})

        assert names(versions, Query()) == ["other", "data", "data~1", "data@1.0", "data@1.0~1"]
        (first, *_) = search(versions.store, versions.store.state(), Query(dataset=lambda name: name == "data"))
        assert first.names == ["data", "data@prod", "origin/data"]

    def test_conditions_hold_together(self, versions: Versions) -> None:
        assert names(versions, Query(words=["VERSION", "4"])) == ["data"]
        assert names(versions, Query(author=lambda text: "Ben" in text)) == ["other"]
        assert names(versions, Query(message=lambda text: text.endswith("1"))) == ["data@1.0~1"]
        assert (
            names(versions, Query(published=True))
            == names(versions, Query(tag=lambda tag: tag == "1.0"))
            == ["data@1.0"]
        )
        times = {found.name: found.commit.time for found in search(versions.store, versions.store.state(), Query())}
        assert names(versions, Query(since=times["data"])) == ["other", "data"]
        assert names(versions, Query(until=times["data@1.0"])) == ["data@1.0", "data@1.0~1"]
        assert names(versions, Query(since=times["data~1"], until=times["data"], words=["3"])) == ["data~1"]
        assert times["data"] - times["data~1"] == DAY
        assert min(times.values()) >= NOON

    def test_files_are_found_by_path_and_digest(self, versions: Versions) -> None:
        digest = bytes(hash_object(Kind.CHUNK, b"3"))

        assert names(versions, Query(entry=lambda one: one.digest == digest)) == ["data~1"]
        assert names(versions, Query(entry=lambda one: one.path == b"b")) == ["other"]

    def test_what_is_archived_is_left_out(self, versions: Versions) -> None:
        move_refs(versions.store, {"refs/datasets/data": DatasetInfo(1, "a story", archived=True).encode()})

        assert names(versions, Query()) == ["other"]
        assert names(versions, Query(archived=True, words=["STORY"])) == ["data", "data~1", "data@1.0", "data@1.0~1"]


def dsvc(folder: Path, *words: str, code: int = 0, date: str = "2026-08-01T12:00:00+02:00") -> Ended:
    ended = run_forked(*words, cwd=folder, environment={"DSVC_DATE": date})
    assert ended.code == code, ended.stdout + ended.stderr
    return ended


class TestCommand:
    @pytest.fixture
    def work(self) -> Iterator[Path]:
        """A dataset of two versions, the first one with metadata, and a remote."""
        warm_up()
        with fast_folder() as folder:
            work = folder / "work"
            (work / "labels").mkdir(parents=True)
            dsvc(work, "init", "-q", "-b", "vision/cats")
            (work / "labels" / "a.csv").write_text("1,2\n")
            for number in range(8):
                (work / f"{number}.jpg").write_text(f"picture {number}")
            dsvc(work, "meta", "set", "quality=3")
            dsvc(work, "snapshot", "-q", "-m", "first")
            dsvc(work, "publish", "vision/cats@1.0")
            (work / "labels" / "a.csv").write_text("1,3\n")
            dsvc(work, "meta", "set", "quality=2")
            dsvc(work, "snapshot", "-q", "-m", "second", date="2026-08-02T12:00:00+02:00")
            dsvc(work, "remote", "add", "origin", "../remote")
            dsvc(work, "push", "-q", "origin", "--all", "--tags")
            yield work

    def found(self, work: Path, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in dsvc(work, "search", *words, "--json").stdout.splitlines()]

    def test_versions_are_shown_with_what_was_found_in_them(self, work: Path) -> None:
        lines = dsvc(work, "search", "--path", "*.jpg", "-n", "1").stdout.splitlines()

        assert lines[0].split() == ["vision/cats", "final", "9", "files,", "76", "B", "2026-08-02", "second"]
        assert lines[1:] == [*(f"    {number}.jpg" for number in range(5)), "    and 3 more"]

    def test_it_tells_scripts_in_json(self, work: Path) -> None:
        (one,) = self.found(work, "--path", "labels", "--state", "published")

        assert (one["name"], one["state"], one["matches"]) == ("vision/cats@1.0", "published", 1)
        assert one["entries"][0]["path"] == "labels/a.csv"
        assert one["meta"] == {"quality": 3}
        digest = one["entries"][0]["digest"]
        again = self.found(work, "--digest", digest[:8].upper())
        assert [version["name"] for version in again] == ["vision/cats@1.0"]
        assert self.found(work, "--digest", digest[:8], "--path", "*.jpg") == []

    def test_conditions_on_metadata(self, work: Path) -> None:
        assert [one["name"] for one in self.found(work, "--meta", "quality>=3", "--tag", "1.*")] == ["vision/cats@1.0"]
        assert self.found(work, "--meta", "quality>3") == []

    def test_a_remote_is_searched_from_anywhere(self, work: Path) -> None:
        here = [one["name"] for one in self.found(work)]
        there = self.found(work, "origin")

        assert [one["name"] for one in there] == here == ["vision/cats", "vision/cats@1.0"]
        assert self.found(work.parent, "./remote") == there
        assert self.found(work.parent, "./remote", "SECOND", "--name", "vision/*") == there[:1]
        assert self.found(work, "--name", "audio/*") == []

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--author", "a("], "no regular expression"),
            (["--digest", "xyz1"], "no digest"),
            (["--meta", "quality>"], "no condition"),
            (["--since", "whenever"], "whenever"),
        ],
    )
    def test_what_cannot_be_is_refused(self, work: Path, words: list[str], message: str) -> None:
        assert message in dsvc(work, "search", *words, code=2).stderr


def test_a_link_has_no_digest_to_find() -> None:
    objects = MemoryObjects()
    far = Entry(b"far", int(EntryKind.EXTERNAL), 10, b"", None, b"e" * 32)
    tree = Tree(objects).apply(objects, [(far.path, far)])

    assert TreeSearch(objects, lambda one: one.digest.hex().startswith("0")).count(tree.root) == 0
