"""How much room versions take, against a plain count of chunks."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.history.usage import exclusive_chunks, stored_size, usage_by_folder
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.ids import Kind, hash_object
from dsvc.model.tree import Entry, EntryKind
from tests.history_support import Clock, make_store

# Chunks of different lengths; the last three never shrink.
CHUNKS = [b"%d" % number * 50 for number in range(5)] + [bytes(range(number, 256)) for number in range(3)]
PATHS = [b"a", b"b/c", b"b/d/e", b"b/d/f", b"z/y"]

Files = dict[bytes, list[int]]
FILES = st.dictionaries(st.sampled_from(PATHS), st.lists(st.integers(0, len(CHUNKS) - 1), min_size=1, max_size=3))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = make_store(tmp_path_factory.mktemp("store"), Clock())
    writer = store.writer()
    for chunk in CHUNKS:
        writer.write(Kind.CHUNK, chunk)
    sealed = [writer.seal()]
    store.publish(lambda _: [], sealed)
    return store


def version(store: Store, files: Files) -> Tree:
    writer = store.writer()
    edits: list[tuple[bytes, Entry]] = []
    for path, numbers in files.items():
        items = [BlobItem(bytes(hash_object(Kind.CHUNK, CHUNKS[one])), len(CHUNKS[one])) for one in numbers]
        content = b"".join(CHUNKS[one] for one in numbers)
        blob = None if len(items) == 1 else bytes(writer.write(Kind.BLOB, encode(Blob(FORMAT_VERSION, 0, items))))
        edits.append((path, Entry(path, EntryKind.FILE, len(content), bytes(hash_object(Kind.CHUNK, content)), blob)))
    tree = Tree(store.objects).apply(writer, edits)
    writer.seal()
    return tree


def chunk_ids(files: Files) -> set[bytes]:
    return {bytes(hash_object(Kind.CHUNK, CHUNKS[one])) for numbers in files.values() for one in numbers}


def room(store: Store, ids: set[bytes]) -> float:
    return sum(stored_size(store.objects, one) or 0 for one in ids)


# Each version is a pack on the disk.
@settings(max_examples=30, deadline=None)
@given(FILES, st.lists(FILES, max_size=3))
def test_a_version_holds_alone_what_no_other_has(store: Store, files: Files, others: list[Files]) -> None:
    alone = exclusive_chunks(store.objects, version(store, files), [b""], [version(store, other) for other in others])

    assert alone == chunk_ids(files) - set().union(*map(chunk_ids, others))


# Each version is a pack on the disk.
@settings(max_examples=30, deadline=None)
@given(FILES, st.integers(0, 3))
def test_each_folder_counts_what_is_below_it_and_each_chunk_counts_once(store: Store, files: Files, depth: int) -> None:
    alone = chunk_ids({path: numbers for path, numbers in files.items() if path == b"a"})

    usages = list(usage_by_folder(store.objects, version(store, files), b"", depth=depth, exclusive=alone, seen=set()))

    total = usages[-1]
    assert (total.path, total.files, total.absent) == (b"", len(files), 0)
    assert total.raw == sum(len(CHUNKS[one]) for numbers in files.values() for one in numbers)
    assert total.stored == pytest.approx(room(store, chunk_ids(files)))
    assert total.exclusive == pytest.approx(room(store, alone))
    folders = {b"/".join(path.split(b"/")[:level]) for path in files for level in range(1, path.count(b"/") + 1)}
    assert {usage.path for usage in usages[:-1]} == {one for one in folders if one.count(b"/") < depth}
    for usage in usages[:-1]:
        below = [numbers for path, numbers in files.items() if path.startswith(usage.path + b"/")]
        assert usage.files == len(below)
        assert usage.raw == sum(len(CHUNKS[one]) for numbers in below for one in numbers)


def test_the_room_of_all_objects_is_the_room_of_their_frames(tmp_path: Path) -> None:
    store = make_store(tmp_path, Clock())
    writer = store.writer()
    ids = [writer.write(Kind.CHUNK, chunk) for chunk in CHUNKS]
    sealed = [writer.seal()]
    store.publish(lambda _: [], sealed)

    (pack,) = (tmp_path / "packs").rglob("*.0")

    # The pack has a header and a footer besides its frames.
    assert 0 < pack.stat().st_size - sum(stored_size(store.objects, one) or 0 for one in ids) < 600


def test_what_is_not_in_the_store_is_counted_apart(store: Store) -> None:
    gone = Entry(b"gone", EntryKind.FILE, 7, b"\1" * 32)
    tree = Tree(store.objects).apply(store.writer(), [(b"gone", gone)])

    (usage,) = usage_by_folder(store.objects, tree, b"", depth=0, seen=set())

    assert (usage.raw, usage.stored, usage.absent) == (7, 0, 7)
