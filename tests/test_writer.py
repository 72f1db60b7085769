"""What is sealed is whole and durable in the right order; what is not leaves nothing behind."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError, NoSpaceError
from dsvc.model.ids import Kind, hash_object
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import METADATA_PACK_SIZE, pack_key
from dsvc.odb.pack_reader import open_pack, verified_pieces
from dsvc.odb.segment import MalformedSegmentError, segment_key
from dsvc.odb.segment_writer import SegmentBuilder, build_segment
from dsvc.odb.writer import DatabaseWriter, PackSet, Sealed, make_index, store_segment
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.odb_support import RecordingBackend, bytes_of, chunk_id, make_pack, noise, open_writer

scratch = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)

batches = st.lists(
    st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=30)), max_size=6), min_size=1, max_size=6
)


def live(packs: set[str], segments: set[str], sealed: Sealed) -> None:
    """Change what is live as a transaction that names *sealed* would."""
    packs.update(sealed.packs)
    if sealed.merged is not None:
        segments.difference_update(sealed.replaces)
        segments.add(sealed.merged.name)
    elif sealed.segment is not None:
        segments.add(sealed.segment.name)


@settings(scratch, max_examples=25)
@given(batches)
def test_what_was_sealed_in_turns_is_all_there_for_another_process(
    tmp_path: Path, written: list[list[tuple[Kind, bytes]]]
) -> None:
    backend = LocalBackend(tmp_path)
    database, writer = open_writer(backend)
    packs: set[str] = set()
    segments: set[str] = set()
    for batch in written:
        ids = [writer.write(kind, data) for kind, data in batch]
        assert ids == [hash_object(kind, data) for kind, data in batch]
        live(packs, segments, writer.seal())
        database.update(packs, segments)

    again = ObjectDatabase(backend, packs=packs, segments=segments)

    for kind, data in {one for batch in written for one in batch}:
        assert again.read(kind, hash_object(kind, data)) == data
    assert sum(map(len, again.segments)) == len({one for batch in written for one in batch})


def test_an_object_is_written_once(tmp_path: Path) -> None:
    _, writer = open_writer(LocalBackend(tmp_path))
    for _ in range(3):
        writer.write(Kind.CHUNK, b"a")
        writer.write(Kind.PAGE, b"a")

    first = writer.seal()
    writer.write(Kind.CHUNK, b"a")
    writer.write(Kind.PAGE, b"a")

    assert first.objects == 2
    assert writer.seal() == Sealed()


def test_data_and_metadata_are_in_packs_of_their_own(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    _, writer = open_writer(backend)
    for kind in Kind:
        writer.write(kind, b"a")

    sealed = writer.seal()

    found = {open_pack(backend, name).footer.content: open_pack(backend, name).footer.kinds for name in sealed.packs}
    assert found == {0: bytes([Kind.CHUNK]), 1: bytes(kind for kind in Kind if kind != Kind.CHUNK)}


def test_packs_are_durable_before_the_index_that_names_them(tmp_path: Path) -> None:
    backend = RecordingBackend(tmp_path)
    _, writer = open_writer(backend)
    writer.write(Kind.CHUNK, b"a")
    writer.write(Kind.PAGE, b"a")

    assert backend.stored == []
    sealed = writer.seal()

    assert sealed.segment is not None
    assert backend.stored == [*map(pack_key, sealed.packs), segment_key(sealed.segment.name)]


def test_nothing_that_is_named_is_ever_written_again(tmp_path: Path) -> None:
    backend = RecordingBackend(tmp_path)
    database, writer = open_writer(backend)
    packs: set[str] = set()
    segments: set[str] = set()
    for number in range(30):
        writer.write(Kind.CHUNK, bytes([number]))
        live(packs, segments, writer.seal())
        database.update(packs, segments)

    assert len(backend.stored) == len(set(backend.stored)) == 60
    assert len(segments) <= 3


def test_of_a_merge_only_the_merged_segment_is_stored(tmp_path: Path) -> None:
    backend = RecordingBackend(tmp_path)
    database, writer = open_writer(backend)
    writer.write(Kind.CHUNK, b"a")
    first = writer.seal()
    writer.write(Kind.CHUNK, b"b")

    second = writer.seal()

    assert first.merged is None
    assert first.segment is not None
    assert second.segment is not None
    assert second.merged is not None
    assert second.replaces == [first.segment.name]
    assert backend.stored[-1] == segment_key(second.merged.name)
    assert segment_key(second.segment.name) not in bytes_of(backend, "index/")
    # Where another process merged meanwhile, it stands alone after all.
    store_segment(backend, second.segment)
    other = ObjectDatabase(backend, packs=second.packs, segments=[second.segment.name])
    assert other.read(Kind.CHUNK, chunk_id(b"b")) == b"b"
    assert database.read(Kind.CHUNK, chunk_id(b"b")) == b"b"


def test_a_damaged_segment_is_not_merged_under_a_good_name(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    _, writer = open_writer(backend)
    writer.write(Kind.CHUNK, b"a")
    first = writer.seal()
    assert first.segment is not None
    data = bytearray(first.segment.data)
    data[70] ^= 1
    backend.write(segment_key(first.segment.name), data)
    database = ObjectDatabase(backend, packs=first.packs, segments=[first.segment.name])
    writer = DatabaseWriter(database, backend, generation=0)
    writer.write(Kind.CHUNK, b"b")

    with pytest.raises(MalformedSegmentError, match=first.segment.name):
        writer.seal()
    assert list(bytes_of(backend, "index/")) == [segment_key(first.segment.name)]


def test_sealing_twice_gives_nothing_the_second_time(tmp_path: Path) -> None:
    _, writer = open_writer(LocalBackend(tmp_path))
    writer.write(Kind.CHUNK, b"a")

    assert writer.seal().packs
    assert writer.seal() == Sealed()
    assert open_writer(LocalBackend(tmp_path))[1].seal() == Sealed()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_discarding_leaves_no_file(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    database, writer = open_writer(backend)
    (tmp_path / "tmp").mkdir()
    writer.take([make_pack(tmp_path / "tmp", [b"taken"])])
    writer.write(Kind.CHUNK, b"a")
    for number in range(3):
        writer.write(Kind.PAGE, noise(METADATA_PACK_SIZE // 2, number))
    assert len(files(tmp_path)) == 4

    writer.discard()
    writer.discard()

    assert files(tmp_path) == []
    assert chunk_id(b"a") not in database


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, writer = open_writer(LocalBackend(tmp_path))
    writer.write(Kind.CHUNK, b"a")

    def full(_file: int, _parts: Sequence[bytes]) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(NoSpaceError):
        writer.seal()
    writer.discard()

    assert files(tmp_path) == []


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda file, parts: real(file, [b"".join(parts)[:5]]))
    backend = LocalBackend(tmp_path)
    database, writer = open_writer(backend)
    object_id = writer.write(Kind.CHUNK, noise(5000))
    writer.seal()

    assert database.read(Kind.CHUNK, object_id) == noise(5000)


def test_a_pack_that_two_workers_made_is_one(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    database, writer = open_writer(backend)
    sets = [PackSet(backend.temporary, 0) for _ in range(2)]
    for one in sets:
        one.add(Kind.CHUNK, chunk_id(b"a"), b"a")
        writer.take(one.finish())

    sealed = writer.seal()

    assert len(sealed.packs) == 1
    assert sealed.objects == 1
    assert database.read(Kind.CHUNK, chunk_id(b"a")) == b"a"


def test_packs_are_closed_when_they_are_full(tmp_path: Path) -> None:
    packs = PackSet(lambda: tmp_path / str(len(files(tmp_path))), 0, metadata=True)
    ids = []
    for number in range(5):
        data = noise(METADATA_PACK_SIZE // 2, number)
        ids.append(hash_object(Kind.PAGE, data))
        packs.add(Kind.PAGE, ids[-1], data)
        assert ids[-1] in packs

    sealed = packs.finish()

    assert [len(pack.ids) // 32 for pack in sealed] == [2, 2, 1]
    assert b"".join(pack.ids for pack in sealed) == b"".join(ids)
    assert packs.finish() == sealed


def test_the_generation_is_in_every_name(tmp_path: Path) -> None:
    _, writer = open_writer(LocalBackend(tmp_path), generation=12)
    writer.write(Kind.CHUNK, b"a")

    sealed = writer.seal()

    assert sealed.segment is not None
    assert all(name.endswith(".12") for name in (*sealed.packs, sealed.segment.name))


def test_a_store_without_files_cannot_be_written_to(tmp_path: Path) -> None:
    backend = MemoryBackend()

    with pytest.raises(InvalidInputError, match="this store has none"):
        DatabaseWriter(ObjectDatabase(backend), backend, generation=0)
    assert files(tmp_path) == []


def test_an_index_is_rebuilt_from_the_packs_alone(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    database, writer = open_writer(backend)
    small = [bytes([number]) * 20 for number in range(50)]
    ids = [writer.write(Kind.CHUNK, data) for data in small] + [writer.write(Kind.PAGE, b"page")]
    sealed = writer.seal()

    found = b"".join(piece.ids for name in sealed.packs for piece in verified_pieces(backend, open_pack(backend, name)))

    assert sorted(found[start : start + 32] for start in range(0, len(found), 32)) == sorted(ids)
    assert sealed.segment is not None
    assert [object_id for object_id, _ in sealed.segment.ids()] == sorted(ids)
    assert all(object_id in database for object_id in ids)


def test_indexing_counts_what_is_new(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    (tmp_path / "tmp").mkdir()
    pack = make_pack(tmp_path / "tmp", [b"a" * 1000, b"b" * 500])
    backend.adopt(pack.path, pack_key(pack.name))

    index = SegmentBuilder(0)
    index.add(pack)
    index.add(pack)

    sealed = make_index(ObjectDatabase(backend), index)

    assert (sealed.objects, sealed.raw, sealed.stored) == (2, 1500, pack.length)
    assert sealed.segment is not None
    assert sealed.segment.data == build_segment([pack]).data
