"""What is recorded of a tree in the user's cache: its entries, and what its folders looked like once it was whole.

The record is small, and read whenever the tree is asked for. The manifest is as long as the tree; with it a tree can be
checked file by file, and repaired, without the store that it came from.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import zstandard
from blake3 import blake3

from dsvc.datasets.cached_file import is_as_written, is_cached, is_sealed
from dsvc.datasets.user_cache import UserCache
from dsvc.errors import StorageError
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.compare import content_digest
from dsvc.worktree.folders import Folders
from dsvc.worktree.scan import Found, found_from_stat, scan

__all__ = [
    "Damage",
    "TreeRecord",
    "folders_of",
    "inspect",
    "read_manifest",
    "read_record",
    "write_manifest",
    "write_record",
]

_VERSION: Final = 1
_HASH: Final = 32
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Entry])


class TreeRecord(msgspec.Struct, frozen=True, array_like=True):
    """A complete tree of *files* files with *size* bytes, of which *own* are shared with no file of the cache.

    *folders* has each folder's path, inode, time in nanoseconds and mode: whatever is added, removed, renamed or
    replaced changes one of them. *selection* says for people which part of a version it is.
    """

    version: int
    root: bytes
    files: int
    size: int
    own: int
    selection: str
    folders: list[tuple[bytes, int, int, int]]

    def holds(self, tree: bytes) -> bool:
        """Tell whether the folders of the *tree*, a path, look as they did."""
        try:
            with Folders(tree) as folders:
                return all(_folder(os.fstat(folders.open(path))) == tuple(seen) for path, *seen in self.folders)
        except OSError:
            return False
        except StorageError:
            return False


def _folder(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_mode


def folders_of(entries: Iterable[Entry]) -> list[bytes]:
    """Return each folder that a tree of *entries* has, the root first and every other one after the one it is in."""
    found = {b"": None}
    for entry in entries:
        path = entry.path if entry.kind == EntryKind.FOLDER else entry.path.rpartition(b"/")[0]
        if path not in found:
            missing = []
            while path not in found:
                missing.append(path)
                path = path.rpartition(b"/")[0]
            found.update(dict.fromkeys(reversed(missing)))
    return list(found)


def write_record(
    cache: UserCache, tree_id: str, root: bytes, entries: Sequence[Entry], *, own: int, selection: str
) -> TreeRecord:
    """Record that the tree *tree_id* is whole as it is now; from then on it is found. Return what was recorded.

    Raises:
        StorageError: It cannot be read, or the record cannot be written.
    """
    files = [entry for entry in entries if entry.kind != EntryKind.FOLDER]
    try:
        with Folders(os.fsencode(cache.tree(tree_id))) as folders:
            seen = [(path, *_folder(os.fstat(folders.open(path)))) for path in folders_of(entries)]
    except OSError as error:
        raise storage_error(error, f"read {cache.tree(tree_id)}") from error
    record = TreeRecord(_VERSION, bytes(root), len(files), sum([entry.size for entry in files]), own, selection, seen)
    cache.values.write(f"records/{tree_id}", _encoder.encode(record))
    return record


def read_record(cache: UserCache, tree_id: str) -> TreeRecord | None:
    """Return the record of the tree *tree_id*, None if it is not there whole."""
    value = cache.values.read_many([f"records/{tree_id}"])[0]
    if value is None:
        return None
    with suppress(msgspec.DecodeError):
        record = msgspec.msgpack.decode(value, type=TreeRecord)
        return record if record.version == _VERSION else None
    return None


def write_manifest(cache: UserCache, tree_id: str, entries: Sequence[Entry]) -> None:
    """Write down which *entries* the tree *tree_id* has."""
    packed = zstandard.ZstdCompressor(level=1).compress(_encoder.encode(entries))
    cache.values.write(f"manifests/{tree_id}", blake3(packed).digest() + packed)


def read_manifest(cache: UserCache, tree_id: str) -> list[Entry] | None:
    """Return the entries of the tree *tree_id* in order, None where they are not known, or what is known is damaged."""
    value = cache.values.read_many([f"manifests/{tree_id}"])[0]
    if value is None or blake3(value[_HASH:]).digest() != value[:_HASH]:
        return None
    # Its bytes are those that we wrote, so what they say of their length is believed.
    return _decoder.decode(zstandard.ZstdDecompressor().decompress(value[_HASH:]))


class Damage(msgspec.Struct, frozen=True):
    """What is not as it should be: entries that are *missing* or *wrong* at their paths, and *extra* paths."""

    missing: list[Entry]
    wrong: list[Entry]
    extra: list[bytes]

    def __bool__(self) -> bool:
        return bool(self.missing or self.wrong or self.extra)


def inspect(
    root: bytes, entries: Sequence[Entry], *, content: bool = False, names: bool = True, sealed: bool = True
) -> Damage:
    """Compare the folder *root* with *entries*: each file by what a stat shows, or with *content* by its digest.

    Without *names*, it is not looked for what is in no entry. If not *sealed*, files may be writable.

    Raises:
        StorageError: Something cannot be read.
    """
    missing: list[Entry] = []
    wrong: list[Entry] = []
    with Folders(root) as folders:
        for entry in entries:
            status = folders.status(entry.path)
            if status is None:
                missing.append(entry)
            elif not _is_right(root, entry, status, content=content, sealed=sealed):
                wrong.append(entry)
    expected = {entry.path for entry in entries} if names else set()
    extra = [path for path, _, _ in scan(root, everything=True) if path not in expected] if names else []
    return Damage(missing, wrong, extra)


def _is_right(root: bytes, entry: Entry, status: os.stat_result, *, content: bool, sealed: bool) -> bool:
    if entry.kind == EntryKind.FOLDER:
        return stat.S_ISDIR(status.st_mode)
    if is_cached(entry) and not content:
        return is_sealed(entry, status) if sealed else is_as_written(entry, status)
    found = found_from_stat(entry.path, status)
    kind = EntryKind.FILE if entry.kind == EntryKind.EXTERNAL else entry.kind
    if found.kind != kind or found.size != entry.size:
        return False
    return _digest(root, found) == entry.digest


def _digest(root: bytes, found: Found) -> bytes | None:
    try:
        return content_digest(root, found)[0]
    except StorageError as error:
        # It went while we were looking.
        if isinstance(error.__cause__, _ABSENT):
            return None
        raise
