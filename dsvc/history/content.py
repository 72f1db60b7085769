"""The content of a tree's entries, whole or in part: only the chunks that are needed are read."""

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from blake3 import blake3

from dsvc.errors import CorruptionError, InvalidInputError, NotFoundError
from dsvc.history.needs import bring_chunks
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, decode
from dsvc.model.ids import ID_LENGTH, Kind, ObjectMismatchError
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import MalformedBlobError
from dsvc.odb.objects import ObjectReader, OutOfReachError

__all__ = ["ChunkSpan", "ContentElsewhereError", "NoContentError", "chunks_between", "read_content", "read_range"]

# About 4 MiB of chunks: one read of a pack, and little memory.
_BATCH: Final = 16
# 128 MiB.
_MOST_AHEAD: Final = 512
_MAX_LEVEL: Final = 8


class NoContentError(InvalidInputError):
    """What should be read is a folder."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path) if path else 'the root'} is a folder")
        self.path = path


class ContentElsewhereError(NotFoundError):
    """The content of a file is not kept in a store."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} is kept elsewhere, and its content is not here")
        self.path = path


class ChunkSpan(NamedTuple):
    """A chunk, and where its first byte is in the file."""

    offset: int
    chunk: BlobItem


def read_content(objects: ObjectReader, entry: Entry) -> bytes:
    """Return the whole content of *entry*, the target of a symlink; for what is known to be small."""
    return b"".join(read_range(objects, entry))


def read_range(objects: ObjectReader, entry: Entry, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of *entry* from *start* up to before *stop*, piece by piece; the target of a symlink.

    What lies behind the end is left out. Every piece is verified before it is yielded; the last one of
    a whole file only after the digest of all of it.

    Raises:
        NoContentError, ContentElsewhereError: There is nothing to read.
        CorruptionError: What is stored is damaged.
    """
    if entry.kind == EntryKind.FOLDER:
        raise NoContentError(entry.path)
    if entry.kind == EntryKind.EXTERNAL:
        raise ContentElsewhereError(entry.path)
    stop = entry.size if stop is None else min(stop, entry.size)
    if start >= stop:
        return
    pieces = _pieces(objects, entry, start, stop)
    yield from _hashed(entry, pieces) if (start, stop) == (0, entry.size) else pieces


def _pieces(objects: ObjectReader, entry: Entry, start: int, stop: int) -> Iterator[bytes]:
    spans = chunks_between(objects, entry, start, stop)
    for batch in _brought(objects, entry, spans):
        read = objects.read_many(Kind.CHUNK, [span.chunk.id for span in batch])
        for span, data in zip(batch, read, strict=True):
            if len(data) != span.chunk.length:
                message = f"{quote_path(entry.path)} has a chunk of another length than it says"
                raise CorruptionError(message)
            yield data[max(0, start - span.offset) : stop - span.offset]


def _brought(objects: ObjectReader, entry: Entry, spans: Iterator[ChunkSpan]) -> Iterator[list[ChunkSpan]]:
    """Yield *spans* in batches; what is only promised comes before, in steps that grow while somebody reads on."""
    step = _BATCH
    while ahead := list(islice(spans, step)):
        try:
            bring_chunks(objects, [span.chunk.id for span in ahead])
        except OutOfReachError as error:
            raise error.about(quote_path(entry.path)) from error
        for start in range(0, len(ahead), _BATCH):
            yield ahead[start : start + _BATCH]
        step = min(2 * step, _MOST_AHEAD)


def _hashed(entry: Entry, pieces: Iterator[bytes]) -> Iterator[bytes]:
    hasher = blake3()
    held: bytes | None = None
    for piece in pieces:
        if held is not None:
            yield held
        hasher.update(piece)
        held = piece
    if hasher.digest() != entry.digest:
        raise ObjectMismatchError(entry.digest, quote_path(entry.path))
    if held is not None:
        yield held


def chunks_between(objects: ObjectReader, entry: Entry, start: int = 0, stop: int | None = None) -> Iterator[ChunkSpan]:
    """Yield the chunks of *entry* that hold bytes from *start* up to before *stop*, in order.

    Of a huge file, only the parts of the list of chunks are read that are needed.

    Raises:
        MalformedBlobError: Lengths, levels or ids are not what they must be.
    """
    stop = entry.size if stop is None else min(stop, entry.size)
    if start >= stop or entry.kind in (EntryKind.FOLDER, EntryKind.EXTERNAL):
        return
    if entry.blob is None:
        yield ChunkSpan(0, BlobItem(entry.digest, entry.size))
        return
    # Explicit rather than recursive: each list that is open, as what is left of it.
    levels = [_items(objects, entry.blob, entry.size, None, 0)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        level, span = found
        if span.offset + span.chunk.length <= start or span.offset >= stop:
            continue
        if level:
            levels.append(_items(objects, span.chunk.id, span.chunk.length, level - 1, span.offset))
        else:
            yield span


def _items(
    objects: ObjectReader, blob_id: bytes, size: int, level: int | None, offset: int
) -> Iterator[tuple[int, ChunkSpan]]:
    """Yield the level of a blob of *size* bytes at *offset*, with each of its items."""
    blob = decode(Blob, objects.read(Kind.BLOB, blob_id))
    fits = (
        blob.version == FORMAT_VERSION
        and 0 <= blob.level <= _MAX_LEVEL
        and level in (None, blob.level)
        and sum(item.length for item in blob.items) == size
        and all(item.length > 0 and len(item.id) == ID_LENGTH for item in blob.items)
    )
    if not fits:
        raise MalformedBlobError(blob_id)
    for item in blob.items:
        yield blob.level, ChunkSpan(offset, item)
        offset += item.length
