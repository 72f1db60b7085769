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
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final, NamedTuple

from blake3 import blake3

from dsvc.errors import CorruptionError
from dsvc.model.ids import ID_LENGTH
from dsvc.odb.pack import pack_name
from dsvc.odb.scratch import zeros

__all__ = ["Columns", "Location", "MalformedSegmentError", "Segment", "encode_header", "filter_bits", "segment_key"]

Buffer = bytes | bytearray | memoryview | mmap.mmap

_HEADER: Final = struct.Struct("<8sHHIIIQQ24s")
_ZEROS: Final = bytes(24)

_MAGIC: Final = b"DSVCINDX"
_FILTER_FROM: Final = 65_536
_FILTER_BITS_PER_OBJECT: Final = 16
_FEW_FRAMES: Final = 16
_PIECE: Final = 8 * 1024 * 1024


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


class Columns(NamedTuple):
    """Rows, column by column: *prefixes* are the first 8 bytes of the ids as numbers, *rest* the other 24."""

    prefixes: Sequence[int]
    rest: Buffer
    frames: Sequence[int]
    places: Sequence[int]
    lengths: Sequence[int]
    kinds: Buffer


def filter_bits(objects: int) -> int:
    """Return how many bits the filter of a segment of so many *objects* has."""
    return 1 << (objects * _FILTER_BITS_PER_OBJECT - 1).bit_length() if objects >= _FILTER_FROM else 0


def encode_header(packs: int, frames: int, objects: int, bits: int) -> bytes:
    """Return the header of a segment of so many *packs*, *frames* and *objects*, and *bits* of its filter."""
    return _HEADER.pack(_MAGIC, 1, 0, packs, frames, 0, objects, bits, _ZEROS)


