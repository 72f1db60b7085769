"""The tree of a version: every path of a dataset, and what is there.

A tree is one prolly tree over full paths, with `/` ordered as byte 0, so that a folder is one
range of keys. Folders have no entries, except those with nothing in them. It knows entries and
not contents: nothing here reads a chunk.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError
from dsvc.history.entry_layout import EntryLayout, PathConflictError, check_entries, is_below, path_keys
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import key_path, path_key, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectReader, ObjectWriter
from dsvc.odb.page_builder import Edits
from dsvc.odb.pages import Leaf, Totals
from dsvc.odb.prolly import ProllyTree, build

__all__ = ["Folder", "PathConflictError", "Totals", "Tree", "folder_range"]

_LAYOUT: Final = EntryLayout()

# NUL starts whatever is in a folder, so the byte 1 comes after all that.
_PAST_FOLDER: Final = b"\1"


class Folder(msgspec.Struct, frozen=True):
    """A folder with something in it: how many files are below, and their size in bytes."""

    path: bytes
    files: int
    size: int


class Tree:
    """The entries of one version. It never changes; editing gives another.

    A *folder* is a path without slashes at its ends; the empty one is the whole tree.
    """

    def __init__(self, reader: ObjectReader, root: bytes | None = None) -> None:
        self.prolly = ProllyTree.open(_LAYOUT, reader, root)

    @staticmethod
    def empty(writer: ObjectWriter) -> ObjectId:
        """Write the empty tree and return its root."""
        return writer.write(Kind.PAGE, _LAYOUT.encode([]))

    @classmethod
    def build(cls, reader: ObjectReader, writer: ObjectWriter, entries: Iterable[Entry]) -> "Tree":
        """Write a tree of *entries*, which are in order of their keys, in little memory.

        Raises:
            InvalidInputError: An entry may not be in a tree, or they are not in order.
            PathConflictError: One is below another.
        """
        return cls._of(build(cls(reader).prolly.pages, writer, entries))

    @classmethod
    def _of(cls, prolly: ProllyTree[Entry]) -> "Tree":
        tree = cls.__new__(cls)
        tree.prolly = prolly
        return tree

    @property
    def root(self) -> ObjectId:
        """The id of the root page; equal trees have equal ones."""
        return self.prolly.root

    def get(self, path: bytes) -> Entry | None:
        """Return the entry at *path*, if there is one; a folder with something in it has none."""
        entry = self.prolly.get(path_key(path))
        # A path with NUL has the key of another one.
        return entry if entry is not None and entry.path == path else None

    def get_many(self, paths: Sequence[bytes]) -> list[Entry | None]:
        """Return the entries at *paths*, in any order, each page being read once."""
        keyed = sorted((path_key(path), number) for number, path in enumerate(paths))
        entries: list[Entry | None] = [None] * len(paths)
        found = self.prolly.get_many([key for key, _ in keyed])
        for (_, number), entry in zip(keyed, found, strict=True):
            if entry is not None and entry.path == paths[number]:
                entries[number] = entry
        return entries

    def entries(self, folder: bytes = b"") -> Iterator[Entry]:
        """Yield what is at or below *folder*, in order of keys."""
        return self.prolly.items(*folder_range(folder))

    def totals(self, folder: bytes = b"") -> Totals:
        """Return the number and size of the files at or below *folder*, reading a few pages."""
        return self.prolly.totals(*folder_range(folder))

    def list_folder(self, folder: bytes = b"") -> Iterator[Entry | Folder]:
        """Yield what is directly in *folder*, in order of names; nothing if it is no folder.

        It skips over the folders in it, so its cost follows the names and not the files below.
        """
        start, stop = folder_range(folder)
        position: bytes | None = start + b"\0" if folder else b""
        depth = len(position or b"")
        while position is not None:
            found = self.prolly.seek(position)
            if found is None:
                return
            position = yield from self._list_leaf(*found, depth, stop)

    def apply(self, writer: ObjectWriter, edits: Iterable[tuple[bytes, Entry | None]]) -> "Tree":
        """Return the tree with *edits*: an entry is put at its path, None removes what is there.

        Edits may come in any order; of several at one path the last one counts. Removing what
        is not there does nothing. An empty folder goes when something comes to be in it.

        Raises:
            InvalidInputError: A path or an entry may not be in a tree.
            PathConflictError: After all the edits, a path would be below a file.
        """
        return self._of(self.prolly.edit(writer, _settle(self.prolly, _in_order(list(edits)))))

    def _list_leaf(
        self, leaf: Leaf[Entry], at: int, depth: int, stop: bytes | None
    ) -> Generator[Entry | Folder, None, bytes | None]:
        # Returns the key to go on from, if there may be more. The first *depth* bytes of keys name the folder.
        keys = leaf.keys
        position: bytes | None = None
        while at < len(keys):
            key = keys[at]
            if stop is not None and key >= stop:
                return None
            end = key.find(b"\0", depth)
            if end < 0:
                yield leaf.items[at]
                at += 1
                position = key + b"\0"
            else:
                position = key[:end] + _PAST_FOLDER
                upto = bisect_left(keys, position, at)
                inside = upto < len(keys)
                totals = _LAYOUT.totals(leaf.items[at:upto]) if inside else self.prolly.totals(key, position)
                yield Folder(key_path(key[:end]), *totals)
                at = upto
        return position


def folder_range(folder: bytes) -> tuple[bytes, bytes | None]:
    """Return the keys (first, one past the last) of *folder* and of all below it; None has no bound."""
    key = path_key(folder)
    return key, key + _PAST_FOLDER if key else None


def _in_order(edits: list[tuple[bytes, Entry | None]]) -> Edits[Entry]:
    for path, entry in edits:
        if entry is not None and entry.path != path:
            message = f"the entry of {quote_path(entry.path)} cannot be at {quote_path(path)}"
            raise InvalidInputError(message)
    keys = path_keys([path for path, _ in edits])
    items = [entry for _, entry in edits]
    check_entries(filter(None, items))
    # A scan finds them in order; a dictionary of a million would take another 80 MB.
    if all(map(lt, keys, islice(keys, 1, None))):
        return Edits(keys, items)
    return _sorted(dict(zip(keys, items, strict=True)))


def _sorted(edits: dict[bytes, Entry | None]) -> Edits[Entry]:
    keys = sorted(edits)
    return Edits(keys, [edits[key] for key in keys])


def _settle(tree: ProllyTree[Entry], edits: Edits[Entry]) -> Edits[Entry]:
    """Return *edits* with empty folders removed that will not be empty.

    What is below a path follows it at once. So only neighbours can be in conflict, and one
    of the two is new: two new ones, or a new one and its neighbour in the old tree.

    Raises:
        PathConflictError: A path would be below a file.
    """
    filled: list[bytes] = []
    new = edits.keys
    if None in edits.items:
        new = [key for key, entry in zip(edits.keys, edits.items, strict=True) if entry is not None]
    if any(map(bytes.startswith, islice(new, 1, None), new)):
        for above, below in pairwise(new):
            if is_below(below, above):
                filled.append(_filled(above, _edit_of(edits, above), below))
    for leaf, lower, low, high in tree.locate(new) if tree.root != tree.pages.empty_root else ():
        for key in new[low:high]:
            at = bisect_left(leaf.keys, key)
            after = leaf.keys[at] if at < len(leaf.keys) else b""
            if after == key:
                continue
            before = leaf.keys[at - 1] if at else lower
            if is_below(key, before) and not _is_edited(edits, before):
                filled.append(_filled(before, tree.get(before), key))
            if is_below(after, key):
                kept = _first_kept(tree, key, edits)
                if kept is not None:
                    filled.append(_filled(key, _edit_of(edits, key), kept))
    return _sorted(dict(zip(edits.keys, edits.items, strict=True)) | dict.fromkeys(filled)) if filled else edits


def _filled(key: bytes, entry: Entry | None, below: bytes) -> bytes:
    """Return *key*, if its *entry* is an empty folder, which goes when there is something *below*."""
    if entry is None or entry.kind != EntryKind.FOLDER:
        raise PathConflictError(key_path(key), key_path(below))
    return key


def _is_edited(edits: Edits[Entry], key: bytes) -> bool:
    at = bisect_left(edits.keys, key)
    return at < len(edits.keys) and edits.keys[at] == key


def _edit_of(edits: Edits[Entry], key: bytes) -> Entry | None:
    return edits.items[bisect_left(edits.keys, key)]


def _first_kept(tree: ProllyTree[Entry], key: bytes, edits: Edits[Entry]) -> bytes | None:
    # A batch may replace a folder: all below it goes, and a file comes.
    for entry in tree.items(*folder_range(key_path(key))):
        kept = path_key(entry.path)
        if not _is_edited(edits, kept):
            return kept
    return None
