"""How much room a version takes: as files, in the store, and alone.

Chunks are shared by files and by versions, so the room of one is a question of who else holds them.
An object's room is its share of the frame that it is compressed in.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

from dsvc.history.content import chunks_between
from dsvc.history.diff import diff_trees
from dsvc.history.tree import Tree
from dsvc.model.paths import is_within
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.frame import HEADER_LENGTH

__all__ = ["Usage", "exclusive_chunks", "stored_size", "usage_by_folder"]


class Usage(msgspec.Struct):
    """What is at and below *path*, in bytes.

    *raw* are the files, *stored* their chunks in packs, each once, *exclusive* those of them that no other
    version has. *absent* are the chunks that are not in this store.
    """

    path: bytes
    files: int = 0
    raw: int = 0
    stored: float = 0.0
    exclusive: float = 0.0
    absent: int = 0

    def add(self, other: "Usage") -> None:
        """Add what is below."""
        self.files += other.files
        self.raw += other.raw
        self.stored += other.stored
        self.exclusive += other.exclusive
        self.absent += other.absent


def stored_size(objects: ObjectDatabase, object_id: bytes) -> float | None:
    """Return the bytes that an object takes in its pack, None if it is not here."""
    place = objects.locate(object_id)
    if place is None:
        return None
    return (HEADER_LENGTH + place.stored_length) * place.length / max(1, place.raw_length)


def usage_by_folder(
    objects: ObjectDatabase, tree: Tree, path: bytes, *, depth: int, exclusive: Collection[bytes] = (), seen: set[bytes]
) -> Iterator[Usage]:
    """Yield what is used by the folders down to *depth* below *path*, each after those in it, and by *path* last.

    A chunk counts where it is met first; *seen* holds those that were met, 32 bytes and the set's overhead
    for each: about 100 MB for a million. *exclusive* are the chunks that no other version has.
    """
    open_folders = [Usage(path)]
    for entry in tree.entries(path):
        while not is_within(entry.path, open_folders[-1].path):
            closed = open_folders.pop()
            open_folders[-1].add(closed)
            yield closed
        below = entry.path[len(path) + 1 :] if path else entry.path
        parts = below.split(b"/")[:-1][:depth] if entry.path != path else []
        for level in range(len(open_folders), len(parts) + 1):
            folder = b"/".join(parts[:level])
            open_folders.append(Usage(path + b"/" + folder if path else folder))
        _count(objects, entry, open_folders[-1], exclusive, seen)
    while open_folders:
        closed = open_folders.pop()
        if open_folders:
            open_folders[-1].add(closed)
        yield closed


def _count(objects: ObjectDatabase, entry: Entry, usage: Usage, exclusive: Collection[bytes], seen: set[bytes]) -> None:
    if entry.kind != EntryKind.FOLDER:
        usage.files += 1
        usage.raw += entry.size
    for span in chunks_between(objects, entry):
        chunk = span.chunk.id
        if chunk in seen:
            continue
        seen.add(chunk)
        stored = stored_size(objects, chunk)
        if stored is None:
            usage.absent += span.chunk.length
            continue
        usage.stored += stored
        if chunk in exclusive:
            usage.exclusive += stored


def exclusive_chunks(objects: ObjectDatabase, tree: Tree, paths: Iterable[bytes], others: Iterable[Tree]) -> set[bytes]:
    """Return the chunks at and below *paths* of *tree* that none of *others* has anywhere.

    Each of *others* is compared with the one before, so pages that versions share are read once: the cost
    is that of the first one and of all changes since. In memory are the chunks of *tree*.
    """
    alone: set[bytes] = set()
    for path in paths:
        for entry in tree.entries(path):
            alone.update(span.chunk.id for span in chunks_between(objects, entry))
    discard = _discarder(objects, alone)
    before = Tree(objects)
    for other in others:
        if not alone:
            break
        for change in diff_trees(before, other):
            if change.new is not None:
                discard(change.new)
        before = other
    return alone


def _discarder(objects: ObjectDatabase, chunks: set[bytes]) -> Callable[[Entry], None]:
    lists: set[bytes] = set()

    def discard(entry: Entry) -> None:
        if entry.blob is None:
            chunks.discard(entry.digest)
        elif entry.blob not in lists:
            lists.add(entry.blob)
            chunks.difference_update(span.chunk.id for span in chunks_between(objects, entry))

    return discard
