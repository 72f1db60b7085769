"""Tree entries: what a path of a version holds, and the pages they are kept in."""

from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta

from dsvc.model.codec import Record
from dsvc.model.ids import ID_LENGTH
from dsvc.model.paths import MAX_PATH_LENGTH

__all__ = [
    "EMPTY_FOLDER_DIGEST",
    "MAX_MAP_VALUE_LENGTH",
    "MAX_SIZE",
    "Child",
    "Entry",
    "EntryKind",
    "InnerPage",
    "LeafPage",
    "MapItem",
    "MapPage",
]

MAX_SIZE: Final = 2**63 - 1
MAX_MAP_VALUE_LENGTH: Final = 1 << 20

# The decoder checks these in C, for nothing; what they cannot say is checked where pages are read.
_Key = Annotated[bytes, Meta(min_length=1, max_length=MAX_PATH_LENGTH)]
_Id = Annotated[bytes, Meta(min_length=ID_LENGTH, max_length=ID_LENGTH)]
_Count = Annotated[int, Meta(ge=0, le=MAX_SIZE)]
_Value = Annotated[bytes, Meta(max_length=MAX_MAP_VALUE_LENGTH)]


class EntryKind(IntEnum):
    """What an entry is. The numbers are part of the format."""

    FILE = 0
    EXECUTABLE = 1
    SYMLINK = 2
    FOLDER = 3  # an empty one; a folder with something in it has no entry of its own
    EXTERNAL = 4


EMPTY_FOLDER_DIGEST: Final = b""


class Entry(Record, frozen=True):
    """One path of a tree.

    *size* is in bytes. *digest* is the plain BLAKE3 of the content (of the target, for a
    symlink), 32 bytes, or nothing for an empty folder. *blob* lists the chunks where there is
    more than one; without it the digest is the id of the only chunk (there is none if *size* is 0).
    """

    path: _Key
    kind: Annotated[int, Meta(ge=0, le=4)]
    size: _Count
    digest: Annotated[bytes, Meta(max_length=ID_LENGTH)]
    blob: _Id | None = None
    extension: _Id | None = None

    @property
    def is_file(self) -> bool:
        """Whether this is a file with content here, executable or not."""
        return self.kind <= EntryKind.EXECUTABLE

    def same_content(self, other: "Entry") -> bool:
        """Tell whether both hold the same bytes in the same kind, wherever they are."""
        return (self.kind, self.digest, self.extension) == (other.kind, other.digest, other.extension)


class Child(Record, frozen=True):
    """A page below an inner page, with the last key under it and the totals of its entries."""

    last_key: _Key
    page: _Id
    files: _Count
    size: _Count


class LeafPage(Record, frozen=True):
    """Entries in order of their keys."""

    version: int
    level: int
    entries: list[Entry]


class InnerPage(Record, frozen=True):
    """Child pages in order of their keys; *level* is 1 where the children are leaves."""

    version: int
    level: int
    children: list[Child]


class MapItem(Record, frozen=True):
    """One key of a map and its value, both of them any bytes."""

    key: _Key
    value: _Value


class MapPage(Record, frozen=True):
    """Items of a map in order of their keys: its leaf pages. The inner ones are InnerPage."""

    version: int
    level: int
    entries: list[MapItem]
