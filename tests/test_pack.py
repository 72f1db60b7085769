"""A pack gives back its objects under a name that vouches for every byte, or refuses."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, StorageError
from dsvc.model.ids import Kind, ObjectMismatchError, hash_object
from dsvc.odb import frame, pack
from dsvc.odb.pack import (
    DATA_PACK_SIZE,
    HEADER_LENGTH,
    METADATA_PACK_SIZE,
    TRAILER_LENGTH,
    FrameRecord,
    MalformedPackError,
    PackFooter,
    PackWriter,
    SealedPack,
    footer_range,
    read_footer,
)
from tests.odb_support import contents, make_pack, noise

# The folder is only scratch: each example writes its own file anew.
scratch = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
metadata_kinds = st.sampled_from([kind for kind in Kind if kind != Kind.CHUNK])


def footer_of(name: str, data: bytes) -> PackFooter:
    """Read the footer as a reader must: with every check on the way to it."""
    if len(data) < HEADER_LENGTH + TRAILER_LENGTH:
        raise MalformedPackError(name, "it is cut short")
    trailer = data[-TRAILER_LENGTH:]
    offset, length = footer_range(name, trailer, len(data))
    footer = read_footer(name, data[:HEADER_LENGTH], data[offset : offset + length], trailer)
    last = footer.frames[-1] if footer.frames else None
    end = HEADER_LENGTH if last is None else last.offset + frame.HEADER_LENGTH + last.header.stored_length
    if end != offset:
        raise MalformedPackError(name, "its frames do not reach its footer")
    return footer


def objects_of(name: str, data: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, bytes) of each object, in order."""
    footer = footer_of(name, data)
    raws = []
    for record in footer.frames:
        start = record.offset + frame.HEADER_LENGTH
        payload = data[start : start + record.header.stored_length]
        prefix = record.header.prefix()
        written = data[record.offset : start]
        if (
            written != prefix + record.header.checksum
            or frame.frame_checksum(prefix, blake3(payload).digest()) != record.header.checksum
        ):
            raise MalformedPackError(name, "a frame does not match its checksum")
        raws.append(bytes(frame.decompress(record.header, payload)))
    raw = b"".join(raws)
    found, position = [], 0
    for kind, length in zip(footer.kinds, footer.lengths, strict=True):
        found.append((kind, raw[position : position + length]))
        position += length
    return found


def sealed_bytes(sealed: SealedPack) -> bytes:
    return sealed.path.read_bytes()


@scratch
@given(contents)
def test_chunks_come_back_in_order(tmp_path: Path, objects: list[bytes]) -> None:
    sealed = make_pack(tmp_path, objects)

    data = sealed_bytes(sealed)

    assert objects_of(sealed.name, data) == [(Kind.CHUNK, one) for one in objects]
    assert footer_of(sealed.name, data) == sealed.footer
    assert sealed.ids == b"".join(hash_object(Kind.CHUNK, one) for one in objects)
    assert (sealed.length, sealed.raw_length) == (len(data), sum(map(len, objects)))


@scratch
@given(contents, metadata_kinds, st.integers(0, 2**63))
def test_metadata_comes_back_with_its_ids(tmp_path: Path, objects: list[bytes], kind: Kind, generation: int) -> None:
    sealed = make_pack(tmp_path, objects, kind=kind, generation=generation)

    footer = footer_of(sealed.name, sealed_bytes(sealed))

    assert objects_of(sealed.name, sealed_bytes(sealed)) == [(kind, one) for one in objects]
    assert footer.ids == sealed.ids == b"".join(hash_object(kind, one) for one in objects)
    assert sealed.name.endswith(f".{generation}")


@scratch
@given(contents)
def test_the_same_objects_in_the_same_order_make_the_same_pack(tmp_path: Path, objects: list[bytes]) -> None:
    one = make_pack(tmp_path, objects, name="one")
    other = make_pack(tmp_path, objects, name="other", generation=7)

    assert sealed_bytes(one) == sealed_bytes(other)
    assert one.name.removesuffix(".0") == other.name.removesuffix(".7")


def test_the_name_is_the_hash_of_header_and_footer(tmp_path: Path) -> None:
    sealed = make_pack(tmp_path, [b"a", b"b"])
    data = sealed_bytes(sealed)

    offset, length = footer_range(sealed.name, data[-TRAILER_LENGTH:], len(data))
    digest = blake3(data[:HEADER_LENGTH] + data[offset : offset + length]).hexdigest()

    assert sealed.name == f"{digest[:2]}/{digest}.0"


