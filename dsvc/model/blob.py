"""Blobs: the list of chunks of a file that has more than one."""

from typing import Annotated, Final

from msgspec import Meta

from dsvc.model.codec import Record, Version
from dsvc.model.ids import ID_LENGTH
from dsvc.model.tree import MAX_SIZE

__all__ = ["MAX_BLOB_LEVEL", "Blob", "BlobItem"]

MAX_BLOB_LEVEL: Final = 8


class BlobItem(Record, frozen=True):
    """*length* bytes of content, held by the object *id*."""

    id: Annotated[bytes, Meta(min_length=ID_LENGTH, max_length=ID_LENGTH)]
    length: Annotated[int, Meta(ge=1, le=MAX_SIZE)]


class Blob(Record, frozen=True):
    """Items in the order of the content: chunks at level 0, blobs one level lower above."""

    version: Version
    level: Annotated[int, Meta(ge=0, le=MAX_BLOB_LEVEL)]
    items: Annotated[list[BlobItem], Meta(min_length=1)]
