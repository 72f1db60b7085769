"""Clones of a folder, whose data is verified as it is written to files: killed at any moment, and of liars."""

import os
import shutil
from functools import partial
from itertools import count
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, hash_object
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.pack import FrameTable, PackFooter, SealedPack
from dsvc.odb.pack_reader import open_pack
from dsvc.odb.segment import Segment
from dsvc.odb.segment_writer import build_segment
from dsvc.odb.writer import Sealed, store_segment
from dsvc.storage.local import LocalBackend
from dsvc.transport.clone import clone
from dsvc.transport.remote import RemoteDamagedError
from dsvc.worktree.ingest import LARGE_FILE
from tests.killed import killed_at_step
from tests.odb_support import chunk_id, store_pack
from tests.transport_support import assert_whole, commit, files_of, make_context, make_store, noise, remote_of, values
from tests.worktree_support import EMPTY_FOLDER, make_worktree, open_copy, read_files

FILES = {
    b"empty": b"",
    b"folder/one chunk": noise(1, 90_000),
    b"folder/twin": noise(1, 90_000),
    b"huge": noise(2, LARGE_FILE + 1),
    b"small": b"small\n",
    b"three chunks": noise(3, 300_000),
}


def clone_into(folder: Path) -> int:
    worktree = open_copy(folder / "copy")
    try:
        return clone(worktree, remote_of(LocalBackend(folder / "there"), folder / "copy/.dsvc/remotes/origin")).files
    finally:
        worktree.stat_cache.close()


def make_copy(folder: Path) -> None:
    make_worktree(folder / "copy").stat_cache.close()


def here(folder: Path) -> Store:
    return Store(LocalBackend(folder / "copy/.dsvc/store"), make_context("check"))


def head(folder: Path) -> str:
    return values(here(folder))["heads/main"]


def test_what_arrived_is_a_part_of_the_store_and_shared(tmp_path: Path) -> None:
    commit(make_store(tmp_path / "there"), FILES)
    make_copy(tmp_path)

    assert clone_into(tmp_path) == len(FILES)

    assert read_files(tmp_path / "copy") == FILES
    assert files_of(here(tmp_path), head(tmp_path)) == FILES
    assert_whole(here(tmp_path).backend)
    packs = [path for path in (tmp_path / "copy/.dsvc/store/packs").rglob("*") if path.is_file()]
    assert max(packs, key=lambda path: path.stat().st_size).stat().st_nlink == 2
    assert [*(tmp_path / "copy/.dsvc/store/tmp").iterdir()] == []


def test_a_clone_that_is_killed_anywhere_goes_on_and_has_all_in_the_end(tmp_path: Path) -> None:
    files = {path: content for path, content in FILES.items() if path != b"huge"}
    commit(make_store(tmp_path / "template/there"), files)
    make_copy(tmp_path / "template")

    for step in count():
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "template/there", folder / "there", copy_function=os.link)
        shutil.copytree(tmp_path / "template/copy", folder / "copy")

        killed = killed_at_step(step, partial(clone_into, folder))

        for path, content in read_files(folder / "copy").items():
            assert content == EMPTY_FOLDER or (isinstance(content, bytes) and files[path].startswith(content))
        clone_into(folder)
        assert read_files(folder / "copy") == files
        assert files_of(here(folder), head(folder)) == files
        assert_whole(here(folder).backend)
        shutil.rmtree(folder)
        if not killed:
            assert step > 60
            break


def damage(backend: LocalBackend, content: bytes) -> bytes:
    """Damage *content* in the pack that it is in; return what that was."""
    for path in [path for path in (backend.root / "packs").rglob("*") if path.is_file()]:
        good = path.read_bytes()
        at = good.find(content)
        if at >= 0:
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([content[0] ^ 1]))
            return good
    raise AssertionError