@pytest.fixture(scope="module")
def small_pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, list[tuple[int, bytes]]]:
    # One frame that shrinks and one that does not.
    objects = [b"", b"text " * 30, noise(60), b"x"]
    path = tmp_path_factory.mktemp("packs") / "pack"
    writer = PackWriter(path)
    for data in objects:
        writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, data), data)
        if data == objects[1]:
            writer._flush()
    sealed = writer.seal(0)
    assert {record.header.codec for record in sealed.footer.frames} == {frame.RAW, frame.ZSTD}
    data = path.read_bytes()
    return sealed.name, data, objects_of(sealed.name, data)


def test_every_flipped_bit_is_noticed(small_pack: tuple[str, bytes, list[tuple[int, bytes]]]) -> None:
    name, data, _ = small_pack

    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8

        with pytest.raises(CorruptionError):
            objects_of(name, bytes(damaged))


def test_a_pack_cut_short_anywhere_is_refused(small_pack: tuple[str, bytes, list[tuple[int, bytes]]]) -> None:
    name, data, _ = small_pack

    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            objects_of(name, data[:length])


@given(st.data())
def test_bytes_put_in_or_moved_are_noticed(
    small_pack: tuple[str, bytes, list[tuple[int, bytes]]], data: st.DataObject
) -> None:
    name, good, _ = small_pack
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(good)), st.integers(0, len(good)))))
    damaged = good[:start] + data.draw(st.binary(max_size=20)) + good[stop:]

    if damaged != good:
        with pytest.raises(CorruptionError):
            objects_of(name, damaged)


def test_a_pack_under_another_name_is_refused(small_pack: tuple[str, bytes, list[tuple[int, bytes]]]) -> None:
    _, data, _ = small_pack

    with pytest.raises(MalformedPackError, match="does not match its name"):
        objects_of(f"00/{'0' * 64}.0", data)


def forged(raw: bytes, *, content: int = 0, frames: bytes = b"", raw_length: int | None = None) -> tuple[str, bytes]:
    """Return a pack of a hostile writer, with a footer of *raw* and a name that fits it."""
    header = pack._HEADER.pack(b"DSVCPACK", 1, content, 0)
    stored = zstandard.ZstdCompressor().compress(raw)
    digest = blake3(header + stored).digest()
    length = len(raw) if raw_length is None else raw_length
    trailer = pack._TRAILER.pack(len(stored), length, digest, b"DSVCPEND")
    return pack.pack_name(digest, 0), header + frames + stored + trailer


def footer(
    kinds: Sequence[int] = (),
    lengths: Sequence[int] = (),
    *,
    records: Sequence[FrameRecord] = (),
    ids: bytes | None = b"",
) -> bytes:
    return PackFooter(0, list(records), bytes(kinds), lengths, ids).encode()


def record(offset: int, raw: int, count: int, *, stored: int | None = None, codec: int = frame.RAW) -> FrameRecord:
    return FrameRecord(offset, frame.FrameHeader(codec, raw, raw if stored is None else stored, count, bytes(32)))


ONE = [record(16, 10, 1)]


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (b"", 0),
        (b"\0" * 8, 0),
        (b"\xff" * 9, 0),
        (b"\xff\xff\xff\xff\0\0\0\0\0", 0),
        (footer() + b"\0", 0),
        (footer()[:8] + b"\2", 0),
        (footer([0], [10], records=ONE, ids=bytes(31)), 0),
        (footer([0], [9], records=ONE), 0),  # lengths that are not the frame's
        (footer([0, 0], [5, 5], records=ONE), 0),  # an object in no frame
        (footer([0], [10], records=[record(16, 10, 2)]), 0),  # a frame of objects that are not there
        (footer([0], [10], records=[record(17, 10, 1)]), 0),  # a gap
        (footer([0, 0], [10, 10], records=[record(16, 10, 1)] * 2), 0),  # one frame over the other
        (footer([0], [10], records=[record(16, 10, 1, codec=9)]), 0),
        (footer([0], [10], records=[record(16, 10, 1, stored=9)]), 0),  # raw, of two lengths
        (footer([0], [2**24 + 1], records=[record(16, 2**24 + 1, 1)]), 0),
        (footer([0], [10], records=[record(16, 10, 1, stored=2**31, codec=frame.ZSTD)]), 0),
        (footer([0, 0], [2**31, 2**31], records=[record(16, 0, 2)]), 0),  # a sum over 32 bits
        (footer([6], [10], records=ONE, ids=bytes(32)), 1),  # an unknown kind
        (footer([Kind.PAGE], [10], records=ONE, ids=None), 0),  # metadata among data
        (footer([Kind.CHUNK], [10], records=ONE, ids=bytes(32)), 1),  # data among metadata
        (footer([Kind.PAGE], [10], records=ONE, ids=None), 1),  # metadata without its ids
    ],
)
def test_footers_that_do_not_add_up_are_refused(raw: bytes, content: int) -> None:
    name, data = forged(raw, content=content, frames=bytes(56 + 10))

    with pytest.raises(MalformedPackError):
        footer_of(name, data)


