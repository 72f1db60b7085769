"""Making index segments: of packs, one after another, and of segments that have become too small.

However many objects there are, few of them are in memory at a time: some are sorted to a run, and runs are merged
a range of ids at a time, to files without a name (Knuth, The Art of Computer Programming 3, 5.4). What comes out
is a function of the rows alone.
"""

import mmap
import struct
import sys
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise, repeat
from operator import eq
from pathlib import Path
from typing import IO, Final

from blake3 import blake3

from dsvc.model.ids import ID_LENGTH
from dsvc.odb.pack import SealedPack
from dsvc.odb.segment import MalformedSegmentError, Segment, encode_header, filter_bits
from dsvc.storage.local import storage_error

__all__ = ["SegmentBuilder", "build_segment", "merge_segments"]

Buffer = bytes | bytearray | memoryview

# Rows that are in memory at a time, at some 150 bytes each; and that are merged at a time, so few that they stay in the
# cache of a processor: else sorting takes twice as long.
_RUN: Final = 1 << 18
_PART: Final = 1 << 13
# Each takes an open file.
_MOST_RUNS: Final = 64
_SPOOLED: Final = 1 << 20
_WINDOW: Final = 1 << 20

# What a row is while it is sorted: the id, frame, place and length with the high byte first, the kind.
_RECORDS: Final = struct.Struct("45s")
_RECORD: Final = 45
_Column = tuple[int, int, bool]  # place in a record, width, whether it has the last byte of a value first
# Of an id; of frame, place, length and kind; and of all columns of a segment, in which an id is prefix and rest.
_ID: Final[_Column] = (0, ID_LENGTH, False)
_NUMBERS: Final[tuple[_Column, ...]] = ((32, 4, True), (36, 4, True), (40, 4, True), (44, 1, False))
_COLUMNS: Final[tuple[_Column, ...]] = ((0, 8, True), (8, 24, False), *_NUMBERS)


class SegmentBuilder:
    """Makes a segment of all packs that are added; for large ones, there are files in *folder* meanwhile.

    *packs* are their names, in which are *objects*, of *raw* bytes, *stored* in so many. Not safe to share between
    threads.
    """

    def __init__(self, generation: int, folder: Path | None = None) -> None:
        self.packs: list[str] = []
        self.objects = self.stored = self.raw = 0
        self.generation: Final = generation
        self.folder: Final = folder
        self._names: set[str] = set()
        self._rows = _Rows()
        self._runs: list[Segment] = []

    def add(self, pack: SealedPack) -> None:
        """Add *pack*, unless it is here."""
        if pack.name in self._names:
            return
        self._names.add(pack.name)
        self.packs.append(pack.name)
        self.objects += len(pack.footer.kinds)
        self.stored += pack.length
        self.raw += pack.raw_length
        first = 0
        for number, record in enumerate(pack.footer.frames):
            if len(self._rows) >= _RUN:
                self._end_run()
            end = first + record.header.count
            self._rows.add_frame(pack, number, first, end)
            first = end
        if not pack.footer.frames:
            self._rows.add_pack(pack.name)

    def _end_run(self) -> None:
        if len(self._runs) == _MOST_RUNS:
            self._runs = [_merge(self._runs, self.folder).run()]
        self._runs.append(self._rows.draft(self.folder).run())
        self._rows = _Rows()

    def finish(self) -> Segment:
        """Return the segment, once."""
        if not self._runs:
            return self._rows.draft(self.folder).segment(self.generation)
        self._end_run()
        runs, self._runs = self._runs, []
        return _merge(runs, self.folder).segment(self.generation)


def build_segment(packs: Iterable[SealedPack], generation: int = 0, folder: Path | None = None) -> Segment:
    """Return a segment of everything in *packs*."""
    builder = SegmentBuilder(generation, folder)
    for pack in packs:
        builder.add(pack)
    return builder.finish()


def merge_segments(segments: Sequence[Segment], generation: int = 0, folder: Path | None = None) -> Segment:
    """Return one segment that holds what *segments* hold.

    It is what a builder would make of their packs, however they were merged before, in any order.

    Raises:
        MalformedSegmentError: One is damaged; its faults must not live on under a new name.
    """
    for segment in segments:
        segment.verify()
    return _merge(segments, folder).segment(generation)


