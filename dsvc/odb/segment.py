"""Index segments: where objects are, as immutable files of sorted columns.

    header (64)   "DSVCINDX" · version u16 · zero u16 · packs u32 · frames u32 · zero u32 ·
                  objects u64 · filter bits u64 · zeros
    prefix        u64 of each object: the first 8 bytes of its id, as a big-endian number, ascending
    rest          the other 24 bytes of each id
    frame u32 · place u32 (in the frame's raw bytes) · length u32 · kind u8, of each object
    frames        pack u32, offset u32, stored length u32, raw length u32, codec u8, of each frame
    packs         hash (32) and generation u64, of each pack
    filter        one bit for each possible first bits of an id (large segments only)

Numbers are little-endian; each column is padded to 8 bytes. The name is BLAKE3 of the whole. A false
"absent" costs space and a false "present" loses data: a hit compares all 32 bytes.
"""

import mmap
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, repeat
from operator import eq
from typing import Final, NamedTuple

from blake3 import blake3

from dsvc.errors import CorruptionError
from dsvc.model.ids import ID_LENGTH
from dsvc.odb.pack import SealedPack, pack_name

__all__ = ["Location", "MalformedSegmentError", "Segment", "build_segment", "merge_segments", "segment_key"]

Buffer = bytes | bytearray | memoryview | mmap.mmap

_HEADER: Final = struct.Struct("<8sHHIIIQQ24s")
_ZEROS: Final = bytes(24)

# What a row is while it is sorted: the id, frame, place and length with the high byte first, the kind.
_RECORDS: Final = struct.Struct("45s")
_RECORD: Final = 45
_FRAME, _PLACE, _LENGTH, _KIND = 32, 36, 40, 44

_MAGIC: Final = b"DSVCINDX"
_FILTER_FROM: Final = 65_536
_FILTER_BITS_PER_OBJECT: Final = 16
_FEW_FRAMES: Final = 16
_MANY: Final = 65_536