def test_frames_that_do_not_reach_the_footer_are_refused() -> None:
    raw = footer([0], [10], records=ONE, ids=None)

    assert footer_of(*forged(raw, frames=bytes(66))).frames == ONE
    for length in (0, 65, 67):
        with pytest.raises(MalformedPackError):
            footer_of(*forged(raw, frames=bytes(length)))


@given(st.binary(max_size=300), st.integers(0, 1), st.integers(0, 400))
def test_any_footer_is_read_or_refused(raw: bytes, content: int, raw_length: int) -> None:
    for name, data in (forged(raw, content=content), forged(raw, content=content, raw_length=raw_length)):
        with pytest.raises(MalformedPackError):
            footer_of(name, data)


@pytest.mark.parametrize("claimed", [0, 1, 1 << 26, (1 << 27) + 1, 2**32 - 1])
def test_a_footer_that_is_a_bomb_is_refused(claimed: int) -> None:
    name, data = forged(bytes(1 << 28), raw_length=claimed)
    assert len(data) < 100_000

    with pytest.raises(MalformedPackError):
        footer_of(name, data)


def test_a_footer_of_too_many_frames_is_refused_before_they_are_read() -> None:
    count = (1 << 20) + 1
    raw = pack._COUNTS.pack(count, 0, 0) + bytes(49 * count)

    with pytest.raises(MalformedPackError, match="another length than its counts say"):
        footer_of(*forged(raw))


@pytest.mark.parametrize(
    "header",
    [
        pack._HEADER.pack(b"DSVCPACX", 1, 0, 0),
        pack._HEADER.pack(b"DSVCPACK", 2, 0, 0),
        pack._HEADER.pack(b"DSVCPACK", 1, 2, 0),
        pack._HEADER.pack(b"DSVCPACK", 1, 0, 1),
        b"",
    ],
)
def test_another_header_is_refused(header: bytes) -> None:
    raw = PackFooter(0, [], b"", [], None).encode()
    stored = zstandard.ZstdCompressor().compress(raw)
    digest = blake3(header + stored).digest()
    trailer = pack._TRAILER.pack(len(stored), len(raw), digest, b"DSVCPEND")

    with pytest.raises(MalformedPackError):
        read_footer(pack.pack_name(digest, 0), header, stored, trailer)


