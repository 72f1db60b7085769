"""Changes between trees."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.diff import Change, ChangeKind, detect_renames, diff_paths, diff_trees, outermost
from dsvc.history.tree import Tree
from dsvc.model.ids import Kind, hash_object
from dsvc.model.paths import is_within, path_key
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects


def file(path: bytes, content: bytes = b"x", kind: EntryKind = EntryKind.FILE) -> Entry:
    return Entry(path, int(kind), len(content), bytes(hash_object(Kind.CHUNK, content)))


def external(path: bytes, link: bytes) -> Entry:
    return Entry(path, int(EntryKind.EXTERNAL), 0, b"", None, link * 32)


def tree_of(objects: MemoryObjects, *entries: Entry) -> Tree:
    return Tree(objects).apply(objects, [(entry.path, entry) for entry in entries])


def letters(changes: list[Change]) -> list[str]:
    """Return changes as git would: a letter, the old path of a rename, the path."""
    lines = []
    for change in changes:
        old = change.old.path.decode() + " " if change.kind is ChangeKind.RENAMED and change.old else ""
        lines.append(f"{change.kind.value} {old}{change.path.decode()}")
    return lines


def renames(old: list[Entry], new: list[Entry]) -> list[str]:
    objects = MemoryObjects()
    return letters(detect_renames(diff_trees(tree_of(objects, *old), tree_of(objects, *new))))


def test_changes_have_the_letters_of_git() -> None:
    objects = MemoryObjects()
    old = tree_of(objects, file(b"gone"), file(b"edited"), file(b"kept"), file(b"run"), file(b"linked"))
    new = tree_of(
        objects,
        file(b"added"),
        file(b"edited", b"other"),
        file(b"kept"),
        file(b"run", kind=EntryKind.EXECUTABLE),
        file(b"linked", b"x", EntryKind.SYMLINK),
    )

    changes = list(diff_trees(old, new))

    assert letters(changes) == ["A added", "M edited", "D gone", "T linked", "M run"]
    assert changes[0] == (None, file(b"added"))


@given(
    st.dictionaries(st.sampled_from([b"a", b"b/c", b"b/d", b"b!", b"e/f/g", b"e/h"]), st.sampled_from([b"1", b"2"])),
    st.dictionaries(st.sampled_from([b"a", b"b/c", b"b/d", b"b!", b"e/f/g", b"e/h"]), st.sampled_from([b"1", b"2"])),
    st.lists(st.sampled_from([b"", b"a", b"b", b"e/f", b"e", b"e/h", b"absent"]), max_size=3),
)
@settings(deadline=None)
def test_changes_are_those_of_the_paths_asked_for(
    old: dict[bytes, bytes], new: dict[bytes, bytes], asked: list[bytes]
) -> None:
    objects = MemoryObjects()
    trees = [tree_of(objects, *(file(path, content) for path, content in side.items())) for side in (old, new)]

    found = [change.path for change in diff_paths(trees[0], trees[1], asked)]

    changed = [path for path in old.keys() | new.keys() if old.get(path) != new.get(path)]
    assert found == sorted((path for path in changed if any(is_within(path, top) for top in asked)), key=path_key)


def test_changes_below_a_folder_leave_out_its_namesakes() -> None:
    objects = MemoryObjects()
    new = tree_of(objects, file(b"a/b"), file(b"a!"), file(b"ab"), file(b"a/c/d"))

    assert letters(list(diff_trees(Tree(objects), new, b"a"))) == ["A a/b", "A a/c/d"]
    assert letters(list(diff_trees(new, Tree(objects), b"ab"))) == ["D ab"]


def test_paths_below_others_are_asked_for_once() -> None:
    assert outermost([b"b/c", b"a", b"b", b"b!", b"a", b"b/c/d"]) == [b"a", b"b", b"b!"]
    assert outermost([b"a", b""]) == [b""]
    assert outermost([]) == []


@given(st.integers(0, 2**32), st.integers(0, 300))
@settings(max_examples=20, deadline=None)
def test_changes_of_trees_of_many_pages_are_found(seed: int, count: int) -> None:
    source = random.Random(seed)  # noqa: S311
    objects = MemoryObjects()
    entries = {path: file(path) for path in (b"d%d/%05d" % (number % 7, number) for number in range(6000))}
    old = tree_of(objects, *entries.values())
    edits: dict[bytes, Entry | None] = {}
    for path in source.sample(sorted(entries), count):
        edits[path] = source.choice([None, file(path, b"new")])
        edits[path + b"x"] = file(path + b"x")

    changes = list(diff_trees(old, old.apply(objects, edits.items())))

    expected = [Change(entries.get(path), edits[path]) for path in sorted(edits, key=path_key)]
    assert changes == expected


# Renames


def test_a_file_that_moved_is_renamed() -> None:
    assert renames([file(b"old/a", b"1"), file(b"z", b"2")], [file(b"new/a", b"1"), file(b"z", b"3")]) == [
        "R old/a new/a",
        "M z",
    ]


def test_a_rename_prefers_the_same_name_and_then_the_first() -> None:
    old = [file(b"old/a"), file(b"old/b"), file(b"old/c")]

    assert renames(old, [file(b"new/b"), file(b"new/x")]) == ["R old/b new/b", "R old/a new/x", "D old/c"]


def test_more_copies_than_originals_are_added() -> None:
    assert renames([file(b"a")], [file(b"b"), file(b"c")]) == ["R a b", "A c"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (file(b"a", b""), file(b"b", b"")),
        (file(b"a", b"1"), file(b"b", b"2")),
        (file(b"a", b"1"), file(b"b", b"1", EntryKind.SYMLINK)),
        (external(b"a", b"1"), external(b"b", b"2")),
        (Entry(b"a", 3, 0, b""), Entry(b"b", 3, 0, b"")),
    ],
    ids=["empty files", "other content", "other types", "other links", "empty folders"],
)
def test_what_only_looks_alike_is_not_renamed(old: Entry, new: Entry) -> None:
    assert renames([old], [new]) == ["D a", "A b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (file(b"a"), file(b"b", kind=EntryKind.EXECUTABLE)),
        (file(b"a", b"t", EntryKind.SYMLINK), file(b"b", b"t", EntryKind.SYMLINK)),
        (external(b"a", b"1"), external(b"b", b"1")),
    ],
    ids=["made executable", "links", "external files"],
)
def test_what_kept_its_content_is_renamed(old: Entry, new: Entry) -> None:
    assert renames([old], [new]) == ["R a b"]


@given(
    st.dictionaries(
        st.sampled_from([b"%d/%d" % (a, b) for a in range(4) for b in range(4)]), st.sampled_from([b"", b"1", b"2"])
    ),
    st.dictionaries(
        st.sampled_from([b"%d/%d" % (a, b) for a in range(4) for b in range(4)]), st.sampled_from([b"", b"1", b"2"])
    ),
)
@settings(deadline=None)
def test_renames_say_the_same_as_additions_and_deletions(old: dict[bytes, bytes], new: dict[bytes, bytes]) -> None:
    objects = MemoryObjects()
    trees = [tree_of(objects, *(file(path, content) for path, content in side.items())) for side in (old, new)]

    changes = detect_renames(diff_trees(trees[0], trees[1]))

    after = dict(old)
    for change in changes:
        if change.old is not None:
            del after[change.old.path]
    for change in changes:
        if change.new is not None:
            after[change.new.path] = new[change.new.path]
    assert after == new
    assert [change.path for change in changes] == sorted((change.path for change in changes), key=path_key)
    left = [
        {change.path for change in changes if change.kind is kind} for kind in (ChangeKind.ADDED, ChangeKind.DELETED)
    ]
    assert not {new[path] for path in left[0]} & {old[path] for path in left[1]} - {b""}