class MalformedSegmentError(CorruptionError):
    """An index segment that is damaged. It can be rebuilt from the packs."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"index segment {name} is damaged: {reason}")
        self.name = name
        self.reason = reason


def segment_key(name: str) -> str:
    """Return the key of the segment *name*, which is "<64 hex digits>.<generation>"."""
    return f"index/{name}"


class Location(NamedTuple):
    """Where an object is: a frame of a pack, and its place in the frame's raw bytes.

    Locations sort in the order of storage.
    """

    pack: str
    offset: int
    place: int
    length: int
    kind: int
    stored_length: int
    raw_length: int
    codec: int


_FrameRow = tuple[int, int, int, int, int]  # pack, offset, stored length, raw length, codec


def _little(column: "array[int]") -> bytes:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()


def _padded(column: bytes | bytearray) -> bytes | bytearray:
    return column + bytes(-len(column) % 8)


def _filter_bits(objects: int) -> int:
    return 1 << (objects * _FILTER_BITS_PER_OBJECT - 1).bit_length() if objects >= _FILTER_FROM else 0


class _Rows:
    """Rows in columns, in any order: no object is made for each of a million of them but one to sort by."""

    def __init__(self) -> None:
        self.ids = bytearray()
        self.frames = array("I")
        self.places = array("I")
        self.lengths = array("I")
        self.kinds = bytearray()

    def in_order(self) -> bytes | bytearray:
        """Return one record for each id, in order of the ids; of several with one id the first in storage only.

        The rows are used up.
        """
        table = bytearray(_RECORD * len(self.kinds))
        for place in range(ID_LENGTH):
            table[place::_RECORD] = self.ids[place::ID_LENGTH]
        for at, column in ((_FRAME, self.frames), (_PLACE, self.places), (_LENGTH, self.lengths)):
            # The high byte first, so that records are in the order of their numbers too.
            data = _little(column)
            for place in range(4):
                table[at + 3 - place :: _RECORD] = data[place::4]
        table[_KIND::_RECORD] = self.kinds
        self.ids.clear()
        self.kinds.clear()
        del self.frames[:], self.places[:], self.lengths[:]
        if len(table) < _RECORD * _MANY:
            return _sorted(table)
        # A part of them at a time, by the first byte of the id: an object for each record takes twice its bytes.
        parts = [bytearray() for _ in range(256)]
        for (record,) in _RECORDS.iter_unpack(table):
            parts[record[0]] += record
        del table
        records = bytearray()
        for number, part in enumerate(parts):
            parts[number] = bytearray()
            records += _sorted(part)
        return records


def _sorted(table: bytearray) -> bytes:
    records = [record for (record,) in _RECORDS.iter_unpack(table)]
    records.sort()
    return b"".join(_without_twins(records))


def _without_twins(records: list[bytes]) -> list[bytes]:
    # Hardly ever are there any, and to look at eight bytes is enough to know that.
    starts = [record[:8] for record in records]
    if any(map(eq, starts, islice(starts, 1, None))):
        return list({record[:ID_LENGTH]: record for record in reversed(records)}.values())[::-1]
    return records


def _encode(packs: Sequence[str], frames: Sequence[_FrameRow], rows: _Rows) -> bytes:
    """Return the bytes of a segment of *rows*, which are used up."""
    data = bytearray(_HEADER.size)
    count = _put_rows(data, rows.in_order())
    bits = _filter_bits(count)
    _HEADER.pack_into(data, 0, _MAGIC, 1, 0, len(packs), len(frames), 0, count, bits, _ZEROS)
    for column in range(4):
        data += _padded(_little(array("I", [row[column] for row in frames])))
    data += _padded(bytes([row[4] for row in frames]))
    data += b"".join([bytes.fromhex(name[3:67]) for name in packs])
    data += _little(array("Q", [int(name[68:]) for name in packs]))
    with memoryview(data) as view:
        table = _encode_filter(_column(view[_HEADER.size : _HEADER.size + 8 * count], "Q"), bits)
    return b"".join((data, table))


def _put_rows(data: bytearray, records: bytes | bytearray) -> int:
    """Append the columns of *records* to *data*; return how many there are."""
    count = len(records) // _RECORD
    for at, width in ((0, 8), (8, 24), (_FRAME, 4), (_PLACE, 4), (_LENGTH, 4), (_KIND, 1)):
        start, end = len(data), len(data) + width * count
        data.extend(bytes(end - start + -(end - start) % 8))
        for place in range(width):
            # The high byte of a number comes first in a record, and last in a column; the rest of an id stays as it is.
            source = place if width == 24 else width - 1 - place
            data[start + place : end : width] = records[at + source :: _RECORD]
    return count


def _encode_filter(prefixes: Iterable[int], bits: int) -> bytes:
    if not bits:
        return b""
    shift = 64 - (bits.bit_length() - 1)
    table = bytearray(bits // 8)
    for prefix in prefixes:
        bit = prefix >> shift
        table[bit >> 3] |= 1 << (bit & 7)
    return bytes(table)


def build_segment(packs: Iterable[SealedPack]) -> bytes:
    """Return the bytes of a segment of everything in *packs*."""
    names: list[str] = []
    frames: list[_FrameRow] = []
    rows = _Rows()
    for pack in sorted(packs, key=lambda pack: pack.name):
        footer = pack.footer
        rows.ids += pack.ids
        rows.lengths.extend(footer.lengths)
        rows.kinds.extend(footer.kinds)
        index = 0
        for record in footer.frames:
            header = record.header
            stop = index + header.count
            rows.frames.extend(repeat(len(frames), header.count))
            rows.places.extend(accumulate(footer.lengths[index : stop - 1], initial=0) if header.count else ())
            index = stop
            frames.append((len(names), record.offset, header.stored_length, header.raw_length, header.codec))
        names.append(pack.name)
    return _encode(names, frames, rows)


def merge_segments(segments: Sequence["Segment"]) -> bytes:
    """Return the bytes of one segment that holds what *segments* hold.

    It is what `build_segment` would make of their packs, however they were merged before, in any order.

    Raises:
        MalformedSegmentError: One is damaged; its faults must not live on under a new name.
    """
    for segment in segments:
        segment.verify()
    names = sorted({name for segment in segments for name in segment.packs})
    ordinal = {name: index for index, name in enumerate(names)}
    renumbered = [
        [(ordinal[segment.pack_at(row[0])], row[1], row[2], row[3], row[4]) for row in segment.frame_rows()]
        for segment in segments
    ]
    frames = sorted(set(chain.from_iterable(renumbered)))
    number = {frame: index for index, frame in enumerate(frames)}
    rows = _Rows()
    for segment, its_frames in zip(segments, renumbered, strict=True):
        segment.copy_rows(rows, [number[frame] for frame in its_frames])
    return _encode(names, frames, rows)


class Segment:
    """A segment, read in place. Safe to use from several threads."""

    def __init__(self, name: str, data: Buffer) -> None:
        self.name = name
        view = memoryview(data)
        if len(view) < _HEADER.size:
            raise MalformedSegmentError(name, "cut short")
        magic, version, zero, packs, frames, zero2, objects, bits, zeros = _HEADER.unpack_from(view)
        if magic != _MAGIC or version != 1 or zero or zero2 or zeros != _ZEROS:
            raise MalformedSegmentError(name, "unknown header")
        self._view = view
        self._count: int = objects
        position = _HEADER.size

        def take(length: int) -> memoryview:
            nonlocal position
            column = view[position : position + length]
            position += length + -length % 8
            if position > len(view):
                raise MalformedSegmentError(name, "cut short")
            return column

        self._prefix_bytes = take(8 * objects)
        self._prefixes = _column(self._prefix_bytes, "Q")
        self._rest = take(24 * objects)
        self._frame_column = take(4 * objects)
        self._frames = _column(self._frame_column, "I")
        self._places, self._lengths = (_column(take(4 * objects), "I") for _ in range(2))
        self._kinds = take(objects)
        self._frame_columns = [_column(take(4 * frames), "I") for _ in range(4)]
        self._codecs = take(frames)
        hashes = bytes(take(32 * packs))
        generations = _column(take(8 * packs), "Q")
        self.packs = [pack_name(hashes[32 * i : 32 * i + 32], generations[i]) for i in range(packs)]
        self._filter = take(bits // 8)
        if position != len(view) or bits != _filter_bits(objects):
            raise MalformedSegmentError(name, "another length than it says")
        self._shift = 64 - (bits.bit_length() - 1)

    def __len__(self) -> int:
        return self._count

    @property
    def data(self) -> memoryview:
        """All its bytes."""
        return self._view

    def verify(self) -> None:
        """Check every byte against the name.

        Raises:
            MalformedSegmentError: They differ.
        """
        if blake3(self._view).hexdigest() != self.name.split(".")[0]:
            raise MalformedSegmentError(self.name, "its bytes do not match its name")

    def find(self, object_id: bytes) -> int:
        """Return the row of *object_id*, or -1."""
        prefix = int.from_bytes(object_id[:8], "big")
        if self._filter:
            bit = prefix >> self._shift
            if not self._filter[bit >> 3] & (1 << (bit & 7)):
                return -1
        row = bisect_left(self._prefixes, prefix)
        rest = object_id[8:]
        while row < self._count and self._prefixes[row] == prefix:
            if self._rest[24 * row : 24 * row + 24] == rest:
                return row
            row += 1
        return -1

    def find_many(self, object_ids: Sequence[bytes]) -> list[int]:
        """Return what `find` would for each of *object_ids*: by the thousand, at two thirds of its cost."""
        prefixes = struct.unpack(">" + "Q24x" * len(object_ids), b"".join(object_ids))
        rows = list(map(bisect_left, repeat(self._prefixes), prefixes))
        rest = self._rest
        for index, (row, object_id) in enumerate(zip(rows, object_ids, strict=True)):
            if rest[24 * row : 24 * row + 24] != object_id[8:]:
                rows[index] = self.find(object_id)
        return rows

    def starting_with(self, prefix: bytes, half: int | None = None) -> Iterator[tuple[bytes, int]]:
        """Yield (id, row) of the objects whose id begins with *prefix* and then the half-byte *half*."""
        if len(prefix) + (half is not None) > ID_LENGTH:
            return
        low = int.from_bytes((prefix + bytes(8))[:8], "big")
        if half is not None and len(prefix) < 8:
            low |= half << (60 - 8 * len(prefix))
        lowest = prefix if half is None else prefix + bytes((half << 4,))
        for row in range(bisect_left(self._prefixes, low), self._count):
            object_id = self._id(row)
            # The column of prefixes tells the first eight bytes apart, and no more.
            if object_id < lowest:
                continue
            if not object_id.startswith(prefix) or (half is not None and object_id[len(prefix)] >> 4 != half):
                return
            yield object_id, row

    def location(self, row: int) -> Location:
        """Return what *row* says."""
        frame = self._frames[row]
        packs, offsets, stored, raw = self._frame_columns
        try:
            return Location(
                self.packs[packs[frame]],
                offsets[frame],
                self._places[row],
                self._lengths[row],
                self._kinds[row],
                stored[frame],
                raw[frame],
                self._codecs[frame],
            )
        except IndexError:
            raise MalformedSegmentError(self.name, "a row points nowhere") from None

    def pack_of(self, row: int) -> str:
        """Return the name of the pack that *row* points into."""
        try:
            return self.packs[self._frame_columns[0][self._frames[row]]]
        except IndexError:
            raise MalformedSegmentError(self.name, "a row points nowhere") from None

    def pack_at(self, number: int) -> str:
        """Return the name of the pack *number*, as the rows of frames count them."""
        if number >= len(self.packs):
            raise MalformedSegmentError(self.name, "a frame is in no pack")
        return self.packs[number]

    def frame_of(self, row: int) -> int:
        """Return the number of the frame that *row* points into, in the order of `frame_rows`."""
        return self._frames[row]

    @property
    def frame_count(self) -> int:
        """The number of frames that rows point into."""
        return len(self._codecs)

    def frame_numbers(self) -> Sequence[int]:
        """Return the column of what `frame_of` tells of each row: a call for each takes longer than its use."""
        return self._frames

    def lengths(self) -> Sequence[int]:
        """Return the column of what `length_of` tells of each row."""
        return self._lengths

    def length_of(self, row: int) -> int:
        """Return the length in bytes of the object of *row*."""
        return self._lengths[row]

    def rows_of_other_kinds(self, kind: int) -> list[int]:
        """Return the rows of objects that are not of *kind*."""
        return [row for row, found in enumerate(self._kinds) if found != kind]

    def rows_of_frames(self, frames: Collection[int]) -> dict[int, list[int]]:
        """Return for each of *frames* the rows that point into it, in the order of the objects in it."""
        rows: dict[int, list[int]] = {frame: [] for frame in frames}
        if len(frames) <= _FEW_FRAMES:
            for frame, its_rows in rows.items():
                its_rows.extend(self._rows_of(frame))
        else:
            for row, frame in enumerate(self._frames):
                if frame in rows:
                    rows[frame].append(row)
        for its_rows in rows.values():
            its_rows.sort(key=self._places.__getitem__)
        return rows

    def _rows_of(self, frame: int) -> Iterator[int]:
        # Searched as bytes: in a column of a million rows that takes a millisecond, and a loop takes fifty.
        column, pattern, position = bytes(self._frame_column), frame.to_bytes(4, "little"), -4
        while (position := column.find(pattern, position + 4)) >= 0:
            if position % 4:
                # Between two numbers: go on with the next byte.
                position -= 3
            else:
                yield position // 4

    def object_at(self, row: int) -> tuple[bytes, int, int, int]:
        """Return (id, kind, place in the frame, length) of the object of *row*."""
        return self._id(row), self._kinds[row], self._places[row], self._lengths[row]

    def id_of(self, row: int) -> bytes:
        """Return the id of the object of *row*."""
        return self._id(row)

    def _id(self, row: int) -> bytes:
        return self._prefixes[row].to_bytes(8, "big") + bytes(self._rest[24 * row : 24 * row + 24])

    def ids(self) -> Iterator[tuple[bytes, int]]:
        """Yield (id, kind) in order of the ids."""
        for row in range(self._count):
            yield self._id(row), self._kinds[row]

    def copy_rows(self, rows: _Rows, frames: Sequence[int]) -> None:
        """Append what is here to *rows*, with the frames renumbered by *frames*."""
        ids = bytearray(ID_LENGTH * self._count)
        prefixes, rest = bytes(self._prefix_bytes), bytes(self._rest)
        for place in range(8):
            ids[7 - place :: ID_LENGTH] = prefixes[place::8]
        for place in range(24):
            ids[8 + place :: ID_LENGTH] = rest[place::24]
        rows.ids += ids
        try:
            rows.frames.extend(map(frames.__getitem__, self._frames))
        except IndexError:
            raise MalformedSegmentError(self.name, "a row points nowhere") from None
        rows.places.extend(self._places)
        rows.lengths.extend(self._lengths)
        rows.kinds.extend(self._kinds)

    def frame_rows(self) -> Iterator[_FrameRow]:
        """Yield (pack ordinal, offset, stored length, raw length, codec) of each frame."""
        yield from zip(*self._frame_columns, self._codecs, strict=True)


def _column(data: memoryview, code: str) -> "memoryview[int] | array[int]":
    if sys.byteorder == "little":
        return data.cast(code)  # type: ignore[call-overload,no-any-return]
    values = array(code)
    values.frombytes(data)
    values.byteswap()
    return values