class _Rows:
    """Rows in columns, in the order of storage, and the frames that they point into."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._frames, self._places, self._lengths = (array("I") for _ in range(3))
        self._kinds = bytearray()
        # Of each pack, by name: its frames, in their order.
        self._first_frames: dict[str, int] = {}
        self._frame_columns = [array("I") for _ in range(3)]
        self._codecs = bytearray()

    def __len__(self) -> int:
        return len(self._kinds)

    def add_pack(self, name: str) -> None:
        """Let what follows be in the pack *name*."""
        self._first_frames.setdefault(name, len(self._codecs))

    def add_frame(self, pack: SealedPack, number: int, first: int, end: int) -> None:
        """Add the frame *number* of *pack*, in which are its objects from *first* to before *end*."""
        self.add_pack(pack.name)
        record = pack.footer.frames[number]
        lengths = pack.footer.lengths[first:end]
        self._places.extend(accumulate(lengths[:-1], initial=0) if lengths else ())
        self._ids += pack.ids[ID_LENGTH * first : ID_LENGTH * end]
        self._lengths.extend(lengths)
        self._kinds += pack.footer.kinds[first:end]
        self._frames.extend(repeat(len(self._codecs), end - first))
        values = (record.offset, record.header.stored_length, record.header.raw_length)
        for column, value in zip(self._frame_columns, values, strict=True):
            column.append(value)
        self._codecs.append(record.header.codec)

    def draft(self, folder: Path | None) -> "_Draft":
        """Return what makes a segment of them. They are used up."""
        ends = [*self._first_frames.values(), len(self._codecs)][1:]
        ranges = sorted((name, first, end) for (name, first), end in zip(self._first_frames.items(), ends, strict=True))
        draft = _Draft([name for name, _, _ in ranges], folder)
        numbers = array("I", bytes(4 * len(self._codecs)))
        for ordinal, (_, first, end) in enumerate(ranges):
            numbers[first:end] = array("I", range(draft.frames, draft.frames + end - first))
            columns = [_little(column[first:end]) for column in self._frame_columns]
            draft.add_frames(ordinal, columns, bytes(self._codecs[first:end]))
        table = bytearray(_RECORD * len(self))
        _put(table, [_ID], [self._ids])
        self._ids.clear()
        frames = _little(map(numbers.__getitem__, self._frames))
        _put(table, _NUMBERS, [frames, _little(self._places), _little(self._lengths), self._kinds])
        if len(self) <= _PART:
            draft.add_rows(table)
            return draft
        parts = [bytearray() for _ in range(256)]
        for (record,) in _RECORDS.iter_unpack(table):
            parts[record[0]] += record
        del table
        for part in parts:
            draft.add_rows(part)
        return draft


def _merge(segments: Sequence[Segment], folder: Path | None) -> "_Draft":
    draft = _Draft(sorted({name for segment in segments for name in segment.packs}), folder)
    numbers = _merge_frames(draft, segments)
    parts = max(1, -(-sum(map(len, segments)) // _PART))
    firsts = [0] * len(segments)
    for low, high in pairwise((part << 64) // parts for part in range(parts + 1)):
        table = bytearray()
        for number, segment in enumerate(segments):
            rows = slice(firsts[number], segment.row_from(high))
            table += _records(segment, rows, numbers[number], (low, high))
            firsts[number] = rows.stop
        draft.add_rows(table)
    return draft


def _merge_frames(draft: "_Draft", segments: Sequence[Segment]) -> list["array[int]"]:
    """Put the frames of all *segments* into *draft*; return for each which number each of its frames has there.

    Raises:
        MalformedSegmentError: Frames are not in the order of their packs.
    """
    holders: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, segment in enumerate(segments):
        for ordinal, name in enumerate(segment.packs):
            holders[name].append((number, ordinal))
    numbers = [array("I") for _ in segments]
    for ordinal, name in enumerate(draft.packs):
        pieces = []
        for number, own in holders[name]:
            first, packs = len(numbers[number]), segments[number].frame_columns[0]
            end = bisect_right(packs, own, first)
            if array("I", packs[first:end]).count(own) != end - first:
                raise MalformedSegmentError(segments[number].name, "its frames are not in order")
            pieces.append((number, first, end))
            # Those of a pack that two have get their numbers below.
            numbers[number].extend(range(draft.frames, draft.frames + end - first))
        if len(pieces) == 1:
            number, first, end = pieces[0]
            columns = [_little(column[first:end]) for column in segments[number].frame_columns[1:]]
            draft.add_frames(ordinal, columns, bytes(segments[number].codecs[first:end]))
        else:
            _merge_frames_of_pack(draft, ordinal, segments, numbers, pieces)
    for segment, its_numbers in zip(segments, numbers, strict=True):
        if len(its_numbers) != segment.frame_count:
            raise MalformedSegmentError(segment.name, "its frames are not in order")
    return numbers


def _merge_frames_of_pack(
    draft: "_Draft",
    ordinal: int,
    segments: Sequence[Segment],
    numbers: Sequence["array[int]"],
    pieces: Sequence[tuple[int, int, int]],
) -> None:
    rows = [list(islice(segments[number].frame_rows(first), end - first)) for number, first, end in pieces]
    frames = sorted({row[1:] for its_rows in rows for row in its_rows})
    number_of = {frame: draft.frames + index for index, frame in enumerate(frames)}
    for (number, first, end), its_rows in zip(pieces, rows, strict=True):
        numbers[number][first:end] = array("I", [number_of[row[1:]] for row in its_rows])
    columns = [_little([frame[column] for frame in frames]) for column in range(3)]
    draft.add_frames(ordinal, columns, bytes(frame[3] for frame in frames))


def _records(segment: Segment, rows: slice, numbers: "array[int]", bounds: tuple[int, int]) -> bytearray:
    """Return *rows* of *segment* as records, their frames with other *numbers*.

    Raises:
        MalformedSegmentError: An id does not begin with at least the first of *bounds* and less than the second.
    """
    columns = segment.columns(rows)
    prefixes = array("Q", columns.prefixes)
    if prefixes and not bounds[0] <= min(prefixes) <= max(prefixes) < bounds[1]:
        raise MalformedSegmentError(segment.name, "its ids are not in order")
    try:
        frames = array("I", map(numbers.__getitem__, columns.frames))
    except IndexError:
        raise MalformedSegmentError(segment.name, "a row points nowhere") from None
    table = bytearray(_RECORD * len(prefixes))
    values = [_little(column) for column in (frames, columns.places, columns.lengths)]
    _put(table, _COLUMNS, [_little(prefixes, "Q"), bytes(columns.rest), *values, bytes(columns.kinds)])
    segment.forget()
    return table


def _little(values: Iterable[int], code: str = "I") -> bytes:
    if sys.byteorder == "little" and isinstance(values, array | memoryview):
        return values.tobytes()
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _put(table: bytearray, layout: Sequence[_Column], columns: Sequence[Buffer]) -> None:
    """Put *columns* into the records of *table*, numbers with the high byte first: records are in their order too."""
    for column, (at, width, flipped) in zip(columns, layout, strict=True):
        for place, byte in enumerate(_bytes_of(at, width, flipped=flipped)):
            table[byte::_RECORD] = column[place::width]


def _bytes_of(at: int, width: int, *, flipped: bool) -> range:
    """Return where in a record each byte of a value in a column is."""
    return range(at + width - 1, at - 1, -1) if flipped else range(at, at + width)


def _in_order(table: bytearray) -> bytes:
    """Return one record for each id, in order of the ids; of several with one id the first in storage only."""
    records = [record for (record,) in _RECORDS.iter_unpack(table)]
    records.sort()
    # Hardly ever are there any twins, and to look at eight bytes is enough to know that.
    starts = [record[:8] for record in records]
    if any(map(eq, starts, islice(starts, 1, None))):
        records = list({record[:ID_LENGTH]: record for record in reversed(records)}.values())[::-1]
    return b"".join(records)


class _Draft:
    """A segment on its way, each column by itself; *packs* are those that its frames are in."""

    def __init__(self, packs: Sequence[str], folder: Path | None) -> None:
        self.packs = packs
        self.objects = self.frames = 0
        self._folder = folder
        self._columns = [_Spool(folder) for _ in _COLUMNS]
        self._frame_columns = [_Spool(folder) for _ in range(5)]

    def add_frames(self, pack: int, columns: Sequence[bytes], codecs: bytes) -> None:
        """Add frames of the pack with the number *pack*, which come after those that are here."""
        packs = _little([pack]) * len(codecs)
        for spool, column in zip(self._frame_columns, (packs, *columns, codecs), strict=True):
            spool.write(column)
        self.frames += len(codecs)

    def add_rows(self, table: bytearray) -> None:
        """Add the records of *table*, in any order, whose ids come after those that are here."""
        records = _in_order(table)
        for spool, (at, width, flipped) in zip(self._columns, _COLUMNS, strict=True):
            column = bytearray(len(records) // _RECORD * width)
            for place, byte in enumerate(_bytes_of(at, width, flipped=flipped)):
                column[place::width] = records[byte::_RECORD]
            spool.write(column)
        self.objects += len(records) // _RECORD

    def segment(self, generation: int) -> Segment:
        """Return the segment."""
        hasher, value = blake3(), _Spool(self._folder)
        for piece in self._pieces(filter_bits(self.objects)):
            hasher.update(piece)
            value.write(piece)
        return Segment(f"{hasher.hexdigest()}.{generation}", value.value())

    def run(self) -> Segment:
        """Return a segment that nobody will look for anything in, nor ever see."""
        value = _Spool(self._folder)
        for piece in self._pieces(0):
            value.write(piece)
        return Segment("run", value.value(), has_filter=False)

    def _pieces(self, bits: int) -> Iterator[Buffer]:
        yield encode_header(len(self.packs), self.frames, self.objects, bits)
        for column in (*self._columns, *self._frame_columns):
            yield from column.pieces()
            yield bytes(-column.length % 8)
        yield b"".join([bytes.fromhex(name[3:67]) for name in self.packs])
        yield _little([int(name[68:]) for name in self.packs], "Q")
        yield from _filter(self._columns[0].pieces(), bits)


def _filter(prefixes: Iterable[bytes], bits: int) -> Iterator[Buffer]:
    """Yield the filter of *bits* bits for ascending *prefixes*, as they are in their column."""
    if not bits:
        return
    shift = 64 - (bits.bit_length() - 1)
    size, start = min(_WINDOW, bits // 8), 0
    window = bytearray(size)
    for piece in prefixes:
        values = array("Q", piece)
        if sys.byteorder == "big":
            values.byteswap()
        for prefix in values:
            bit = prefix >> shift
            at = (bit >> 3) - start
            while at >= size:
                yield window
                window, start, at = bytearray(size), start + size, at - size
            window[at] |= 1 << (bit & 7)
    while start < bits // 8:
        yield window
        window, start = bytearray(size), start + size


class _Spool:
    """Bytes that are appended: in memory while they are few, and then in a file that has no name."""

    def __init__(self, folder: Path | None) -> None:
        self.length = 0
        self._folder = folder
        self._tail = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, data: Buffer) -> None:
        """Append *data*."""
        self.length += len(data)
        self._tail += data
        if len(self._tail) > _SPOOLED:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                # Most commands never get here.
                from tempfile import TemporaryFile

                if self._folder is not None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 (others close it)
            view = memoryview(self._tail)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise storage_error(error, "write an index") from error
        self._tail = bytearray()

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it, in pieces whose length is a multiple of 8 but for the last one."""
        if self._file is not None:
            self._spill()
            self._file.seek(0)
            while piece := self._file.read(_SPOOLED):
                yield piece
        yield bytes(self._tail)

    def value(self) -> bytes | mmap.mmap:
        """Return all of it, mapped where it is in a file."""
        if self._file is None:
            return bytes(self._tail)
        self._spill()
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
