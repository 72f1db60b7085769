"""Merging trees, against a merge of dictionaries, and the base of a merge."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.commits import Commits
from dsvc.history.diff import diff_trees
from dsvc.history.merge import ConflictKind, Merged, Side, merge_trees, overlay
from dsvc.history.merge_base import base_tree
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.model.ids import ObjectId
from dsvc.model.paths import path_key
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects, ObjectWriter
from dsvc.odb.overlay import Overlay
from tests.history_support import Clock, commit_object, make_store

Files = dict[bytes, bytes]
FOLDER = b"(an empty folder)"
NAMES = (b"HEAD", b"topic/x")


def entry_of(path: bytes, content: bytes) -> Entry:
    if content == FOLDER:
        return Entry(path, EntryKind.FOLDER, 0, b"")
    return Entry(path, EntryKind.FILE, len(content), blake3(content).digest())


def tree_of(objects: MemoryObjects, files: Mapping[bytes, bytes]) -> Tree:
    entries = [entry_of(path, files[path]) for path in sorted(files, key=path_key)]
    return Tree.build(objects, objects, entries)


def is_inside(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder + b"/")


@st.composite
def file_trees(draw: st.DrawFn, base: Files | None = None) -> Files:
    """Few paths, many of them below each other; with *base*, some edits of that."""
    paths = st.sampled_from([b"a", b"a/b", b"a/b/c", b"a/d", b"b", b"c/x", b"c/y", b"d", b"a~HEAD", b"a~topic_x"])
    contents = st.sampled_from([b"1", b"2", b"3", FOLDER, None])
    files = dict(base or {})
    for path, content in draw(st.lists(st.tuples(paths, contents), max_size=8)):
        files.pop(path, None)
        if content is None:
            continue
        for other in list(files):
            if is_inside(path, other) or (is_inside(other, path) and content != FOLDER):
                del files[other]
        if content != FOLDER or not any(is_inside(other, path) for other in files):
            files[path] = content
    return files


@st.composite
def three_trees(draw: st.DrawFn) -> tuple[Files, Files, Files]:
    base = draw(file_trees())
    return base, draw(file_trees(base)), draw(file_trees(base))


class Naive:
    """What a merge should make, path by path, of dictionaries."""

    def __init__(self, base: Files, ours: Files, theirs: Files) -> None:
        self.files: Files = {}
        self.conflicts: set[bytes] = set()
        side: dict[bytes, int] = {}
        folders: set[bytes] = set()
        for path in {*base, *ours, *theirs}:
            old, mine, yours = (None if one.get(path) == FOLDER else one.get(path) for one in (base, ours, theirs))
            result = mine if yours in (mine, old) else yours
            side[path] = 1 if result == mine and result != yours else 2
            if mine not in (old, yours) and yours != old:
                self.conflicts.add(path)
                result, side[path] = (yours, 2) if mine is None else (mine, 1)
            if result is not None:
                self.files[path] = result
            else:
                there = [one.get(path) == FOLDER for one in (base, ours, theirs)]
                if there[2] if there[0] == there[1] else there[1]:
                    folders.add(path)
        for path in list(self.files):
            if any(is_inside(other, path) for other in self.files):
                name = path + b"~" + NAMES[side[path] - 1].replace(b"/", b"_")
                numbered = (name + (b"_%d" % number if number else b"") for number in count())
                free = next(
                    one
                    for one in numbered
                    if not any(known == one or is_inside(known, one) for known in {*base, *ours, *theirs})
                )
                self.files[free] = self.files.pop(path)
                self.conflicts.discard(path)
                self.conflicts.add(free)
        kept = {one for one in folders if not any(is_inside(one, path) or is_inside(path, one) for path in self.files)}
        self.files |= {one: FOLDER for one in kept if not any(is_inside(path, one) for path in kept)}


def merged_tree(objects: ObjectWriter, ours: Tree, merged: Merged) -> Tree:
    return ours.apply(objects, merged.edits)


@given(three_trees())
def test_trees_are_merged_as_dictionaries_would_be(trees: tuple[Files, Files, Files]) -> None:
    objects = MemoryObjects()
    base, ours, theirs = (tree_of(objects, files) for files in trees)
    naive = Naive(*trees)

    merged = merge_trees(base, ours, theirs, names=NAMES)

    assert list(merged_tree(objects, ours, merged).entries()) == list(tree_of(objects, naive.files).entries())
    assert {conflict.path for conflict in merged.conflicts} == naive.conflicts


@given(three_trees())
def test_what_only_one_side_did_is_the_result(trees: tuple[Files, Files, Files]) -> None:
    objects = MemoryObjects()
    base, ours, theirs = (tree_of(objects, files) for files in trees)

    assert merge_trees(base, ours, base) == Merged([], [])
    assert merge_trees(base, ours, ours) == Merged([], [])
    taken = merge_trees(base, base, theirs)
    assert taken.conflicts == []
    assert merged_tree(objects, base, taken).root == theirs.root


@given(three_trees())
def test_it_does_not_matter_who_merges_whom(trees: tuple[Files, Files, Files]) -> None:
    objects = MemoryObjects()
    base, ours, theirs = (tree_of(objects, files) for files in trees)

    one = merge_trees(base, ours, theirs, names=NAMES)
    other = merge_trees(base, theirs, ours, names=(NAMES[1], NAMES[0]))

    assert [(found.path, found.ours, found.theirs) for found in one.conflicts] == [
        (found.path, found.theirs, found.ours) for found in other.conflicts
    ]
    if not one.conflicts:
        assert merged_tree(objects, ours, one).root == merged_tree(objects, theirs, other).root


@given(file_trees(), st.data())
def test_edits_of_different_paths_always_merge(files: Files, data: st.DataObject) -> None:
    objects = MemoryObjects()
    base = tree_of(objects, files)
    fresh = [b"new/%d" % number for number in range(4)]
    edits = {path: data.draw(st.sampled_from([b"x", None])) for path in [*files, *fresh]}
    mine = data.draw(st.sets(st.sampled_from(sorted(edits))))
    changes = [(path, None if content is None else entry_of(path, content)) for path, content in edits.items()]

    ours = base.apply(objects, [change for change in changes if change[0] in mine])
    theirs = base.apply(objects, [change for change in changes if change[0] not in mine])
    merged = merge_trees(base, ours, theirs)

    assert merged.conflicts == []
    assert merged_tree(objects, ours, merged).root == base.apply(objects, changes).root


@given(three_trees(), st.sampled_from(Side))
def test_a_favoured_side_settles_every_conflict(trees: tuple[Files, Files, Files], side: Side) -> None:
    objects = MemoryObjects()
    base, ours, theirs = (tree_of(objects, files) for files in trees)
    undecided = merge_trees(base, ours, theirs, names=NAMES).conflicts

    merged = merge_trees(base, ours, theirs, favour=side)

    result = merged_tree(objects, ours, merged)
    assert merged.conflicts == []
    for conflict in undecided:
        favoured = conflict.ours if side is Side.OURS else conflict.theirs
        if conflict.moved_from is None:
            found = result.get(conflict.path)
            assert (found if found != entry_of(conflict.path, FOLDER) else None) == favoured
        elif favoured is not None:
            assert result.get(conflict.moved_from) == msgspec.structs.replace(favoured, path=conflict.moved_from)


@given(file_trees(), file_trees())
def test_an_overlay_has_every_path_and_the_last_one_wins(one: Files, other: Files) -> None:
    objects = MemoryObjects()
    ours, theirs = tree_of(objects, one), tree_of(objects, other)
    files = {path: content for path, content in other.items() if content != FOLDER}
    for path, content in one.items():
        if content != FOLDER and not any(
            path == known or is_inside(path, known) or is_inside(known, path) for known in files
        ):
            files[path] = content

    result = ours.apply(objects, overlay(ours, theirs))

    assert {each.path: each.digest for each in result.entries() if each.kind != EntryKind.FOLDER} == {
        path: entry_of(path, content).digest for path, content in files.items()
    }


def merge_files(base: dict[bytes, Entry], ours: dict[bytes, Entry], theirs: dict[bytes, Entry]) -> tuple[Tree, Merged]:
    objects = MemoryObjects()
    trees = [Tree(objects).apply(objects, list(files.items())) for files in (base, ours, theirs)]
    merged = merge_trees(*trees)
    return merged_tree(objects, trees[1], merged), merged


def test_content_mode_and_metadata_of_one_file_are_merged_apart() -> None:
    old, new = entry_of(b"a", b"old"), entry_of(b"a", b"new")
    said = msgspec.structs.replace(old, kind=EntryKind.EXECUTABLE, extension=b"m" * 32)

    tree, merged = merge_files({b"a": old}, {b"a": new}, {b"a": said})

    assert merged.conflicts == []
    assert tree.get(b"a") == msgspec.structs.replace(new, kind=EntryKind.EXECUTABLE, extension=b"m" * 32)


def test_the_name_of_a_file_that_makes_way_is_not_too_long() -> None:
    name = b"n" * 250
    file, below = entry_of(name, b"file"), entry_of(name + b"/x", b"folder")

    tree, merged = merge_files({}, {file.path: file}, {below.path: below})

    assert [conflict.path for conflict in merged.conflicts] == [b"n" * 250 + b"~ours"]
    objects = MemoryObjects()
    base, ours, theirs = (Tree(objects).apply(objects, files) for files in ([], [(name, file)], [(below.path, below)]))
    merged = merge_trees(base, ours, theirs, names=(b"a/long/name" * 20, b"theirs"))
    moved = merged.conflicts[0].path
    assert len(moved) == 255
    assert merged_tree(objects, ours, merged).get(moved) is not None
    assert tree.get(below.path) == below


def test_links_elsewhere_are_one_thing() -> None:
    old = Entry(b"a", EntryKind.EXTERNAL, 5, b"", None, b"1" * 32)
    sides = [msgspec.structs.replace(old, extension=digit * 32) for digit in (b"2", b"3")]

    _, merged = merge_files({b"a": old}, {b"a": sides[0]}, {b"a": sides[1]})

    assert [conflict.kind for conflict in merged.conflicts] == [ConflictKind.BOTH_MODIFIED]


def test_only_pages_that_differ_are_read() -> None:
    class Counting(MemoryObjects):
        reads = 0

        def read(self, kind: int, object_id: bytes) -> bytes:
            self.reads += 1
            return super().read(kind, object_id)

    objects = Counting()
    base = tree_of(objects, {b"%06d" % number: b"x" for number in range(50_000)})
    ours = base.apply(objects, [(b"000100", entry_of(b"000100", b"ours"))])
    theirs = base.apply(objects, [(b"040000", entry_of(b"040000", b"theirs"))])

    trees = [Tree(objects, tree.root) for tree in (base, ours, theirs)]
    objects.reads = 0
    merged = merge_trees(*trees)

    assert [path for path, _ in merged.edits] == [b"040000"]
    # Two trees for each of the two comparisons, with a root and a leaf or two each.
    assert objects.reads <= 12


class History:
    """Commits of trees, and merges of them."""

    def __init__(self, store: Store) -> None:
        self.objects = Overlay(store.objects, store.writer())
        self.commits = Commits(self.objects)

    def commit(self, files: Files, *parents: ObjectId) -> ObjectId:
        entries = [entry_of(path, files[path]) for path in sorted(files, key=path_key)]
        root = Tree.build(self.objects, self.objects, entries).root
        return commit_object(self.objects, parents, tree=root, message=repr(files))

    def base(self, theirs: ObjectId, *ours: ObjectId) -> Tree | None:
        return base_tree(self.commits, ours, theirs, objects=self.objects)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(make_store(tmp_path / "store", Clock()))


def test_of_several_bases_their_merge_is_the_base(history: History) -> None:
    root = history.commit({b"a": b"0", b"b": b"0"})
    one = history.commit({b"a": b"1", b"b": b"0"}, root)
    other = history.commit({b"a": b"0", b"b": b"1"}, root)
    files = {b"a": b"1", b"b": b"1"}
    ours = history.commit(files | {b"c": b"ours"}, one, other)
    theirs = history.commit(files | {b"d": b"theirs"}, other, one)

    base = history.base(theirs, ours)

    assert base is not None
    assert list(base.entries()) == [entry_of(path, content) for path, content in files.items()]


def test_where_the_bases_are_in_conflict_so_is_whoever_differs(history: History) -> None:
    root = history.commit({b"a": b"0", b"b": b"0"})
    one = history.commit({b"a": b"1", b"b": b"1"}, root)
    other = history.commit({b"a": b"2", b"b": b"2"}, root)
    ours = history.commit({b"a": b"1", b"b": b"1"}, one, other)
    theirs = history.commit({b"a": b"2", b"b": b"1"}, other, one)

    base = history.base(theirs, ours)

    assert base is not None
    merged = merge_trees(base, history.commits.tree(ours), history.commits.tree(theirs))
    assert [(found.path, found.kind) for found in merged.conflicts] == [(b"a", ConflictKind.BOTH_ADDED)]


def test_the_base_of_several_is_that_of_their_merge(history: History) -> None:
    root = history.commit({})
    one = history.commit({b"a": b"1"}, root)
    other = history.commit({b"b": b"1"}, root)
    theirs = history.commit({b"b": b"1", b"c": b"1"}, other)

    base = history.base(theirs, one, other)

    assert base is not None
    assert base.root == history.commits.tree(other).root


def test_without_a_common_history_there_is_no_base(history: History) -> None:
    assert history.base(history.commit({b"a": b"1"}), history.commit({b"b": b"1"})) is None


def test_bases_of_bases_end_somewhere(history: History) -> None:
    root = history.commit({b"a": b"0"})
    one, other = history.commit({b"a": b"1"}, root), history.commit({b"a": b"2"}, root)
    for number in range(40):
        one, other = (
            history.commit({b"a": b"1", b"n": b"%d" % number}, one, other),
            history.commit({b"a": b"2", b"n": b"%d" % number}, other, one),
        )

    base = history.base(one, other)

    assert base is not None
    merged = merge_trees(base, history.commits.tree(one), history.commits.tree(other))
    assert [found.path for found in merged.conflicts] == [b"a"]
    assert (
        list(diff_trees(merged_tree(history.objects, history.commits.tree(one), merged), history.commits.tree(one)))
        == []
    )
