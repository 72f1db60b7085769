"""An index segment says where each object is, as a dictionary would, and is the same however it came to be."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import permutations
from math import log
from mmap import mmap
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from dsvc.errors import CorruptionError
from dsvc.odb import frame, segment, segment_writer
from dsvc.odb.pack import FrameRecord, PackFooter, SealedPack, pack_name
from dsvc.odb.segment import Location, MalformedSegmentError, Segment
from dsvc.odb.segment_writer import build_segment, merge_segments
from dsvc.odb.writer import plan_merge
from tests.odb_support import named_segment

# Ids of few prefixes, so that many begin alike: in the first bytes, in all eight of the column, or in more.
_starts = st.sampled_from([b"", b"\0" * 8, b"\xff" * 8, b"abcdefgh", b"abcdefgi", b"abcdefgh" + b"\0" * 20])
ids = st.builds(lambda start, rest: (start + rest)[:32], _starts, st.binary(min_size=32, max_size=32))
# The objects of a pack as frames of (id, length, kind).
objects = st.tuples(ids, st.integers(0, 1000), st.integers(0, 5))
frames = st.lists(st.lists(objects, max_size=5), max_size=4)
packs = st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1), frames), max_size=4)

Frames = Sequence[Sequence[tuple[bytes, int, int]]]


def make_sealed(digest: bytes, generation: int, content: Frames) -> SealedPack:
    """Return a pack as a writer would describe it; nobody looks at its file."""
    records, offset = [], 16
    for objects_of_frame in content:
        raw = sum(length for _, length, _ in objects_of_frame)
        records.append(FrameRecord(offset, frame.FrameHeader(frame.RAW, raw, raw, len(objects_of_frame), bytes(32))))
        offset += frame.HEADER_LENGTH + raw
    every = [one for objects_of_frame in content for one in objects_of_frame]
    footer = PackFooter(0, records, bytes(kind for _, _, kind in every), [length for _, length, _ in every], None)
    joined = b"".join(object_id for object_id, _, _ in every)
    return SealedPack(pack_name(digest, generation), Path(), offset, 0, footer, joined)


def make_all(described: Iterable[tuple[bytes, int, Frames]]) -> list[SealedPack]:
    unique = {pack_name(digest, generation): (digest, generation, content) for digest, generation, content in described}
    return [make_sealed(*one) for one in unique.values()]


def locations(sealed: Iterable[SealedPack]) -> dict[bytes, list[Location]]:
    """Return all places of each object, the plain way."""
    found: dict[bytes, list[Location]] = {}
    for pack in sealed:
        number = 0
        for record in pack.footer.frames:
            header, place = record.header, 0
            for _ in range(header.count):
                object_id, length = pack.ids[32 * number : 32 * number + 32], pack.footer.lengths[number]
                where = (pack.name, record.offset, place, length, pack.footer.kinds[number])
                location = Location(*where, header.stored_length, header.raw_length, header.codec)
                found.setdefault(object_id, []).append(location)
                place += length
                number += 1
    return found


def found_in(one: Segment) -> dict[bytes, Location]:
    return {object_id: one.location(one.find(object_id)) for object_id, _ in one.ids()}


@given(packs, st.lists(ids, max_size=5))
def test_it_finds_what_a_dictionary_finds(described: list[tuple[bytes, int, Frames]], others: list[bytes]) -> None:
    sealed = make_all(described)

    built = build_segment(sealed)

    expected = {object_id: min(places, key=lambda one: one[:3]) for object_id, places in locations(sealed).items()}
    assert found_in(built) == expected
    assert len(built) == len(expected)
    assert [object_id for object_id, _ in built.ids()] == sorted(expected)
    assert built.packs == sorted(pack.name for pack in sealed)
    some = list(range(0, len(built), 2))
    assert list(built.by_frame(lambda: some)) == sorted(some, key=built.frame_of)
    for pack in sealed:
        frames = [built.frame_row(number) for number in built.frames_of(pack.name)]
        assert [frame[1] for frame in frames] == [record.offset for record in pack.footer.frames]
        assert {built.pack_at(frame[0]) for frame in frames} <= {pack.name}
    assert not built.frames_of(pack_name(b"\xaa" * 32, 0)) or pack_name(b"\xaa" * 32, 0) in built.packs
    for other in others:
        assert (built.find(other) >= 0) == (other in expected)


@given(packs, st.binary(max_size=32), st.none() | st.integers(0, 15))
@example([(bytes(32), 0, [[(bytes(32), 1, 0), (bytes(31) + b"\x10", 1, 0)]])], bytes(31), 1)
@example([(bytes(32), 0, [[(bytes(32), 1, 0)]])], bytes(32), 1)
def test_ids_are_found_by_how_they_begin(
    described: list[tuple[bytes, int, Frames]], start: bytes, half: int | None
) -> None:
    sealed = make_all(described)
    built = build_segment(sealed)
    known = locations(sealed)
    for prefix in {start, *(object_id[: len(start)] for object_id in known)}:
        digits = prefix.hex() + ("" if half is None else f"{half:x}")

        found = list(built.starting_with(prefix, half))

        assert [object_id for object_id, _ in found] == sorted(one for one in known if one.hex().startswith(digits))
        assert all(built.id_of(row) == object_id for object_id, row in found)


@given(packs, st.randoms())
def test_merging_gives_the_segment_of_all_packs_in_any_order_and_grouping(
    described: list[tuple[bytes, int, Frames]], random: Random
) -> None:
    sealed = make_all(described)
    whole = build_segment(sealed).data
    parts = [build_segment([pack]) for pack in sealed]
    random.shuffle(parts)

    while len(parts) > 1:
        count = random.randint(1, len(parts))
        parts = [merge_segments(parts[:count]), *parts[count:]]
        random.shuffle(parts)

    assert merge_segments(parts).data == whole


sizes = st.integers(1, 6)


@given(packs, st.tuples(sizes, sizes, st.integers(1, 3), sizes.map(lambda size: 8 * size)), st.randoms())
def test_what_does_not_fit_into_memory_gives_the_same_segment(
    described: list[tuple[bytes, int, Frames]], limits: tuple[int, int, int, int], random: Random
) -> None:
    sealed = make_all(described)
    whole = build_segment(sealed)
    random.shuffle(sealed)

    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(("_RUN", "_PART", "_MOST_RUNS", "_SPOOLED"), limits, strict=True):
            patch.setattr(segment_writer, name, limit)
        built = build_segment(sealed)
        merged = merge_segments([build_segment(sealed[:2]), build_segment(sealed[1:])])

    assert (built.name, built.data) == (whole.name, whole.data)
    assert (merged.name, merged.data) == (whole.name, whole.data)


def test_large_segments_are_not_in_memory(tmp_path: Path) -> None:
    content = [[(blake3(number.to_bytes(4, "little")).digest(), 1, 0) for number in range(70_000)]]
    built = build_segment([make_sealed(bytes(32), 0, content)], 0, tmp_path / "new")

    assert isinstance(built.data.obj, mmap)
    assert list((tmp_path / "new").iterdir()) == []
    assert named_segment(bytes(built.data)).name == built.name


@given(packs)
def test_merging_twice_the_same_changes_nothing(described: list[tuple[bytes, int, Frames]]) -> None:
    built = build_segment(make_all(described))

    assert merge_segments([built, built]).data == built.data


def test_the_order_of_packs_does_not_matter() -> None:
    sealed = [make_sealed(bytes([number] * 32), 0, [[(bytes(32), 5, 0)]]) for number in range(3)]

    assert len({build_segment(order).name for order in permutations(sealed)}) == 1


def sizes_after(additions: Iterable[int]) -> Iterable[tuple[list[Segment], int]]:
    """Add packs of so many objects one after another, as writers do; yield the live segments and all objects."""
    live: list[Segment] = []
    total = 0
    for number, count in enumerate(additions):
        content = [[((total + one).to_bytes(32, "big"), 1, 0) for one in range(count)]]
        new = build_segment([make_sealed(number.to_bytes(32, "big"), 0, content)])
        merge = plan_merge([*live, new])
        live = [one for one in [*live, new] if one not in merge]
        if merge:
            live.append(merge_segments(merge))
        total += count
        yield live, total


@given(st.lists(st.integers(1, 40) | st.integers(1, 400), min_size=1, max_size=40))
def test_live_segments_stay_few_and_hold_everything(additions: list[int]) -> None:
    for live, total in sizes_after(additions):
        assert len(live) <= log(total, 5) + 1
        assert sum(map(len, live)) == total
        for number in range(total) if total < 200 else (0, total // 2, total - 1):
            assert sum(one.find(number.to_bytes(32, "big")) >= 0 for one in live) == 1


def test_an_object_is_rewritten_seldom() -> None:
    written, before = 0, set[str]()
    for live, _ in sizes_after([1] * 600):
        written += sum(len(one) for one in live if one.name not in before)
        before = {one.name for one in live}

    # Each of 600 was written about as often as log5 has levels, times the four of a level.
    assert written < 600 * 12


def test_a_merge_leaves_large_segments_alone() -> None:
    *_, (live, _) = sizes_after([300, 1, 1])

    assert sorted(map(len, live)) == [2, 300]
    assert plan_merge(live) == []


@pytest.fixture(scope="module")
def filtered() -> Segment:
    content = [[(blake3(number.to_bytes(4, "little")).digest(), 1, 0) for number in range(70_000)]]
    return build_segment([make_sealed(bytes(32), 0, content)])


def test_a_large_segment_has_a_filter_and_finds_the_same(filtered: Segment) -> None:
    bits = len(filtered._filter) * 8
    absent = [blake3(number.to_bytes(5, "little")).digest() for number in range(5000)]
    passed = [one for one in absent if _passes(filtered, one)]

    assert bits == 1 << 21
    assert all(filtered.find(one) == -1 for one in absent)
    assert len(passed) < 5000 * 70_000 / bits * 1.5
    for number in range(0, 70_000, 97):
        object_id = blake3(number.to_bytes(4, "little")).digest()
        row = filtered.find(object_id)
        assert filtered.id_of(row) == object_id


def _passes(one: Segment, object_id: bytes) -> bool:
    bit = int.from_bytes(object_id[:8], "big") >> one._shift
    return bool(one._filter[bit >> 3] & 1 << (bit & 7))


def test_the_filter_starts_where_the_format_says(filtered: Segment) -> None:
    assert segment.filter_bits(65_535) == 0
    assert segment.filter_bits(65_536) == 1 << 20
    assert segment.filter_bits(65_537) == 1 << 21
    assert len(filtered.data) == 64 + 70_000 * (8 + 24 + 12 + 1) + 5 * 8 + 32 + 8 + (1 << 18)


SMALL = [
    make_sealed(b"\1" * 32, 0, [[(b"a" * 32, 3, 0), (b"b" * 32, 4, 2)], [(b"c" * 32, 5, 1)]]),
    make_sealed(b"\2" * 32, 1, [[(b"a" * 31 + b"b", 6, 0)]]),
]


def test_every_flipped_bit_is_noticed_or_harmless() -> None:
    good = build_segment(SMALL)
    expected = found_in(good)

    for bit in range(8 * len(good.data)):
        data = bytearray(good.data)
        data[bit // 8] ^= 1 << bit % 8
        try:
            damaged = Segment(good.name, bytes(data))
        except MalformedSegmentError:
            continue
        with pytest.raises(MalformedSegmentError, match="do not match its name"):
            damaged.verify()
        with pytest.raises(MalformedSegmentError):
            merge_segments([damaged])
        for object_id in expected:
            _find_carefully(damaged, object_id)


def _find_carefully(damaged: Segment, object_id: bytes) -> None:
    """Whatever is found, it is an id that was asked for; a wrong place is noticed where objects are read."""
    row = damaged.find(object_id)
    if row >= 0:
        assert damaged.id_of(row) == object_id
        with suppress(MalformedSegmentError):
            assert isinstance(damaged.location(row), Location)
    list(damaged.starting_with(object_id[:3], 1))


def test_a_segment_cut_short_or_too_long_is_refused() -> None:
    good = bytes(build_segment(SMALL).data)

    for length in range(len(good)):
        with pytest.raises(MalformedSegmentError):
            Segment("0" * 64 + ".0", good[:length])
    with pytest.raises(MalformedSegmentError):
        Segment("0" * 64 + ".0", good + bytes(8))


@given(st.binary(max_size=400), st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 4), min_size=4, max_size=4))
def test_any_bytes_are_a_segment_or_refused(body: bytes, counts: list[int]) -> None:
    small = [count % 2**32 for count in counts[:2]]
    data = segment._HEADER.pack(b"DSVCINDX", 1, 0, *small, 0, counts[2], counts[3], bytes(24)) + body
    try:
        one = named_segment(data)
    except MalformedSegmentError:
        return
    for probe in (bytes(32), b"\xff" * 32, data[64:96].ljust(32, b"\0")):
        _find_carefully(one, probe)
    for row in range(len(one)):
        try:
            one.location(row)
        except CorruptionError:
            continue
    try:
        merge_segments([one])
    except CorruptionError:
        return


def test_the_columns_are_where_the_format_says() -> None:
    data = bytes(build_segment(SMALL).data)
    everything = found_in(named_segment(data))

    rows = sorted(everything)
    assert [data[64 + 8 * row : 72 + 8 * row] for row in range(4)] == [one[:8][::-1] for one in rows]
    assert data[96 : 96 + 24 * 4] == b"".join(one[8:] for one in rows)
    assert bisect_left(rows, b"b" * 32) == named_segment(data).find(b"b" * 32)
