"""The database gives the right bytes of an object or an error that says what is wrong, never other bytes."""

from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, StorageError
from dsvc.model.ids import Kind, ObjectMismatchError, WrongKindError, hash_object
from dsvc.odb import database as module
from dsvc.odb import frame
from dsvc.odb.database import ObjectDatabase, load_segment
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.odb.pack import HEADER_LENGTH, pack_key
from dsvc.odb.segment import segment_key
from dsvc.odb.segment_writer import build_segment
from dsvc.odb.writer import DatabaseWriter
from dsvc.storage.backend import KeyNotFoundError
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.odb_support import (
    RecordingBackend,
    chunk_id,
    contents,
    database_of,
    make_pack,
    memory_of,
    named_segment,
    noise,
    open_writer,
)

scratch = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@scratch
@given(contents, contents)
def test_every_object_is_read_back(tmp_path: Path, chunks: list[bytes], pages: list[bytes]) -> None:
    packs = [make_pack(tmp_path, chunks, name="chunks"), make_pack(tmp_path, pages, kind=Kind.PAGE, name="pages")]
    database, _ = database_of(packs)

    for kind, objects in ((Kind.CHUNK, chunks), (Kind.PAGE, pages)):
        ids = [hash_object(kind, data) for data in objects]

        assert [database.read(kind, object_id) for object_id in ids] == objects
        assert database.read_many(kind, ids) == objects
        assert {object_id: bytes(data) for object_id, data in database.stream(kind, ids)} == dict(
            zip(ids, objects, strict=True)
        )
        assert all(database.kind_of(object_id) == kind for object_id in ids)
        assert all(object_id in database for object_id in ids)


def test_what_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    database, _ = database_of([make_pack(tmp_path, [b"a"])])

    for odd in (bytes(32), b"", b"a", bytes(33)):
        assert odd not in database
        assert database.kind_of(odd) is None
        with pytest.raises(ObjectNotFoundError):
            database.read(Kind.CHUNK, odd)
        with pytest.raises(ObjectNotFoundError):
            database.read_many(Kind.CHUNK, [chunk_id(b"a"), odd])


def test_an_object_is_not_read_as_another_kind(tmp_path: Path) -> None:
    database, _ = database_of([make_pack(tmp_path, [b"a"], kind=Kind.COMMIT)])
    object_id = hash_object(Kind.COMMIT, b"a")

    for kind in (Kind.CHUNK, Kind.PAGE):
        with pytest.raises(WrongKindError, match="the index says commit"):
            database.read(kind, object_id)
        with pytest.raises(WrongKindError):
            database.read_many(kind, [object_id])


