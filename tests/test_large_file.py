"""A large file read by several threads gives what reading it at once would."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from dsvc.chunking.fastcdc import MAX_CHUNK, Cutter
from dsvc.errors import StorageError
from dsvc.model.blob import BlobItem
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.database import ObjectDatabase
from dsvc.progress import NO_PROGRESS
from dsvc.storage.local import LocalBackend
from dsvc.worktree.large_file import LargeFileReader
from dsvc.worktree.scan import Found, found_from_stat
from tests.odb_support import noise

PIECE = 8 * 1024 * 1024


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LargeFileReader]:
    backend = LocalBackend(tmp_path / "store")
    reader = LargeFileReader(backend, ObjectDatabase(backend), 0, threads=2)
    yield reader
    reader.discard()


def written(folder: Path, data: bytes) -> Found:
    (folder / "file").write_bytes(data)
    return found_from_stat(b"file", (folder / "file").stat())


def items_of(data: bytes) -> list[BlobItem]:
    """Return the chunks of *data*, found the plain way."""
    items, start = [], 0
    for end in Cutter().cut(data, final=True):
        items.append(BlobItem(blake3(data[start:end]).digest(), end - start))
        start = end
    return items


def blobs_of(data: bytes) -> list[bytes]:
    builder = BlobBuilder()
    for item in items_of(data):
        builder.add(item.id, item.length)
    return builder.finish() if builder.count > 1 else []


@pytest.mark.parametrize(
    "length", [0, 1, MAX_CHUNK, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - MAX_CHUNK, 3 * PIECE + 77]
)
def test_a_file_of_any_length_is_cut_as_a_whole(length: int, reader: LargeFileReader, tmp_path: Path) -> None:
    data = noise(length)
    found = written(tmp_path, data)

    after, digest, blobs = reader.read(os.fsencode(tmp_path), found, NO_PROGRESS)

    assert (after, digest, blobs) == (found, blake3(data).digest(), blobs_of(data))
    packs = reader.finish()
    assert {item.id for item in items_of(data)} == {
        pack.ids[at : at + 32] for pack in packs for at in range(0, len(pack.ids), 32)
    }


@pytest.mark.parametrize(
    "edit",
    [
        lambda old: old,
        lambda old: old[: PIECE + 5] + b"inserted" + old[PIECE + 5 :],
        lambda old: old[:100] + old[2 * MAX_CHUNK :],
        lambda old: old[: 2 * PIECE] + noise(PIECE, 7) + old[3 * PIECE :],
        lambda old: old[: PIECE + 5],
        lambda old: old + noise(PIECE, 8),
        lambda old: noise(PIECE, 9) + old,
    ],
    ids=["same", "inserted", "removed", "overwritten", "shorter", "longer", "shifted"],
)
def test_along_its_old_chunks_a_file_is_cut_the_same(
    edit: Callable[[bytes], bytes], reader: LargeFileReader, tmp_path: Path
) -> None:
    old = noise(4 * PIECE + 4321)
    data = edit(old)
    found = written(tmp_path, data)

    _, digest, blobs = reader.read(os.fsencode(tmp_path), found, NO_PROGRESS, items_of(old))

    assert (digest, blobs) == (blake3(data).digest(), blobs_of(data))


def test_what_cannot_be_read_is_an_error(reader: LargeFileReader, tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    found = found_from_stat(b"file", (tmp_path / "file").stat())

    with pytest.raises(StorageError, match="cannot read file: Is a directory"):
        reader.read(os.fsencode(tmp_path), found, NO_PROGRESS)


def test_packs_that_cannot_be_written_are_an_error(reader: LargeFileReader, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"in the way")
    found = written(tmp_path, noise(10 * PIECE))

    with pytest.raises(StorageError, match="cannot write"):
        reader.read(os.fsencode(tmp_path), found, NO_PROGRESS)