@pytest.mark.parametrize("path", [b"folder/one chunk", b"huge", b"three chunks"])
def test_of_damage_nothing_is_kept_and_what_is_mended_comes(tmp_path: Path, path: bytes) -> None:
    there = LocalBackend(tmp_path / "there")
    commit(make_store(there.root), FILES)
    good = damage(there, FILES[path][-50_000:])
    make_copy(tmp_path)

    for _ in range(2):
        with pytest.raises(RemoteDamagedError, match=r"the remote origin: .*pack "):
            clone_into(tmp_path)

        assert path not in read_files(tmp_path / "copy")
        assert not any(blake3(FILES[name]).digest() in here(tmp_path).objects for name in FILES)

    for file in [file for file in (there.root / "packs").rglob("*") if file.stat().st_size == len(good)]:
        file.write_bytes(good)
    clone_into(tmp_path)
    assert read_files(tmp_path / "copy") == FILES
    assert files_of(here(tmp_path), head(tmp_path)) == FILES


def commit_pack(store: Store, entries: list[Entry], blobs: list[bytes], pack: str, segment: Segment) -> None:
    """Make a version of *entries*, with *blobs*, whose data is in *pack* as *segment* says."""
    store_segment(store.backend, segment)
    store.publish(lambda _: [], [Sealed(packs=[pack], segment=segment)])
    writer = store.writer()
    for blob in blobs:
        writer.write(Kind.BLOB, blob)
    tree = Tree(store.objects).apply(writer, [(entry.path, entry) for entry in entries])
    totals = tree.totals()
    made = Commit(FORMAT_VERSION, tree.root, [], "Eve", 0, 0, "trust me", "{}", [], totals.files, totals.size)
    commit_id = writer.write(Kind.COMMIT, encode(made))
    sealed = [writer.seal()]
    store.publish(lambda _: [RefChange("refs/heads/main", None, commit_id.hex())], sealed)


def sealed_pack(backend: LocalBackend, name: str) -> SealedPack:
    pack = open_pack(backend, name)
    assert pack.footer.ids is not None
    return SealedPack(name, Path(), pack.length, pack.raw_length, pack.footer, pack.footer.ids)


@pytest.mark.parametrize("size", [300_000, LARGE_FILE + 1])
def test_a_chunk_that_is_called_as_another_is_found_out_though_its_file_is_right(tmp_path: Path, size: int) -> None:
    store = make_store(tmp_path / "there")
    data, victim = noise(4, size), chunk_id(b"what somebody will add one day")
    pieces = [data[start : start + 100_000] for start in range(0, size, 100_000)]
    ids = [victim, *map(chunk_id, pieces[1:])]
    builder = BlobBuilder()
    for piece, object_id in zip(pieces, ids, strict=True):
        builder.add(object_id, len(piece))
    blobs = builder.finish()
    pack = store_pack(store.files, pieces, ids)
    entry = Entry(b"file", EntryKind.FILE, size, chunk_id(data), bytes(hash_object(Kind.BLOB, blobs[-1])))
    commit_pack(store, [entry], blobs, pack, build_segment([sealed_pack(store.files, pack)]))
    make_copy(tmp_path)

    with pytest.raises(RemoteDamagedError):
        clone_into(tmp_path)

    assert read_files(tmp_path / "copy") == {}
    assert victim not in here(tmp_path).objects


def test_what_a_pack_holds_beside_what_is_read_is_verified_as_ever(tmp_path: Path) -> None:
    store = make_store(tmp_path / "there")
    data, victim = noise(5, 90_000), chunk_id(b"what somebody will add one day")
    pack = store_pack(store.files, [data, noise(6, 90_000)], [chunk_id(data), victim])
    # The index knows of one object only, and says that it is all of the frame.
    said = sealed_pack(store.files, pack)
    record = said.footer.frames[0]
    header = msgspec.structs.replace(record.header, count=1)
    frames = FrameTable([msgspec.structs.replace(record, header=header)])
    footer = PackFooter(0, frames, bytes([Kind.CHUNK]), [2 * 90_000], chunk_id(data))
    lie = SealedPack(pack, Path(), said.length, said.raw_length, footer, chunk_id(data))
    entry = Entry(b"file", EntryKind.FILE, 90_000, chunk_id(data), None)
    commit_pack(store, [entry], [], pack, build_segment([lie]))
    make_copy(tmp_path)

    with pytest.raises(RemoteDamagedError):
        clone_into(tmp_path)

    assert victim not in here(tmp_path).objects