class Segment:
    """A segment, read in place; one that was made only to be merged has no filter. Safe to use from several threads."""

    def __init__(self, name: str, data: Buffer, *, has_filter: bool = True) -> None:
        self.name = name
        view = memoryview(data)
        if len(view) < _HEADER.size:
            raise MalformedSegmentError(name, "cut short")
        magic, version, zero, packs, frames, zero2, objects, bits, zeros = _HEADER.unpack_from(view)
        if magic != _MAGIC or version != 1 or zero or zero2 or zeros != _ZEROS:
            raise MalformedSegmentError(name, "unknown header")
        self._view = view
        self._mapped = data if isinstance(data, mmap.mmap) else None
        self._count: int = objects
        position = _HEADER.size

        def take(length: int) -> memoryview:
            nonlocal position
            column = view[position : position + length]
            position += length + -length % 8
            if position > len(view):
                raise MalformedSegmentError(name, "cut short")
            return column

        self._prefixes = _column(take(8 * objects), "Q")
        self._rest = take(24 * objects)
        self._frame_column = take(4 * objects)
        self._frames = _column(self._frame_column, "I")
        self._places, self._lengths = (_column(take(4 * objects), "I") for _ in range(2))
        self._kinds = take(objects)
        self.frame_columns: Final = [_column(take(4 * frames), "I") for _ in range(4)]
        self.codecs: Final = take(frames)
        hashes = bytes(take(32 * packs))
        generations = _column(take(8 * packs), "Q")
        self.packs = [pack_name(hashes[32 * i : 32 * i + 32], generations[i]) for i in range(packs)]
        self._filter = take(bits // 8)
        if position != len(view) or bits != has_filter * filter_bits(objects):
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
        hasher = blake3()
        for piece in self.pieces():
            hasher.update(piece)
        if hasher.hexdigest() != self.name.split(".")[0]:
            raise MalformedSegmentError(self.name, "its bytes do not match its name")

    def pieces(self) -> Iterator[memoryview]:
        """Yield all its bytes, of which few are in memory at a time."""
        for start in range(0, len(self._view), _PIECE):
            yield self._view[start : start + _PIECE]
            self.forget()

    def forget(self) -> None:
        """Let the system have the memory in which it is mapped: who reads all of it once needs none of it twice."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

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
        packs, offsets, stored, raw = self.frame_columns
        try:
            return Location(
                self.packs[packs[frame]],
                offsets[frame],
                self._places[row],
                self._lengths[row],
                self._kinds[row],
                stored[frame],
                raw[frame],
                self.codecs[frame],
            )
        except IndexError:
            raise MalformedSegmentError(self.name, "a row points nowhere") from None

    def pack_of(self, row: int) -> str:
        """Return the name of the pack that *row* points into."""
        try:
            return self.packs[self.frame_columns[0][self._frames[row]]]
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
        return len(self.codecs)

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

    def rows_of_frames(self, frames: Collection[int]) -> Mapping[int, Sequence[int]]:
        """Return for each of *frames* the rows that point into it, in the order of the objects in it."""
        rows = {frame: array("I") for frame in frames}
        if len(frames) <= _FEW_FRAMES:
            for frame, its_rows in rows.items():
                its_rows.extend(self._rows_of(frame))
        else:
            for row, frame in enumerate(self._frames):
                if frame in rows:
                    rows[frame].append(row)
        return {frame: array("I", sorted(found, key=self._places.__getitem__)) for frame, found in rows.items()}

    def by_frame(self, rows: Callable[[], Iterable[int]]) -> Sequence[int]:
        """Return what *rows* gives, each time, in order of the frames that those rows point into.

        Raises:
            MalformedSegmentError: One points nowhere.
            StorageError: They are many, and no temporary file can be made.
        """
        # By counting (Knuth, The Art of Computer Programming 3, 5.2): a list to sort takes ten times as much.
        frames, places = self._frames, zeros(self.frame_count + 1, "I")
        try:
            for row in rows():
                places[frames[row] + 1] += 1
            for frame in range(1, len(places)):
                places[frame] += places[frame - 1]
            ordered = zeros(places[-1], "I")
            for row in rows():
                frame = frames[row]
                ordered[places[frame]] = row
                places[frame] += 1
        except IndexError:
            raise MalformedSegmentError(self.name, "a row points nowhere") from None
        return ordered

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

    def row_from(self, prefix: int) -> int:
        """Return the first row whose id does not begin with less than *prefix*, its first 8 bytes as a number."""
        return bisect_left(self._prefixes, prefix)

    def columns(self, rows: slice) -> Columns:
        """Return what the columns say of *rows*."""
        return Columns(
            self._prefixes[rows],
            self._rest[24 * rows.start : 24 * rows.stop],
            self._frames[rows],
            self._places[rows],
            self._lengths[rows],
            self._kinds[rows],
        )

    def frames_of(self, pack: str) -> range:
        """Return the numbers of the frames of *pack*, which follow each other."""
        ordinal = bisect_left(self.packs, pack)
        if self.packs[ordinal : ordinal + 1] != [pack]:
            return range(0)
        column = self.frame_columns[0]
        first = bisect_left(column, ordinal)
        return range(first, bisect_right(column, ordinal, first))

    def frame_row(self, number: int) -> tuple[int, int, int, int, int]:
        """Return (pack ordinal, offset, stored length, raw length, codec) of the frame *number*."""
        pack, offset, stored, raw = self.frame_columns
        return pack[number], offset[number], stored[number], raw[number], self.codecs[number]

    def frame_rows(self, first: int = 0) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (pack ordinal, offset, stored length, raw length, codec) of each frame from *first* on."""
        yield from zip(*(column[first:] for column in self.frame_columns), self.codecs[first:], strict=True)


def _column(data: memoryview, code: str) -> "memoryview[int] | array[int]":
    if sys.byteorder == "little":
        return data.cast(code)  # type: ignore[call-overload,no-any-return]
    values = array(code)
    values.frombytes(data)
    values.byteswap()
    return values
