"""Packs: immutable files of frames, with a footer that lists what is in them.

    header (16)  "DSVCPACK" · version u16 · content u16 (0 data, 1 metadata) · zero u32
    frames
    footer       zstd of columns (below)
    trailer (48) footer's stored length u32 · raw length u32 · pack hash (32) · "DSVCPEND"

The pack hash, which is also its name, is BLAKE3 of header and stored footer. The footer holds
the checksum of every frame, so the name vouches for every byte, and yet one frame can be checked
without the others and nothing is hashed twice while a pack is written.

Columns of the footer: u32 frames, u32 objects, u8 has ids · of each frame: offset u32, stored u32,
raw u32, count u32, codec u8, checksum (32) · of each object: kind u8, length u32, id (32) if there.
"""

import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, overload

import msgspec
import zstandard
from blake3 import blake3

from dsvc.errors import CorruptionError
from dsvc.model.ids import ID_LENGTH, Kind, ObjectMismatchError, hash_object
from dsvc.odb import frame
from dsvc.storage.local import storage_error, sync_file

__all__ = [
    "DATA_PACK_SIZE",
    "METADATA_PACK_SIZE",
    "FrameRecord",
    "MalformedPackError",
    "PackFooter",
    "PackWriter",
    "SealedPack",
    "footer_range",
    "of_generation",
    "pack_key",
    "pack_name",
    "read_footer",
]

Buffer = bytes | bytearray | memoryview

DATA_PACK_SIZE: Final = 64 * 1024 * 1024
METADATA_PACK_SIZE: Final = 8 * 1024 * 1024
FRAME_SIZE: Final = 1024 * 1024
LARGE_OBJECT: Final = 96 * 1024
# What a writer puts into one pack, and what a reader takes: a footer must fit into memory.
_FULL_OBJECTS: Final = 1 << 18
_FULL_FRAMES: Final = 1 << 18
_MAX_FOOTER: Final = 1 << 27
_MAX_FRAMES: Final = 1 << 20
_IDS_FROM: Final = 4096

_HEADER: Final = struct.Struct("<8sHHI")
_TRAILER: Final = struct.Struct("<II32s8s")
_COUNTS: Final = struct.Struct("<IIB")
_ID: Final = struct.Struct(f"{ID_LENGTH}s")
_DATA: Final = frozenset((Kind.CHUNK,))
_METADATA: Final = frozenset(Kind) - _DATA
_MAGIC: Final = b"DSVCPACK"
_END: Final = b"DSVCPEND"
HEADER_LENGTH: Final = _HEADER.size
TRAILER_LENGTH: Final = _TRAILER.size


