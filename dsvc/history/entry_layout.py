"""What the leaves of a tree of files hold: entries, and the rules that they obey.

The rules are checked for whole pages at a time, or reading a tree of 1e6 entries would take
seconds longer: what is plainly harmless passes in bulk, and only the rest is looked at one by one.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from dsvc.errors import ConflictError, InvalidInputError
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.ids import EMPTY_DIGEST, ID_LENGTH
from dsvc.model.paths import key_path, path_key, quote_path, validate_path
from dsvc.model.tree import EMPTY_FOLDER_DIGEST, MAX_SIZE, Entry, EntryKind, LeafPage
from dsvc.odb.pages import Totals, check_header

__all__ = ["EntryLayout", "InvalidEntryError", "PathConflictError", "check_entries", "is_below", "path_keys"]

_MAX_NAME_LENGTH: Final = 255

_KINDS: Final = frozenset(EntryKind)
_FILES: Final = frozenset((EntryKind.FILE, EntryKind.EXECUTABLE))

# What each path has in it that `validate_path` could refuse, once `/` is NUL and two NULs are
# before and after each path: a slash at an end, the first byte of `.` or of a spelling of
# `.dsvc`, the short name of `.dsvc` on FAT.
_SUSPICIOUS: Final = (b"\0\0\0", b"\0.", b"\0\xe2", b"\0\xef", b"~1")


class InvalidEntryError(InvalidInputError):
    """An entry whose fields contradict each other."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"invalid entry {quote_path(path)}: {reason}")
        self.path = path


class PathConflictError(ConflictError):
    """One path would be a file and a folder at once."""

    def __init__(self, file: bytes, below: bytes) -> None:
        super().__init__(f"{quote_path(file)} is a file, so {quote_path(below)} cannot be below it")
        self.file = file
        self.below = below


class EntryLayout:
    """Entries at the keys of their paths."""

    def encode(self, items: list[Entry]) -> bytes:
        """Return the canonical bytes of a leaf of *items*."""
        return encode(LeafPage(FORMAT_VERSION, 0, items))

    def decode(self, data: bytes) -> list[Entry]:
        """Return the entries of a leaf."""
        page = decode(LeafPage, data)
        check_header(page.version, page.level)
        return page.entries

    def keys(self, items: Sequence[Entry]) -> list[bytes]:
        """Return the key of each of *items*.

        Raises:
            InvalidPathError: The path of one may not be in a tree.
            InvalidEntryError: The fields of one contradict each other.
        """
        check_entries(items)
        return path_keys([entry.path for entry in items])

    def totals(self, items: Sequence[Entry]) -> Totals:
        """Return the number of files, links and external files, and the size of all."""
        folders = [entry.kind for entry in items].count(EntryKind.FOLDER)
        return Totals(len(items) - folders, sum([entry.size for entry in items]))

    def check_neighbours(self, keys: Sequence[bytes]) -> None:
        """Refuse a path below another, empty folders included.

        Whatever is below a path follows it at once, so neighbours are all that there is to check.

        Raises:
            PathConflictError: There is such a path.
        """
        if any(map(bytes.startswith, keys[1:], keys)):
            for above, below in pairwise(keys):
                if is_below(below, above):
                    raise PathConflictError(key_path(above), key_path(below))


def is_below(key: bytes, above: bytes) -> bool:
    """Tell whether the path of *key* is in the folder whose path has the key *above*."""
    return key.startswith(above) and key[len(above) : len(above) + 1] == b"\0"


def path_keys(paths: Sequence[bytes]) -> list[bytes]:
    """Return the key of each of *paths*.

    Raises:
        InvalidPathError: A tree may not hold one of them.
    """
    # Two NULs between paths and one between components: whatever else there is, is wrong. This
    # takes 0.25 µs a path where `validate_path` and `path_key` take 2.
    joined = b"\0\0" + b"\0\0".join(paths) + b"\0\0"
    if joined.count(b"\0") == 2 * len(paths) + 2 and max(map(len, paths)) <= _MAX_NAME_LENGTH:
        joined = joined.replace(b"/", b"\0")
        keys = joined[2:-2].split(b"\0\0")
        if len(keys) == len(paths) and not any(sign in joined for sign in _SUSPICIOUS):
            return keys
    for path in paths:
        validate_path(path)
    return [path_key(path) for path in paths]


def check_entries(entries: Iterable[Entry]) -> None:
    """Do nothing, if the fields of each of *entries* but its path may be in a tree.

    Raises:
        InvalidEntryError: The fields of one contradict each other.
    """
    for entry in entries:
        # Nothing can be wrong with the rest: files of one chunk.
        if (
            entry.kind not in _FILES
            or not 0 < entry.size <= MAX_SIZE
            or len(entry.digest) != ID_LENGTH
            or entry.blob is not None
            or entry.extension is not None
        ):
            _check_entry(entry)


def _check_entry(entry: Entry) -> None:
    if entry.kind not in _KINDS:
        raise InvalidEntryError(entry.path, f"there is no kind {entry.kind}")
    if not 0 <= entry.size <= MAX_SIZE:
        raise InvalidEntryError(entry.path, f"its size is {entry.size}")
    if entry.kind == EntryKind.FOLDER:
        if entry.size or entry.digest != EMPTY_FOLDER_DIGEST:
            raise InvalidEntryError(entry.path, "it is an empty folder, and has content")
    elif len(entry.digest) != ID_LENGTH and (entry.digest or entry.kind != EntryKind.EXTERNAL):
        raise InvalidEntryError(entry.path, f"its digest has {len(entry.digest)} bytes")
    # No chunk is read for an empty file, so nothing later would notice another digest.
    elif not entry.size and entry.digest != EMPTY_DIGEST and entry.kind != EntryKind.EXTERNAL:
        raise InvalidEntryError(entry.path, "it is empty, and its digest is not that of nothing")
    if entry.kind == EntryKind.EXTERNAL and entry.extension is None:
        raise InvalidEntryError(entry.path, "it is external, and nothing says where")
    if entry.extension is not None and len(entry.extension) != ID_LENGTH:
        raise InvalidEntryError(entry.path, f"the id of its extension has {len(entry.extension)} bytes")
    if entry.blob is not None and (len(entry.blob) != ID_LENGTH or not entry.size or entry.kind not in _FILES):
        raise InvalidEntryError(entry.path, "it cannot have a list of chunks")
