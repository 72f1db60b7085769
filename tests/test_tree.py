"""The tree of a version."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, InvalidInputError
from dsvc.history.entry_layout import InvalidEntryError, path_keys
from dsvc.history.tree import Folder, PathConflictError, Totals, Tree
from dsvc.model.codec import encode
from dsvc.model.ids import EMPTY_DIGEST, Kind, ObjectId, hash_object
from dsvc.model.paths import InvalidPathError, is_within, path_key, validate_path
from dsvc.model.tree import Child, Entry, EntryKind, InnerPage, LeafPage
from dsvc.odb.objects import MemoryObjects
from dsvc.odb.pages import MalformedPageError


def file(path: bytes, content: bytes = b"x", kind: EntryKind = EntryKind.FILE) -> Entry:
    return Entry(path, int(kind), len(content), bytes(hash_object(Kind.CHUNK, content)))


def folder(path: bytes) -> Entry:
    return Entry(path, int(EntryKind.FOLDER), 0, b"")


def tree_of(objects: MemoryObjects, *paths: bytes) -> Tree:
    return apply(Tree(objects), objects, *paths)


def apply(tree: Tree, objects: MemoryObjects, *paths: bytes, without: Sequence[bytes] = ()) -> Tree:
    """Put files at *paths*, or empty folders where they end with a slash."""
    edits: list[tuple[bytes, Entry | None]] = [(path, None) for path in without]
    for path in paths:
        name = path.rstrip(b"/")
        edits.append((name, folder(name) if path.endswith(b"/") else file(name)))
    return tree.apply(objects, edits)


def paths_of(tree: Tree, folder: bytes = b"") -> list[bytes]:
    return [entry.path for entry in tree.entries(folder)]


# Few names, so that folders and files meet.
names = st.sampled_from([b"a", b"b", b"a!", b"ab", b"\x01", b"\xff"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


# Reading


def test_a_new_tree_is_empty() -> None:
    objects = MemoryObjects()

    assert list(Tree(objects).entries()) == []
    assert Tree(objects).totals() == Totals(0, 0)
    assert list(Tree(objects).list_folder()) == []
    assert Tree.empty(objects) == Tree(objects).root == Tree(objects).apply(objects, []).root
    assert objects.read(Kind.PAGE, Tree(objects).root)


def test_a_folder_comes_before_names_that_start_like_it() -> None:
    objects = MemoryObjects()

    tree = tree_of(objects, b"a!", b"a/b", b"a.txt", b"A", b"a/!")

    assert paths_of(tree) == [b"A", b"a/!", b"a/b", b"a!", b"a.txt"]


def test_entries_of_a_folder_are_those_below_it_or_the_file_itself() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"a/b", b"a/c/d", b"a!", b"ab", b"b")

    assert paths_of(tree, b"a") == [b"a/b", b"a/c/d"]
    assert paths_of(tree, b"a/c") == [b"a/c/d"]
    assert paths_of(tree, b"ab") == [b"ab"]
    assert paths_of(tree, b"absent") == []


def test_a_path_is_found_only_as_it_is_spelled() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"a/b", b"c")

    assert tree.get(b"a/b") == file(b"a/b")
    for path in (b"a", b"a\0b", b"a/b/", b"/c", b"", b"d"):
        assert tree.get(path) is None
    assert tree.get_many([b"c", b"a\0b", b"a/b", b"c", b"d"]) == [file(b"c"), None, file(b"a/b"), file(b"c"), None]


def test_totals_count_links_but_not_empty_folders() -> None:
    objects = MemoryObjects()
    external = Entry(b"d/far", int(EntryKind.EXTERNAL), 1000, b"", None, b"e" * 32)
    entries = [file(b"d/a", b"12345"), folder(b"d/e"), file(b"d/l", b"target", EntryKind.SYMLINK), external, file(b"z")]

    tree = Tree(objects).apply(objects, [(entry.path, entry) for entry in entries])

    assert tree.totals(b"d") == Totals(3, 1011)
    assert tree.totals() == Totals(4, 1012)


def test_listing_a_folder_sums_up_the_folders_in_it() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"a/b/1", b"a/b/2", b"a/c", b"a/e/", b"a!", b"b/e/")

    assert list(tree.list_folder()) == [Folder(b"a", 3, 3), file(b"a!"), Folder(b"b", 0, 0)]
    assert list(tree.list_folder(b"a")) == [Folder(b"a/b", 2, 2), file(b"a/c"), folder(b"a/e")]
    assert list(tree.list_folder(b"a!")) == []
    assert list(tree.list_folder(b"a/e")) == []
    assert list(tree.list_folder(b"absent")) == []


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3000)), min_size=1, max_size=8), st.lists(st.integers(0, 12))
)
@settings(max_examples=20, deadline=None)
def test_listing_a_folder_of_any_size_shows_what_is_in_it(runs: list[tuple[int, int]], files: list[int]) -> None:
    objects = MemoryObjects()
    paths = {b"top/%02d/%05d" % (name, number) for name, count in runs for number in range(count)}
    paths |= {b"top/%02d.txt" % name for name in files} | {b"other"}
    tree = tree_of(objects, *paths)

    found = list(Tree(objects, tree.root).list_folder(b"top"))

    parts = {path.split(b"/")[1] for path in paths if path.startswith(b"top/")}
    assert [item.path for item in found] == [b"top/" + part for part in sorted(parts)]
    for item in found:
        if isinstance(item, Folder):
            count = sum(is_within(path, item.path) for path in paths)
            assert (item.files, item.size) == (count, count) == tree.totals(item.path)


# Editing


@given(st.lists(st.tuples(paths, st.sampled_from(["file", "folder", "remove"])), max_size=25), st.data())
@settings(max_examples=300, deadline=None)
def test_edits_obey_the_rules_of_a_file_system(steps: list[tuple[bytes, str]], data: st.DataObject) -> None:
    objects = MemoryObjects()
    tree, model = Tree(objects), dict[bytes, Entry]()

    while steps:
        count = data.draw(st.integers(1, len(steps)))
        batch, steps = steps[:count], steps[count:]
        edits = [(path, {"file": file(path), "folder": folder(path)}.get(what)) for path, what in batch]
        expected = model_after(model, edits)

        if expected is None:
            with pytest.raises(PathConflictError):
                tree.apply(objects, edits)
        else:
            tree, model = tree.apply(objects, edits), expected

        assert {entry.path: entry for entry in tree.entries()} == model
        assert tree.root == Tree.build(objects, objects, sorted(model.values(), key=lambda e: path_key(e.path))).root


def model_after(model: dict[bytes, Entry], edits: list[tuple[bytes, Entry | None]]) -> dict[bytes, Entry] | None:
    """Return what *model* is after *edits*, by looking at all pairs; None for a conflict."""
    wanted: dict[bytes, Entry | None] = {**model, **dict(edits)}
    entries = {path: entry for path, entry in wanted.items() if entry is not None}
    above = {
        entry.path
        for entry in entries.values()
        if any(other != entry.path and is_within(other, entry.path) for other in entries)
    }
    if any(entries[path].kind != EntryKind.FOLDER for path in above):
        return None
    return {path: entry for path, entry in entries.items() if path not in above}


@pytest.mark.parametrize(
    ("before", "edit"),
    [
        ([b"a"], [b"a/b"]),
        ([b"a"], [b"a/b/c"]),
        ([b"a"], [b"a/b/"]),
        ([b"a/b"], [b"a"]),
        ([b"a/b/"], [b"a"]),
        ([], [b"a", b"a/b"]),
        ([], [b"a/b", b"a"]),
    ],
)
def test_a_file_cannot_be_a_folder_too(before: list[bytes], edit: list[bytes]) -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, *before)

    with pytest.raises(PathConflictError) as caught:
        apply(tree, objects, *edit)

    assert caught.value.file == b"a"
    assert caught.value.below.startswith(b"a/")


def test_a_batch_may_replace_a_file_by_a_folder_and_back() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"a", b"z")

    tree = apply(tree, objects, b"a/b", b"a/c", without=[b"a"])
    assert paths_of(tree) == [b"a/b", b"a/c", b"z"]

    with pytest.raises(PathConflictError):
        apply(tree, objects, b"a", without=[b"a/b"])
    assert paths_of(apply(tree, objects, b"a", without=[b"a/b", b"a/c"])) == [b"a", b"z"]


def test_an_empty_folder_goes_when_something_comes_below_it() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"d/", b"e/")

    assert paths_of(apply(tree, objects, b"d/x/y")) == [b"d/x/y", b"e"]
    assert paths_of(apply(tree, objects, b"d/x/")) == [b"d/x", b"e"]
    assert paths_of(apply(tree, objects, b"d")) == [b"d", b"e"]
    assert paths_of(tree_of(objects, b"d/", b"d/x/", b"d/x/y/")) == [b"d/x/y"]


def test_a_folder_with_something_in_it_cannot_become_an_empty_one() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"d/x", b"d/y")

    assert apply(tree, objects, b"d/").root == tree.root
    assert paths_of(apply(tree, objects, b"d/", without=[b"d/x"])) == [b"d/y"]
    assert paths_of(apply(tree, objects, b"d/", without=[b"d/x", b"d/y"])) == [b"d"]


def test_the_rules_hold_across_pages() -> None:
    objects = MemoryObjects()
    numbers = range(4000)
    plain = tree_of(objects, *(b"%05d" % number for number in numbers))
    nested = tree_of(objects, *(b"%05d/f" % number for number in numbers))
    empty = tree_of(objects, *(b"%05d/" % number for number in numbers))

    for number in numbers:
        with pytest.raises(PathConflictError):
            apply(plain, objects, b"%05d/x" % number)
        with pytest.raises(PathConflictError):
            apply(nested, objects, b"%05d" % number)
    below = apply(empty, objects, *(b"%05d/x" % number for number in numbers))
    assert paths_of(below) == [b"%05d/x" % number for number in numbers]
    assert apply(nested, objects, *(b"%05d/" % number for number in numbers)).root == nested.root


def test_of_several_edits_of_a_path_the_last_one_counts() -> None:
    objects = MemoryObjects()

    tree = Tree(objects).apply(objects, [(b"a", file(b"a", b"1")), (b"a", None), (b"a", file(b"a", b"2"))])

    assert tree.get(b"a") == file(b"a", b"2")


def test_a_tree_is_not_changed_by_editing_it() -> None:
    objects = MemoryObjects()
    tree = tree_of(objects, b"a")

    apply(tree, objects, b"b", without=[b"a"])

    assert paths_of(tree) == [b"a"]


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_files_added_in_any_batches_make_one_tree(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311
    objects = MemoryObjects()
    paths = [b"d%d/%d/%d" % (number % 3, number % 70, number) for number in range(3000)]
    expected = tree_of(objects, *paths).root
    source.shuffle(paths)
    tree, start = Tree(objects), 0

    while start < len(paths):
        end = start + source.choice([1, 10, 1000])
        tree, start = apply(tree, objects, *paths[start:end]), end

    assert tree.root == expected


# What is refused


bad_paths = [
    b"",
    b"/a",
    b"a/",
    b"a//b",
    b"a/./b",
    b"..",
    b"a\0b",
    b".dsvc/x",
    b"a/.DSVC",
    b"DSVC~1",
    b"a/" + b"n" * 256,
]


@pytest.mark.parametrize("path", bad_paths)
def test_a_path_that_could_do_harm_is_not_written(path: bytes) -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidPathError):
        Tree(objects).apply(objects, [(b"good", file(b"good")), (path, file(path)), (b"well", None)])


@pytest.mark.parametrize("path", [*bad_paths, b".\xe2\x80\x8cdsvc", b"a/b.dsvc/../../x"])
def test_a_path_that_could_do_harm_is_not_read(path: bytes) -> None:
    objects = MemoryObjects()
    root = objects.write(Kind.PAGE, encode(LeafPage(1, 0, [file(path)])))

    with pytest.raises(MalformedPageError):
        list(Tree(objects, root).entries())


components = st.one_of(
    st.sampled_from(
        [
            b"",
            b".",
            b"..",
            b"a",
            b".dsvc",
            b".Dsvc. ",
            b"dsvc~1",
            b"d",
            b".d",
            b"...",
            b"a.b",
            b"\0",
            b"\xe2\x80\x8c.dsvc",
        ]
    ),
    st.binary(max_size=6),
    st.just(b"n" * 256),
)


@given(st.lists(st.lists(components, max_size=4).map(b"/".join), max_size=6))
def test_paths_are_checked_in_bulk_as_one_by_one(paths: list[bytes]) -> None:
    try:
        for path in paths:
            validate_path(path)
    except InvalidPathError:
        with pytest.raises(InvalidPathError):
            path_keys(paths)
    else:
        assert path_keys(paths) == [path_key(path) for path in paths]


DIGEST = b"d" * 32

bad_entries = {
    "an unknown kind": Entry(b"a", 5, 1, DIGEST),
    "a negative kind": Entry(b"a", -1, 1, DIGEST),
    "a negative size": Entry(b"a", 0, -1, DIGEST),
    "a size over the limit": Entry(b"a", 0, 2**63, DIGEST),
    "no digest": Entry(b"a", 0, 1, b""),
    "a short digest": Entry(b"a", 0, 1, b"d" * 31),
    "a long digest": Entry(b"a", 0, 1, b"d" * 33),
    "an empty file with a digest of something": Entry(b"a", 0, 0, DIGEST),
    "an empty folder with a digest": Entry(b"a", 3, 0, DIGEST),
    "an empty folder with a size": Entry(b"a", 3, 1, b""),
    "an empty folder with a blob": Entry(b"a", 3, 0, b"", DIGEST),
    "a short blob": Entry(b"a", 0, 1, DIGEST, b"b"),
    "an empty file with a blob": Entry(b"a", 0, 0, bytes(EMPTY_DIGEST), DIGEST),
    "a link with a blob": Entry(b"a", 2, 1, DIGEST, DIGEST),
    "an external file with a short digest": Entry(b"a", 4, 1, b"d"),
    "an external file that says nowhere": Entry(b"a", 4, 1, b""),
    "a short extension": Entry(b"a", 0, 1, DIGEST, None, b"e"),
}


@pytest.mark.parametrize("entry", bad_entries.values(), ids=list(bad_entries))
def test_an_entry_that_contradicts_itself_is_neither_written_nor_read(entry: Entry) -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidEntryError):
        Tree(objects).apply(objects, [(b"a", entry)])
    root = objects.write(Kind.PAGE, encode(LeafPage(1, 0, [entry])))
    with pytest.raises(MalformedPageError):
        Tree(objects, root).get(b"a")


@pytest.mark.parametrize(
    "entry",
    [
        file(b"a", b""),
        file(b"a", b"1", EntryKind.EXECUTABLE),
        file(b"a", b"target", EntryKind.SYMLINK),
        folder(b"a"),
        Entry(b"a", 4, 0, b"", None, DIGEST),
        Entry(b"a", 4, 9, DIGEST, None, DIGEST),
        Entry(b"a", 0, 2**63 - 1, DIGEST, DIGEST, DIGEST),
    ],
)
def test_entries_of_every_kind_are_written_and_read_back(entry: Entry) -> None:
    objects = MemoryObjects()

    root = Tree(objects).apply(objects, [(b"a", entry)]).root

    assert Tree(objects, root).get(b"a") == entry


def test_an_entry_goes_only_to_its_own_path() -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidInputError):
        Tree(objects).apply(objects, [(b"a", file(b"b"))])


def test_a_tree_of_more_bytes_than_can_be_counted_is_not_written() -> None:
    objects = MemoryObjects()
    entries = [Entry(path, 0, 2**62, DIGEST) for path in (b"a", b"b")]

    with pytest.raises(InvalidInputError):
        Tree(objects).apply(objects, [(entry.path, entry) for entry in entries])


def leaf_of(objects: MemoryObjects, *entries: Entry) -> Child:
    page = objects.write(Kind.PAGE, encode(LeafPage(1, 0, list(entries))))
    return Child(path_key(entries[-1].path), bytes(page), len(entries), sum(entry.size for entry in entries))


@pytest.mark.parametrize("above", [file(b"a"), file(b"a", b"/etc", EntryKind.SYMLINK), folder(b"a")])
def test_a_page_with_one_path_below_another_is_refused(above: Entry) -> None:
    objects = MemoryObjects()
    root = objects.write(Kind.PAGE, encode(LeafPage(1, 0, [above, file(b"a/b")])))

    with pytest.raises(MalformedPageError):
        list(Tree(objects, root).entries())


def test_a_path_below_the_last_one_of_the_page_before_is_refused() -> None:
    objects = MemoryObjects()
    children = [leaf_of(objects, file(b"a", b"/etc", EntryKind.SYMLINK)), leaf_of(objects, file(b"a/passwd"))]
    tree = Tree(objects, objects.write(Kind.PAGE, encode(InnerPage(1, 1, children))))

    attempts: list[Any] = [
        lambda: list(tree.entries()),
        lambda: list(tree.entries(b"a")),
        lambda: tree.get(b"a/passwd"),
        lambda: list(tree.list_folder(b"a")),
    ]
    for attempt in attempts:
        with pytest.raises(CorruptionError):
            attempt()


# The format


def test_the_root_of_a_tree_is_a_constant_of_the_format() -> None:
    objects = MemoryObjects()
    entries = [
        file(b"README.md", b"hello\n"),
        file(b"bin/run", b"#!/bin/sh\n", EntryKind.EXECUTABLE),
        file(b"bin/latest", b"run", EntryKind.SYMLINK),
        folder(b"empty"),
        file(b"bin.txt", b""),
        Entry(b"far", 4, 12345, b"", None, b"\x01" * 32),
        Entry(b"large", 0, 10**9, b"\x02" * 32, b"\x03" * 32),
    ]
    small = Tree(objects).apply(objects, [(entry.path, entry) for entry in entries])
    large = tree_of(objects, *(b"train/%02d/%05d.jpg" % (number % 50, number) for number in range(5000)))

    assert str(Tree(objects).root) == "5d4980e37b20724b70a65b2854f1ce21bc67d32a1dfe13cc37f9b81982841d72"
    assert str(small.root) == "3b7312af74eb410afd4184c61436a0db1b8e4aaea43e213e7abc6bee9648e762"
    assert str(large.root) == "4be8b88d1c0cdff7a0d66808dc2284ae3d0b104fc84411b8268f427452a000ac"


def test_a_tree_of_few_entries_is_one_page() -> None:
    objects = MemoryObjects()

    root = tree_of(objects, b"a/b", b"c").root

    assert objects.read(Kind.PAGE, root) == encode(LeafPage(1, 0, [file(b"a/b"), file(b"c")]))
    assert isinstance(root, ObjectId)
