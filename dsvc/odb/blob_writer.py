"""Blobs of any length: a list over 64 KiB is cut, by content, into blobs of its own.

A node of the list ends after an item whose id's first two bytes, as a big-endian number, are
below 64 (one in 1,024), or after 1,536 items, and holds at least 256: an edit of a
huge file rewrites the nodes around it, not the list.
"""

from collections.abc import Iterator
from typing import Final

from dsvc.errors import CorruptionError
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.ids import Kind, hash_object
from dsvc.odb.objects import ObjectReader

__all__ = ["BlobBuilder", "MalformedBlobError", "chunks_of"]

_WHOLE: Final = 64 * 1024
_MIN_ITEMS: Final = 256
_MAX_ITEMS: Final = 1536
_CUT_BELOW: Final = 64


class MalformedBlobError(CorruptionError):
    """A blob whose items do not add up."""

    def __init__(self, blob_id: bytes) -> None:
        super().__init__(f"blob {blob_id.hex()} is malformed")


class BlobBuilder:
    """Collects the chunks of one file in order."""

    def __init__(self) -> None:
        self._items: list[BlobItem] = []

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self._items)

    def add(self, chunk_id: bytes, length: int) -> None:
        """Append a chunk of *length* bytes."""
        self._items.append(BlobItem(chunk_id, length))

    def finish(self) -> list[bytes]:
        """Return the encoded blobs to store; the last is the one that stands for the file."""
        items, level = self._items, 0
        stored: list[bytes] = []
        while True:
            whole = encode(Blob(FORMAT_VERSION, level, items))
            if len(whole) <= _WHOLE:
                stored.append(whole)
                return stored
            above: list[BlobItem] = []
            for node in _cut(items):
                data = encode(Blob(FORMAT_VERSION, level, node))
                stored.append(data)
                length = sum(item.length for item in node)
                above.append(BlobItem(bytes(hash_object(Kind.BLOB, data)), length))
            items, level = above, level + 1


def _cut(items: list[BlobItem]) -> Iterator[list[BlobItem]]:
    start = 0
    for index, item in enumerate(items):
        count = index + 1 - start
        if count >= _MAX_ITEMS or (count >= _MIN_ITEMS and int.from_bytes(item.id[:2], "big") < _CUT_BELOW):
            yield items[start : index + 1]
            start = index + 1
    if start < len(items):
        yield items[start:]


def chunks_of(reader: ObjectReader, blob_id: bytes, size: int) -> Iterator[BlobItem]:
    """Yield the chunks of a blob of *size* bytes, in order.

    Raises:
        MalformedBlobError: Lengths, levels or ids are not what they must be.
    """
    yield from _chunks(reader, blob_id, size, None)


def _chunks(reader: ObjectReader, blob_id: bytes, size: int, level: int | None) -> Iterator[BlobItem]:
    blob = decode(Blob, reader.read(Kind.BLOB, blob_id))
    if level not in (None, blob.level) or sum(item.length for item in blob.items) != size:
        raise MalformedBlobError(blob_id)
    if blob.level == 0:
        yield from blob.items
        return
    for item in blob.items:
        yield from _chunks(reader, item.id, item.length, blob.level - 1)