class MalformedPackError(CorruptionError):
    """A pack whose header, footer or trailer is damaged."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"pack {name} is damaged: {reason}")
        self.name = name
        self.reason = reason


def pack_key(name: str) -> str:
    """Return the key of the pack *name*, which is "<2 hex digits>/<64 hex digits>.<generation>"."""
    return f"packs/{name}"


def pack_name(digest: bytes, generation: int) -> str:
    """Return the name of a pack with the hash *digest*."""
    return f"{digest[:1].hex()}/{digest.hex()}.{generation}"


def of_generation(name: str, generation: int) -> str:
    """Return the name that the pack *name* has as one of *generation*."""
    return f"{name.partition('.')[0]}.{generation}"


class FrameRecord(msgspec.Struct, frozen=True):
    """Where a frame is in its pack, and what its header says."""

    offset: int
    header: frame.FrameHeader


class FrameTable(Sequence[FrameRecord]):
    """The frames of a pack, in columns: there are millions in a terabyte, and records take eight times this."""

    def __init__(self, frames: Iterable[FrameRecord] = ()) -> None:
        self.offsets, self.stored, self.raws, self.counts = (array("I") for _ in range(4))
        self.codecs, self.checksums = bytearray(), bytearray()
        for record in frames:
            self.append(record)

    def append(self, record: FrameRecord) -> None:
        """Add *record* at the end."""
        header = record.header
        self.offsets.append(record.offset)
        self.stored.append(header.stored_length)
        self.raws.append(header.raw_length)
        self.counts.append(header.count)
        self.codecs.append(header.codec)
        self.checksums += header.checksum

    def __len__(self) -> int:
        return len(self.codecs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    @overload
    def __getitem__(self, number: int) -> FrameRecord: ...

    @overload
    def __getitem__(self, number: slice) -> list[FrameRecord]: ...

    def __getitem__(self, number: int | slice) -> FrameRecord | list[FrameRecord]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        place = range(len(self))[number]
        checksum = bytes(self.checksums[32 * place : 32 * place + 32])
        header = frame.FrameHeader(
            self.codecs[place], self.raws[place], self.stored[place], self.counts[place], checksum
        )
        return FrameRecord(self.offsets[place], header)


class PackFooter(msgspec.Struct, frozen=True):
    """What a pack holds: its frames, and for each object, in order, kind, length and perhaps id."""

    content: int
    frames: Sequence[FrameRecord]
    kinds: bytes
    lengths: Sequence[int]
    ids: bytes | None

    def encode(self) -> bytes:
        """Return the columns, uncompressed."""
        headers = [record.header for record in self.frames]
        return b"".join(
            (
                _COUNTS.pack(len(self.frames), len(self.kinds), self.ids is not None),
                _u32(record.offset for record in self.frames),
                _u32(header.stored_length for header in headers),
                _u32(header.raw_length for header in headers),
                _u32(header.count for header in headers),
                bytes(header.codec for header in headers),
                b"".join(header.checksum for header in headers),
                self.kinds,
                _u32(self.lengths),
                self.ids or b"",
            )
        )


def _u32(values: "Iterator[int] | Sequence[int]") -> bytes:
    column = array("I", values)
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        column.byteswap()
    return column.tobytes()


class SealedPack(msgspec.Struct, frozen=True):
    """A finished pack file that no log entry names yet; *ids* in the order of the footer."""

    name: str
    path: Path
    length: int
    raw_length: int
    footer: PackFooter
    ids: bytes


class PackWriter:
    """Writes one pack to a file. Not safe to share between threads.

    The file is complete and synced when `seal` returns, and worthless before.
    """

    def __init__(self, path: Path, *, metadata: bool = False) -> None:
        self._path = path
        self._content = int(metadata)
        self._limit = METADATA_PACK_SIZE if metadata else DATA_PACK_SIZE
        self._frames = FrameTable()
        self._kinds = bytearray()
        self._lengths = array("I")
        self._ids = bytearray()
        self._pending = bytearray(FRAME_SIZE + LARGE_OBJECT)
        self._pending_length = 0
        self._pending_from = 0
        self._shrinking = True
        self._raw_length = 0
        self._header = _HEADER.pack(_MAGIC, 1, self._content, 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        except OSError as error:
            raise storage_error(error, f"write {path}") from error
        self._offset = 0
        try:
            self._write([self._header])
        except BaseException:
            self.discard()
            raise

    @property
    def is_full(self) -> bool:
        """Whether the pack has reached its size and should be sealed."""
        return (
            self._offset + self._pending_length >= self._limit
            or len(self._kinds) >= _FULL_OBJECTS
            or len(self._frames) >= _FULL_FRAMES
        )

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Append an object; *data* may be reused as soon as this returns."""
        length = len(data)
        # Checked before anything is changed: a frame's raw length is bounded for its readers.
        if length > frame.MAX_RAW_LENGTH:
            message = f"an object of {length} bytes is over the limit of {frame.MAX_RAW_LENGTH}"
            raise MalformedPackError(self._path.name, message)
        if length >= LARGE_OBJECT or self._pending_length + length > len(self._pending):
            self._flush()
        self._kinds.append(kind)
        self._lengths.append(length)
        self._ids += object_id
        self._raw_length += length
        if length >= LARGE_OBJECT:
            self._emit(memoryview(data))
            return
        end = self._pending_length + length
        self._pending[self._pending_length : end] = data
        self._pending_length = end
        if end >= FRAME_SIZE:
            self._flush()

    def add_frame(
        self, header: frame.FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Append a frame of another pack as it is; the caller has verified it, down to the ids of its objects."""
        self._flush()
        self._kinds += kinds
        self._lengths.extend(lengths)
        self._ids += b"".join(ids)
        self._raw_length += header.raw_length
        self._frames.append(FrameRecord(self._offset, header))
        self._write([header.prefix(), header.checksum, payload])
        self._pending_from = len(self._kinds)

    def _flush(self) -> None:
        if self._pending_from < len(self._kinds):
            self._emit(memoryview(self._pending)[: self._pending_length])
            self._pending_length = 0

    def _emit(self, raw: memoryview) -> None:
        """Write a frame of all objects since the last one; *raw* is their bytes."""
        packed = None
        if self._shrinking or frame.probably_shrinks(raw):
            packed = frame.compress(raw)
            self._shrinking = packed is not None
        payload: Buffer = raw if packed is None else packed
        header = frame.FrameHeader(
            frame.RAW if packed is None else frame.ZSTD,
            len(raw),
            len(payload),
            len(self._kinds) - self._pending_from,
            b"",
        )
        prefix = header.prefix()
        header = frame.FrameHeader(
            header.codec,
            header.raw_length,
            header.stored_length,
            header.count,
            frame.frame_checksum(prefix, self._digest(payload, header)),
        )
        if packed is not None:
            self._verify(frame.decompress(header, packed))
        self._frames.append(FrameRecord(self._offset, header))
        self._write([prefix, header.checksum, payload])
        self._pending_from = len(self._kinds)

    def _digest(self, payload: Buffer, header: frame.FrameHeader) -> bytes:
        if header.codec == frame.RAW and header.count == 1 and self._kinds[-1] == Kind.CHUNK:
            return bytes(self._ids[-ID_LENGTH:])
        return blake3(payload).digest()

    def _verify(self, raw: Buffer) -> None:
        """Hash the objects again: what memory or the compressor spoilt must not be sealed."""
        view = memoryview(raw)
        position = 0
        first = self._pending_from
        ids = _ID.iter_unpack(self._ids[ID_LENGTH * first :])
        for (object_id,), kind, length in zip(ids, self._kinds[first:], self._lengths[first:], strict=True):
            data = view[position : position + length]
            # Half the objects of a store are small chunks: no call more than needed.
            found = hash_object(kind, data) if kind else blake3(data).digest()
            if found != object_id:
                raise ObjectMismatchError(object_id, "memory")
            position += length

    def _write(self, parts: list[Buffer]) -> None:
        total = sum(map(len, parts))
        try:
            written = os.writev(self._file, parts)
            while written < total:
                # A signal, or a limit of one call, came between.
                rest = memoryview(b"".join(parts))[written:]
                written += os.write(self._file, rest)
        except OSError as error:
            raise storage_error(error, f"write {self._path}") from error
        self._offset += total

    def seal(self, generation: int) -> SealedPack:
        """Write what is pending and the footer, make the file durable, and describe it.

        Raises:
            MalformedPackError: Data and metadata were put together, which no reader would take.
        """
        self._flush()
        _check_kinds(self._path.name, self._content, bytes(self._kinds))
        ids = bytes(self._ids)
        # A small object's id costs more than the object: it is recomputed from the bytes then.
        with_ids = bool(self._content) or self._offset >= _IDS_FROM * len(self._kinds)
        footer = PackFooter(self._content, self._frames, bytes(self._kinds), self._lengths, ids if with_ids else None)
        raw = footer.encode()
        stored = zstandard.ZstdCompressor(level=3).compress(raw)
        digest = blake3(self._header).update(stored).digest()
        self._write([stored, _TRAILER.pack(len(stored), len(raw), digest, _END)])
        try:
            sync_file(self._file)
            self._close()
        except OSError as error:
            raise storage_error(error, f"write {self._path}") from error
        name = pack_name(digest, generation)
        return SealedPack(name, self._path, self._offset, self._raw_length, footer, ids)

    def discard(self) -> None:
        """Give up: remove the unfinished file."""
        with suppress(OSError):
            self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        # Closed once: the number may be another file's soon.
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def footer_range(name: str, trailer: Buffer, length: int) -> tuple[int, int]:
    """Return (offset, length) of the stored footer of a pack of *length* bytes that ends in *trailer*.

    Raises:
        MalformedPackError: It cannot be.
    """
    if len(trailer) != TRAILER_LENGTH:
        raise MalformedPackError(name, "it is cut short")
    stored, _, _, end = _TRAILER.unpack(trailer)
    offset = length - TRAILER_LENGTH - stored
    if end != _END or offset < HEADER_LENGTH:
        raise MalformedPackError(name, "its end is not that of a pack")
    return offset, stored


def read_footer(name: str, header: Buffer, stored: Buffer, trailer: Buffer) -> PackFooter:
    """Decode and check a footer from the three pieces of the pack *name* that hold it.

    Raises:
        MalformedPackError: They do not fit each other, or the name.
    """
    if len(header) != HEADER_LENGTH or len(trailer) != TRAILER_LENGTH:
        raise MalformedPackError(name, "it is cut short")
    magic, version, content, zero = _HEADER.unpack(header)
    stored_length, raw_length, digest, _ = _TRAILER.unpack(trailer)
    if magic != _MAGIC or version != 1 or content > 1 or zero:
        raise MalformedPackError(name, "unknown header")
    if blake3(header).update(stored).digest() != digest or digest.hex() != name[3:67]:
        raise MalformedPackError(name, "its footer does not match its name")
    if raw_length > _MAX_FOOTER or len(stored) != stored_length:
        raise MalformedPackError(name, "its footer is too long")
    try:
        raw = frame.decompress(frame.FrameHeader(frame.ZSTD, raw_length, stored_length, 0, b""), stored)
        footer = _decode_footer(name, content, memoryview(raw))
        _check_footer(name, footer)
    except frame.MalformedFrameError as error:
        raise MalformedPackError(name, f"its footer: {error}") from error
    return footer


def _decode_footer(name: str, content: int, raw: memoryview) -> PackFooter:
    if len(raw) < _COUNTS.size:
        raise MalformedPackError(name, "its footer is cut short")
    frames, objects, has_ids = _COUNTS.unpack_from(raw)
    expected = _COUNTS.size + frames * (17 + 32) + objects * (5 + has_ids * ID_LENGTH)
    if has_ids > 1 or frames > _MAX_FRAMES or len(raw) != expected:
        raise MalformedPackError(name, "its footer has another length than its counts say")
    position = _COUNTS.size

    def take(length: int) -> memoryview:
        nonlocal position
        position += length
        return raw[position - length : position]

    records = FrameTable()
    records.offsets, records.stored, records.raws, records.counts = (_read_u32(take(4 * frames)) for _ in range(4))
    records.codecs, records.checksums = bytearray(take(frames)), bytearray(take(32 * frames))
    kinds = bytes(take(objects))
    lengths = _read_u32(take(4 * objects))
    ids = bytes(take(ID_LENGTH * objects)) if has_ids else None
    return PackFooter(content, records, kinds, lengths, ids)


def _read_u32(column: memoryview) -> "array[int]":
    values = array("I")
    values.frombytes(column)
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        values.byteswap()
    return values


def _check_footer(name: str, footer: PackFooter) -> None:
    first = 0
    position = HEADER_LENGTH
    for record in footer.frames:
        header = record.header
        frame.parse_header(header.prefix() + header.checksum)
        lengths = footer.lengths[first : first + header.count]
        if record.offset != position or sum(lengths) != header.raw_length or len(lengths) != header.count:
            raise MalformedPackError(name, "its footer does not add up")
        first += header.count
        position += frame.HEADER_LENGTH + header.stored_length
    if first != len(footer.kinds):
        raise MalformedPackError(name, "its footer does not add up")
    _check_kinds(name, footer.content, footer.kinds)
    if footer.content and footer.ids is None:
        raise MalformedPackError(name, "its footer lacks the ids")


def _check_kinds(name: str, content: int, kinds: bytes) -> None:
    if not set(kinds) <= (_METADATA if content else _DATA):
        raise MalformedPackError(name, "it holds objects that do not belong into a pack of its content")
