"""Reading a file's bytes, whole and in part, from its chunks."""

from collections.abc import Iterable

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import CorruptionError
from dsvc.history.content import (
    ContentElsewhereError,
    NoContentError,
    chunks_between,
    read_content,
    read_range,
)
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.ids import EMPTY_DIGEST, Kind, ObjectMismatchError
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder, MalformedBlobError
from dsvc.odb.objects import MemoryObjects, ObjectNotFoundError


class CountingObjects(MemoryObjects):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_ids: list[bytes] = []

    def read(self, kind: int, object_id: bytes) -> bytes:
        self.read_ids.append(object_id)
        return super().read(kind, object_id)


def stored(objects: MemoryObjects, pieces: Iterable[bytes], levels: int = 1) -> Entry:
    """Store a file of *pieces*, with *levels* of lists over them."""
    parts = [piece for piece in pieces if piece]
    content = b"".join(parts)
    digest = blake3(content).digest()
    items = [BlobItem(bytes(objects.write(Kind.CHUNK, part)), len(part)) for part in parts]
    if len(items) < 2:
        return Entry(b"file", EntryKind.FILE, len(content), digest)
    blob = b""
    for level in range(levels):
        lists = [items[at : at + 2] for at in range(0, len(items), 2)] if level < levels - 1 else [items]
        above = []
        for one in lists:
            blob = bytes(objects.write(Kind.BLOB, encode(Blob(FORMAT_VERSION, level, one))))
            above.append(BlobItem(blob, sum(item.length for item in one)))
        items = above
    return Entry(b"file", EntryKind.FILE, len(content), digest, blob)


PIECES = st.lists(st.binary(max_size=5), max_size=40)


@given(PIECES, st.integers(1, 3), st.integers(0, 60), st.one_of(st.none(), st.integers(0, 60)))
def test_any_range_is_the_slice_of_the_content(pieces: list[bytes], levels: int, start: int, stop: int | None) -> None:
    objects = MemoryObjects()
    entry = stored(objects, pieces, levels)

    assert b"".join(read_range(objects, entry, start, stop)) == b"".join(pieces)[start:stop]


@given(PIECES, st.integers(1, 3))
def test_the_whole_content_comes_back(pieces: list[bytes], levels: int) -> None:
    objects = MemoryObjects()

    assert read_content(objects, stored(objects, pieces, levels)) == b"".join(pieces)


def test_a_range_reads_only_the_chunks_and_lists_that_it_needs() -> None:
    objects = CountingObjects()
    pieces = [bytes([number]) * 10 for number in range(64)]
    entry = stored(objects, pieces, levels=3)

    assert b"".join(read_range(objects, entry, 315, 325)) == pieces[31][5:] + pieces[32][:5]

    # Two chunks, the root of the lists, and a list on each lower level for each of them.
    assert len(objects.read_ids) == 2 + 1 + 4
    assert [span.offset for span in chunks_between(objects, entry, 315, 325)] == [310, 320]


def test_lists_that_the_writer_cuts_are_read() -> None:
    objects = MemoryObjects()
    builder = BlobBuilder()
    content = b"".join(number.to_bytes(4, "big") for number in range(4000))
    for number in range(4000):
        builder.add(objects.write(Kind.CHUNK, number.to_bytes(4, "big")), 4)
    blobs = [objects.write(Kind.BLOB, blob) for blob in builder.finish()]
    entry = Entry(b"file", EntryKind.FILE, len(content), blake3(content).digest(), bytes(blobs[-1]))

    assert len(blobs) > 1
    assert read_content(objects, entry) == content
    assert b"".join(read_range(objects, entry, 9_998, 10_003)) == content[9_998:10_003]


def test_a_symlink_holds_its_target() -> None:
    objects = MemoryObjects()
    digest = bytes(objects.write(Kind.CHUNK, b"../target"))

    assert read_content(objects, Entry(b"link", EntryKind.SYMLINK, 9, digest)) == b"../target"


def test_an_empty_file_needs_no_object() -> None:
    assert read_content(MemoryObjects(), Entry(b"file", EntryKind.FILE, 0, bytes(EMPTY_DIGEST))) == b""


def test_folders_and_external_files_have_no_content_here() -> None:
    with pytest.raises(NoContentError, match="data is a folder"):
        read_content(MemoryObjects(), Entry(b"data", EntryKind.FOLDER, 0, b""))
    with pytest.raises(ContentElsewhereError, match="video is kept elsewhere"):
        read_content(MemoryObjects(), Entry(b"video", EntryKind.EXTERNAL, 5, b""))


def test_chunks_that_do_not_make_the_file_are_told_before_its_last_piece() -> None:
    objects = MemoryObjects()
    right = stored(objects, [b"one", b"two", b"three"])
    wrong = Entry(right.path, right.kind, right.size, bytes(32), right.blob)
    pieces = read_range(objects, wrong)

    assert [next(pieces), next(pieces)] == [b"one", b"two"]
    with pytest.raises(ObjectMismatchError, match="damaged in file"):
        next(pieces)


@pytest.mark.parametrize("size", [10, 12])
def test_a_list_of_another_length_than_the_file_is_refused(size: int) -> None:
    objects = MemoryObjects()
    entry = stored(objects, [b"one", b"two", b"three"])

    with pytest.raises(MalformedBlobError):
        read_content(objects, Entry(entry.path, entry.kind, size, entry.digest, entry.blob))


def test_a_chunk_of_another_length_than_its_list_says_is_refused() -> None:
    objects = MemoryObjects()
    chunk = bytes(objects.write(Kind.CHUNK, b"four"))
    blob = Blob(FORMAT_VERSION, 0, [BlobItem(chunk, 3), BlobItem(chunk, 4)])
    entry = Entry(b"file", EntryKind.FILE, 7, bytes(32), bytes(objects.write(Kind.BLOB, encode(blob))))

    with pytest.raises(CorruptionError, match="a chunk of another length"):
        read_content(objects, entry)


def test_a_chunk_that_is_not_here_is_named() -> None:
    with pytest.raises(ObjectNotFoundError, match="01" * 32):
        read_content(MemoryObjects(), Entry(b"file", EntryKind.FILE, 3, b"\1" * 32))