class TestLivePacks:
    def test_what_is_in_a_pack_that_is_not_live_is_not_there(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, [b"a"])
        backend, segment = memory_of([pack])
        database = ObjectDatabase(backend, packs=[], segments=[segment.name])

        assert chunk_id(b"a") not in database
        assert database.find_prefix(chunk_id(b"a").hex()) == {}
        with pytest.raises(ObjectNotFoundError):
            database.read(Kind.CHUNK, chunk_id(b"a"))

        database.update([pack.name], [segment.name])
        assert database.read(Kind.CHUNK, chunk_id(b"a")) == b"a"
        assert database.find_prefix(chunk_id(b"a").hex()) == {chunk_id(b"a"): Kind.CHUNK}

    def test_of_twins_in_two_segments_the_one_in_a_live_pack_is_read(self, tmp_path: Path) -> None:
        packs = [make_pack(tmp_path, [b"a"], name="one"), make_pack(tmp_path, [b"a", b"b"], name="other")]
        backend, _ = memory_of(packs)
        segments = [build_segment([pack]) for pack in packs]
        for segment in segments:
            backend.write(segment_key(segment.name), segment.data)

        for pack in packs:
            database = ObjectDatabase(backend, packs=[pack.name], segments=[one.name for one in segments])
            location = database.locate(chunk_id(b"a"))

            assert location is not None
            assert location.pack == pack.name
            assert database.read(Kind.CHUNK, chunk_id(b"a")) == b"a"

    def test_a_missing_pack_is_named(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, [b"a"])
        database, backend = database_of([pack])
        backend.delete(pack_key(pack.name))

        with pytest.raises(CorruptionError, match=f"pack {pack.name} is missing"):
            database.read(Kind.CHUNK, chunk_id(b"a"))

    def test_a_missing_segment_is_named(self, tmp_path: Path) -> None:
        for backend in (MemoryBackend(), LocalBackend(tmp_path)):
            with pytest.raises(KeyNotFoundError, match="index/"):
                ObjectDatabase(backend, segments=["0" * 64 + ".0"])

    def test_an_empty_segment_file_is_damaged(self, tmp_path: Path) -> None:
        name = "0" * 64 + ".0"
        for backend in (MemoryBackend(), LocalBackend(tmp_path)):
            backend.write(segment_key(name), b"")
            with pytest.raises(CorruptionError, match="cut short"):
                load_segment(backend, name)

    def test_segments_are_asked_in_the_order_of_their_size(self, tmp_path: Path) -> None:
        packs = [
            make_pack(tmp_path, [bytes([one, other]) for other in range(one)], name=str(one)) for one in range(1, 4)
        ]
        backend, _ = memory_of(packs)
        segments = [build_segment([pack]) for pack in packs]
        for segment in segments:
            backend.write(segment_key(segment.name), segment.data)

        database = ObjectDatabase(backend, segments=[one.name for one in segments])

        assert [len(one) for one in database.segments] == [3, 2, 1]
        assert not database.is_empty
        assert ObjectDatabase(backend).is_empty

    def test_a_reader_never_misses_an_object_while_packs_are_merged(self, tmp_path: Path) -> None:
        packs = [make_pack(tmp_path, [b"a"], name="one"), make_pack(tmp_path, [b"b"], name="other")]
        backend, both = memory_of(packs)
        names = [pack.name for pack in packs]
        first = build_segment(packs[:1])
        backend.write(segment_key(first.name), first.data)
        database = ObjectDatabase(backend, packs=names[:1], segments=[first.name])
        missed: list[int] = []
        stop: list[bool] = []

        def look() -> None:
            while not stop:
                missed.extend([1] * (chunk_id(b"a") not in database))

        threads = [Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            database.update(names, [both.name])
            database.attach(names[:1], [first])
            database.update(names[:1], [first.name])
        stop.append(True)
        for thread in threads:
            thread.join()

        assert missed == []


class TestStream:
    def test_objects_come_in_the_order_of_storage_each_once(self, tmp_path: Path) -> None:
        packs = [
            make_pack(tmp_path, [noise(10, 10 * one + two) for two in range(5)], name=str(one)) for one in range(3)
        ]
        database, _ = database_of(packs)
        ids = [pack.ids[start : start + 32] for pack in packs for start in range(0, 160, 32)]

        found = [object_id for object_id, _ in database.stream(Kind.CHUNK, [*reversed(ids), *ids])]

        ordered = sorted(packs, key=lambda pack: pack.name)
        assert b"".join(found) == b"".join(pack.ids for pack in ordered)

    def test_each_frame_is_read_once_and_neighbours_together(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        large = [noise(100_000, seed) for seed in range(100)]
        for data in large:
            writer.write(Kind.CHUNK, data)
        writer.seal()
        chosen = [chunk_id(data) for data in (*large[:4], large[60], large[99])]

        found = dict(database.stream(Kind.CHUNK, chosen))

        assert {object_id: bytes(data) for object_id, data in found.items()} == {
            chunk_id(data): data for data in (*large[:4], large[60], large[99])
        }
        frame_length = 100_000 + frame.HEADER_LENGTH
        assert [ranges for _, ranges in backend.ranges] == [
            ((16, 4 * frame_length), (16 + 60 * frame_length, frame_length), (16 + 99 * frame_length, frame_length))
        ]

    def test_many_frames_are_read_a_few_at_a_time(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        large = [noise(100_000, seed) for seed in range(100)]
        for data in large:
            writer.write(Kind.CHUNK, data)
        writer.seal()

        found = dict(database.stream(Kind.CHUNK, map(chunk_id, large)))

        assert [bytes(found[chunk_id(data)]) for data in large] == large
        read = [span for _, ranges in backend.ranges for span in ranges]
        assert max(length for _, length in read) < 2_000_000
        assert sum(length for _, length in read) == 100 * (100_000 + frame.HEADER_LENGTH)

    def test_without_verifying_it_is_for_the_caller_to_hash(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        object_id = writer.write(Kind.CHUNK, noise(1000))
        (pack,) = writer.seal().packs
        path = backend.path(pack_key(pack))
        path.chmod(0o644)
        damaged = bytearray(path.read_bytes())
        damaged[HEADER_LENGTH + frame.HEADER_LENGTH + 500] ^= 1
        path.write_bytes(damaged)

        ((_, data),) = database.stream(Kind.CHUNK, [object_id], trusted=[object_id])

        assert chunk_id(bytes(data)) != object_id
        with pytest.raises(ObjectMismatchError):
            list(database.stream(Kind.CHUNK, [object_id]))

    def test_a_small_gap_is_read_along(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        small = noise(1000)
        for data in (noise(100_000, 1), small, noise(100_000, 2)):
            writer.write(Kind.CHUNK, data)
        writer.seal()

        list(database.stream(Kind.CHUNK, [chunk_id(noise(100_000, 1)), chunk_id(noise(100_000, 2))]))

        ((_, ranges),) = backend.ranges
        assert len(ranges) == 1

    def test_a_batch_is_bounded_and_never_splits_a_frame(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_LOCAL_BATCH_BYTES", 250_000)
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        large = [noise(100_000, seed) for seed in range(7)]
        for data in (*large, b"a", b"b"):
            writer.write(Kind.CHUNK, data)
        writer.seal()

        found = dict(database.stream(Kind.CHUNK, [chunk_id(data) for data in (*large, b"a", b"b")]))

        assert len(found) == 9
        assert [sum(length for _, length in ranges) // 100_000 for _, ranges in backend.ranges] == [3, 3, 1]

    def test_nothing_is_read_for_nothing(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database = ObjectDatabase(backend)

        assert database.read_many(Kind.CHUNK, []) == []
        assert backend.ranges == []

    def test_a_frame_that_was_read_is_kept_for_its_other_objects(self, tmp_path: Path) -> None:
        backend = RecordingBackend(tmp_path)
        database, writer = open_writer(backend)
        ids = [writer.write(Kind.PAGE, bytes([number])) for number in range(10)]
        writer.seal()

        for number, object_id in enumerate(ids):
            assert database.read(Kind.PAGE, object_id) == bytes([number])

        assert len(backend.ranges) == 1


class TestPrefix:
    @scratch
    @given(contents, st.integers(0, 64))
    def test_digits_odd_or_even_find_what_begins_with_them(
        self, tmp_path: Path, objects: list[bytes], count: int
    ) -> None:
        database, _ = database_of([make_pack(tmp_path, objects, kind=Kind.PAGE)])
        ids = {hash_object(Kind.PAGE, data) for data in objects}
        digits = min(ids).hex()[:count]

        found = database.find_prefix(digits)

        assert found == {one: Kind.PAGE for one in ids if one.hex().startswith(digits)}
        assert database.find_prefix(digits.upper()) == found
        assert all(database.find_prefix(min(ids).hex() + more) == {} for more in ("0", "00", "000"))


class TestDamage:
    objects: Final = {chunk_id(data): data for data in (b"text " * 40, noise(70), b"", b"more text " * 20)}

    def check(self, database: ObjectDatabase, *, absent: bool = False) -> int:
        """Read all objects; count how many came back. Whatever else happens is a CorruptionError."""
        allowed = (CorruptionError, ObjectNotFoundError) if absent else (CorruptionError,)
        count = 0
        for object_id, data in self.objects.items():
            with suppress(*allowed):
                assert database.read(Kind.CHUNK, object_id) == data
                count += 1
            with suppress(*allowed):
                assert {bytes(found) for _, found in database.stream(Kind.CHUNK, [object_id])} == {data}
        return count

    def test_a_bit_flipped_anywhere_in_a_pack_gives_no_wrong_bytes(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, list(self.objects.values()))
        backend, segment = memory_of([pack])
        good = pack.path.read_bytes()
        whole = 0

        for bit in range(8 * len(good)):
            damaged = bytearray(good)
            damaged[bit // 8] ^= 1 << bit % 8
            backend.write(pack_key(pack.name), damaged)
            database = ObjectDatabase(backend, packs=[pack.name], segments=[segment.name])
            whole += self.check(database) == len(self.objects)

        # Header and footer are not needed to read an object.
        assert 0 < whole < 8 * len(good)

    def test_a_pack_cut_short_anywhere_is_damaged_and_not_a_failing_disk(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, list(self.objects.values()))
        backend, segment = memory_of([pack])
        good = pack.path.read_bytes()
        frames_end = sum(record.header.stored_length + frame.HEADER_LENGTH for record in pack.footer.frames) + 16

        for length in range(len(good)):
            backend.write(pack_key(pack.name), good[:length])
            database = ObjectDatabase(backend, packs=[pack.name], segments=[segment.name])
            found = self.check(database)
            assert found == (len(self.objects) if length >= frames_end else 0)

    def test_a_disk_that_fails_is_not_called_a_damaged_pack(self, tmp_path: Path) -> None:
        class Failing(MemoryBackend):
            def read_ranges(self, key: str, ranges: object) -> list[bytes]:
                message = f"no answer for {key} {ranges}"
                raise StorageError(message)

        pack = make_pack(tmp_path, [b"a"])
        backend, segment = memory_of([pack])
        failing = Failing()
        failing._values = backend._values
        database = ObjectDatabase(failing, packs=[pack.name], segments=[segment.name])

        with pytest.raises(StorageError, match="no answer"):
            database.read(Kind.CHUNK, chunk_id(b"a"))

    def test_a_bit_flipped_anywhere_in_a_segment_gives_no_wrong_bytes(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, list(self.objects.values()))
        backend, segment = memory_of([pack])
        good = bytes(segment.data)

        for bit in range(8 * len(good)):
            damaged = bytearray(good)
            damaged[bit // 8] ^= 1 << bit % 8
            backend.write(segment_key(segment.name), damaged)
            try:
                database = ObjectDatabase(backend, packs=[pack.name], segments=[segment.name])
            except CorruptionError:
                continue
            # A false "absent" is what a damaged column of ids looks like.
            self.check(database, absent=True)
            for object_id in self.objects:
                try:
                    database.kind_of(object_id)
                    database.find_prefix(object_id.hex()[:5])
                except CorruptionError:
                    continue

    @scratch
    @given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 500), min_size=7, max_size=7))
    def test_places_that_a_hostile_index_names_give_no_wrong_bytes(self, tmp_path: Path, numbers: list[int]) -> None:
        pack = make_pack(tmp_path, list(self.objects.values()))
        backend, segment = memory_of([pack])
        data = bytearray(segment.data)
        count = len(segment)
        columns = 64 + 32 * count
        # The columns of frame, place and length of each object, then those of the frame.
        for column, number in enumerate(numbers[:3]):
            for row in range(count):
                start = columns + column * (4 * count + -4 * count % 8) + 4 * row
                if column:
                    data[start : start + 4] = number.to_bytes(4, "little")
        start = columns + 3 * (4 * count + -4 * count % 8) + count + -count % 8
        for column, number in enumerate(numbers[3:]):
            if column:
                data[start + 8 * column : start + 8 * column + 4] = number.to_bytes(4, "little")
        hostile = named_segment(bytes(data))
        backend.write(segment_key(hostile.name), hostile.data)

        database = ObjectDatabase(backend, packs=[pack.name], segments=[hostile.name])

        self.check(database)

    def test_an_object_that_is_damaged_is_named_with_its_pack(self, tmp_path: Path) -> None:
        pack = make_pack(tmp_path, [noise(50)])
        database, backend = database_of([pack])
        data = bytearray(backend.read(pack_key(pack.name)))
        data[16 + frame.HEADER_LENGTH] ^= 1
        backend.write(pack_key(pack.name), data)

        with pytest.raises(ObjectMismatchError, match=f"is damaged in pack {pack.name}"):
            database.read(Kind.CHUNK, chunk_id(noise(50)))


def test_the_files_of_a_local_store_are_mapped_and_found_by_another_database(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    database = ObjectDatabase(backend)
    writer = DatabaseWriter(database, backend, generation=3)
    object_id = writer.write(Kind.TAG, b"a tag")
    sealed = writer.seal()

    assert sealed.segment is not None
    again = ObjectDatabase(backend, packs=sealed.packs, segments=[sealed.segment.name])
    assert again.read(Kind.TAG, object_id) == b"a tag"
    again.segments[0].verify()
