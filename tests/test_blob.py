"""A list of chunks of any length is stored so that an edit rewrites little of it."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.ids import Kind, hash_object
from dsvc.odb.blob_writer import BlobBuilder, MalformedBlobError, chunks_of
from dsvc.odb.objects import MemoryObjects, ObjectNotFoundError
from tests.odb_support import noise

lengths = st.lists(st.integers(1, 2**20), min_size=1, max_size=30)


def items(count: int, seed: int = 0) -> list[BlobItem]:
    ids = noise(32 * count, seed)
    return [BlobItem(ids[32 * one : 32 * one + 32], 70_000 + one % 1000) for one in range(count)]


def build(chunks: Sequence[BlobItem]) -> list[bytes]:
    builder = BlobBuilder()
    for chunk in chunks:
        builder.add(chunk.id, chunk.length)
    return builder.finish()


def stored(blobs: Sequence[bytes]) -> tuple[MemoryObjects, bytes]:
    objects = MemoryObjects()
    return objects, [objects.write(Kind.BLOB, blob) for blob in blobs][-1]


def size_of(chunks: Sequence[BlobItem]) -> int:
    return sum(chunk.length for chunk in chunks)


LONG = items(6000)


@pytest.mark.parametrize("count", [1, 2, 1500, 1637, 1638, 1639, 2000, 6000, 400_000])
def test_a_list_of_any_length_is_read_back(count: int) -> None:
    chunks = items(count)

    objects, root = stored(build(chunks))

    assert list(chunks_of(objects, root, size_of(chunks))) == chunks


@given(lengths)
def test_a_short_list_is_one_blob(sizes: list[int]) -> None:
    chunks = [BlobItem(bytes([number] * 32), size) for number, size in enumerate(sizes)]

    assert build(chunks) == [encode(Blob(FORMAT_VERSION, 0, chunks))]


def test_a_list_is_split_once_it_is_over_64_kib() -> None:
    sizes = {count: build(items(count)) for count in (1638, 1639)}

    assert [len(blob) for blob in sizes[1638]] == [65_526]
    assert len(sizes[1639]) > 1
    assert [decode(Blob, blob).level for blob in sizes[1639]] == [0] * (len(sizes[1639]) - 1) + [1]


@pytest.mark.parametrize("ids", ["noise", "never", "always"])
def test_nodes_keep_to_their_bounds_whatever_the_ids(ids: str) -> None:
    same = {"never": b"\xff" * 32, "always": bytes(32)}.get(ids)
    chunks = [BlobItem(same or chunk.id, chunk.length) for chunk in items(20_000)]

    blobs = [decode(Blob, blob) for blob in build(chunks)]

    counts = [len(blob.items) for blob in blobs if blob.level == 0]
    assert all(256 <= count <= 1536 for count in counts[:-1])
    assert counts[0] == {"never": 1536, "always": 256}.get(ids, counts[0])
    assert [item for blob in blobs if blob.level == 0 for item in blob.items] == chunks


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5999), st.integers(0, 3), st.integers(0, 3))
def test_an_edit_rewrites_the_nodes_around_it_and_the_top(place: int, removed: int, put: int) -> None:
    before = set(build(LONG))

    after = build([*LONG[:place], *items(put, seed=1), *LONG[place + removed :]])

    assert len(set(after) - before) <= 5


def test_a_blob_of_another_size_than_its_entry_says_is_refused() -> None:
    for chunks in (items(3), LONG):
        objects, root = stored(build(chunks))

        for size in (0, size_of(chunks) - 1, size_of(chunks) + 1, 2**63 - 1):
            with pytest.raises(MalformedBlobError):
                list(chunks_of(objects, root, size))


def forged(*blobs: Blob) -> tuple[MemoryObjects, bytes]:
    return stored([encode(blob) for blob in blobs])


CHUNK = BlobItem(bytes(32), 10)
LEAF = Blob(1, 0, [CHUNK, CHUNK])
LEAF_ID = bytes(hash_object(Kind.BLOB, encode(LEAF)))


@pytest.mark.parametrize(
    "top",
    [
        Blob(1, 2, [BlobItem(LEAF_ID, 20)]),  # a level is left out
        Blob(1, 1, [BlobItem(LEAF_ID, 21)]),  # more than is below
        Blob(1, 1, [BlobItem(LEAF_ID, 19), BlobItem(LEAF_ID, 20)]),
        Blob(1, 9, [BlobItem(LEAF_ID, 20)]),
        Blob(1, 0, []),
        Blob(2, 0, [CHUNK]),
    ],
)
def test_lists_that_do_not_fit_together_are_refused(top: Blob) -> None:
    objects, root = forged(LEAF, top)

    with pytest.raises(CorruptionError):
        list(chunks_of(objects, root, sum(item.length for item in top.items)))


def test_a_list_whose_part_is_missing_says_so() -> None:
    objects, root = forged(Blob(1, 1, [BlobItem(bytes(32), 20)]))

    with pytest.raises(ObjectNotFoundError):
        list(chunks_of(objects, root, 20))
