"""Storing content that was made here, piece by piece: as chunks, and a list of them where there are several.

What is in files is read into packs by the worktree, faster and by several processes at once.
"""

from collections.abc import Iterable
from typing import Final

from blake3 import blake3

from dsvc.chunking.fastcdc import MIN_CHUNK, Cutter
from dsvc.model.ids import Kind
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.objects import ObjectWriter

__all__ = ["write_content"]

_BUFFER: Final = 8 * 1024 * 1024


def write_content(writer: ObjectWriter, path: bytes, pieces: Iterable[bytes]) -> Entry:
    """Store what *pieces* come to, and return the entry of a file at *path* that holds it."""
    hasher = blake3()
    builder = BlobBuilder()
    cutter = Cutter()
    held = bytearray()
    size = 0
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
        held += piece
        if len(held) >= _BUFFER:
            _store(writer, builder, held, cutter.cut(held, final=False))
    _store(writer, builder, held, cutter.cut(held, final=True) if size > MIN_CHUNK else [len(held)] if held else [])
    blob = None
    if builder.count > 1:
        for data in builder.finish():
            blob = bytes(writer.write(Kind.BLOB, data))
    return Entry(path, EntryKind.FILE, size, hasher.digest(), blob)


def _store(writer: ObjectWriter, builder: BlobBuilder, held: bytearray, ends: list[int]) -> None:
    """Store the chunks of *held* that end at *ends*, and leave the rest in it."""
    start = 0
    for end in ends:
        builder.add(writer.write(Kind.CHUNK, bytes(held[start:end])), end - start)
        start = end
    del held[:start]
