"""Blobs: the list of chunks of a file that has more than one."""

from dsvc.model.codec import Record

__all__ = ["Blob", "BlobItem"]


class BlobItem(Record, frozen=True):
    """*length* bytes of content, held by the object *id*."""

    id: bytes
    length: int


class Blob(Record, frozen=True):
    """Items in the order of the content: chunks at level 0, blobs one level lower above."""

    version: int
    level: int
    items: list[BlobItem]