class TestWriter:
    def test_an_object_that_memory_has_spoilt_is_not_sealed(self, tmp_path: Path) -> None:
        writer = PackWriter(tmp_path / "new")
        writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, b"other"), b"some text " * 10)

        with pytest.raises(ObjectMismatchError):
            writer.seal(0)

    def test_an_object_may_be_reused_as_soon_as_it_was_added(self, tmp_path: Path) -> None:
        writer = PackWriter(tmp_path / "new")
        buffer = bytearray(b"a" * 10)
        writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, buffer), buffer)
        buffer[:] = b"b" * 10
        writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, buffer), memoryview(buffer))
        buffer[:] = b"c" * 10

        sealed = writer.seal(0)

        assert [data for _, data in objects_of(sealed.name, sealed_bytes(sealed))] == [b"a" * 10, b"b" * 10]

    def test_an_object_that_is_too_long_is_refused_and_harms_nothing(self, tmp_path: Path) -> None:
        writer = PackWriter(tmp_path / "new")
        writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, b"a"), b"a")

        with pytest.raises(CorruptionError, match="over the limit"):
            writer.add(Kind.CHUNK, bytes(32), bytes(frame.MAX_RAW_LENGTH + 1))

        sealed = writer.seal(0)
        assert objects_of(sealed.name, sealed_bytes(sealed)) == [(Kind.CHUNK, b"a")]

    def test_data_and_metadata_are_never_sealed_together(self, tmp_path: Path) -> None:
        for metadata, kind in ((True, Kind.CHUNK), (False, Kind.PAGE)):
            writer = PackWriter(tmp_path / kind.name, metadata=metadata)
            writer.add(kind, hash_object(kind, b"a"), b"a")

            with pytest.raises(MalformedPackError):
                writer.seal(0)

    def test_small_objects_share_a_frame_and_large_ones_do_not(self, tmp_path: Path) -> None:
        small = [noise(1000, seed) for seed in range(1200)]
        sealed = make_pack(tmp_path, [*small, noise(pack.LARGE_OBJECT), noise(200_000), b"last"])

        counts = [record.header.count for record in sealed.footer.frames]

        assert counts == [1049, 151, 1, 1, 1]
        assert objects_of(sealed.name, sealed_bytes(sealed))[-2:] == [(0, noise(200_000)), (0, b"last")]

    def test_ids_are_left_out_where_objects_are_small(self, tmp_path: Path) -> None:
        small = make_pack(tmp_path, [noise(3000, seed) for seed in range(20)], name="small")
        large = make_pack(tmp_path, [noise(6000, seed) for seed in range(20)], name="large")

        assert small.footer.ids is None
        assert large.footer.ids == large.ids

    def test_a_pack_is_full_at_its_size(self, tmp_path: Path) -> None:
        writer = PackWriter(tmp_path / "new", metadata=True)
        data = noise(frame.MAX_RAW_LENGTH // 4)
        added = 0
        while not writer.is_full:
            writer.add(Kind.PAGE, hash_object(Kind.PAGE, data), data)
            added += 1

        writer.discard()
        assert added == 2
        assert 2 * len(data) == METADATA_PACK_SIZE
        assert 16 * len(data) == DATA_PACK_SIZE

    def test_a_pack_is_full_of_objects_before_its_footer_is_too_long(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pack, "_FULL_OBJECTS", 3)
        writer = PackWriter(tmp_path / "new")
        filled = []
        for number in range(3):
            filled.append(writer.is_full)
            writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, bytes([number])), bytes([number]))

        assert filled == [False, False, False]
        assert writer.is_full
        writer.discard()

    def test_discarding_twice_closes_nobody_elses_file(self, tmp_path: Path) -> None:
        writer = PackWriter(tmp_path / "new")
        writer.discard()
        with (tmp_path / "other").open("w") as other:
            writer.discard()
            other.write("still open")

        assert not (tmp_path / "new").exists()
        assert (tmp_path / "other").read_text() == "still open"

    def test_a_file_that_is_there_already_is_not_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "new").write_bytes(b"precious")

        with pytest.raises(StorageError):
            PackWriter(tmp_path / "new")
        assert (tmp_path / "new").read_bytes() == b"precious"

    def test_a_pack_is_read_only(self, tmp_path: Path) -> None:
        assert make_pack(tmp_path, [b"a"]).path.stat().st_mode & 0o222 == 0


@scratch
@given(contents)
def test_a_frame_copied_as_it_is_gives_the_same_objects(tmp_path: Path, objects: list[bytes]) -> None:
    source = make_pack(tmp_path, objects, name="source")
    data = sealed_bytes(source)
    (tmp_path / "copy").unlink(missing_ok=True)
    writer = PackWriter(tmp_path / "copy")
    first = b"before"
    writer.add(Kind.CHUNK, hash_object(Kind.CHUNK, first), first)
    position = 0
    for one in source.footer.frames:
        count, start = one.header.count, one.offset + frame.HEADER_LENGTH
        taken = range(position, position + count)
        writer.add_frame(
            one.header,
            data[start : start + one.header.stored_length],
            source.footer.kinds[position : position + count],
            source.footer.lengths[position : position + count],
            [source.ids[32 * number : 32 * number + 32] for number in taken],
        )
        position += count

    copy = writer.seal(0)

    assert objects_of(copy.name, sealed_bytes(copy)) == [(0, first), *objects_of(source.name, data)]
    assert copy.ids == hash_object(Kind.CHUNK, first) + source.ids


@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.PAGE])
def test_the_checksum_of_a_raw_object_alone_is_that_of_its_bytes(kind: Kind, tmp_path: Path) -> None:
    data = noise(pack.LARGE_OBJECT)
    writer = PackWriter(tmp_path / "pack", metadata=kind != Kind.CHUNK)
    writer.add(kind, hash_object(kind, data), data)
    sealed = writer.seal(0)

    (record,) = sealed.footer.frames

    assert record.header.codec == frame.RAW
    assert record.header.checksum == blake3(record.header.prefix() + blake3(data).digest()).digest()
    assert objects_of(sealed.name, sealed.path.read_bytes()) == [(kind, data)]
