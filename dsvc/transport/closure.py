"""All that a version needs: which objects of one store another one lacks.

Trees are compared by their pages: a page that a commit of the other side has too is passed over with all
that is below it. What remains is looked up there object by object.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from dsvc.errors import CorruptionError
from dsvc.history.tree import Tree
from dsvc.model.blob import Blob
from dsvc.model.codec import decode
from dsvc.model.commit import Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.marks import SEEN, WANTED, Marks
from dsvc.odb.pages import Inner, Page
from dsvc.progress import NO_PROGRESS, Progress

__all__ = ["Closure", "MissingObjectError", "peel"]

_READ_AHEAD: Final = 32


class MissingObjectError(CorruptionError):
    """A version needs an object that is nowhere."""

    def __init__(self, object_id: bytes) -> None:
        super().__init__(f"object {object_id.hex()} is missing")
        self.object_id = object_id


def peel(objects: ObjectDatabase, object_id: bytes) -> tuple[list[ObjectId], ObjectId]:
    """Return the tags that *object_id* leads through, and what they end at.

    Raises:
        MissingObjectError: One of them is missing.
    """
    tags: list[ObjectId] = []
    target = ObjectId(object_id)
    while (kind := objects.kind_of(target)) == Kind.TAG:
        tags.append(target)
        target = ObjectId(decode(Tag, objects.read(Kind.TAG, target)).target)
    if kind is None:
        raise MissingObjectError(target)
    return tags, target


class Closure:
    """The objects of *source* that *target* lacks, as marks; *relied* names the packs with those that it has.

    Without *data*, what files contain is left out. *promised* is what neither side has, and whoever promised it to the
    source does.
    """

    def __init__(
        self,
        source: ObjectDatabase,
        target: ObjectDatabase,
        progress: Progress = NO_PROGRESS,
        *,
        data: bool = True,
    ) -> None:
        self.source: Final = source
        self.target: Final = target
        self.marks: Final = Marks(source)
        self.relied: Final[set[str]] = set()
        self.promised: Final[set[bytes]] = set()
        self._data = data
        self._progress = progress
        self._empty = target.is_empty
        self._known: set[bytes] = set()
        self._pages = Tree(source).prolly.pages

    def skip_tree(self, root: bytes) -> None:
        """Pass over what the tree *root* has: the target holds all of it."""
        if root in self._known or root == self._pages.empty_root:
            return
        self._known.add(root)
        page = self._pages.root(root)[1]
        if isinstance(page, Inner):
            self._skip(page, b"")

    def _skip(self, page: Inner, lower: bytes) -> None:
        new = [child.page not in self._known for child in page.children]
        self._known.update(child.page for child in page.children)
        if page.level == 1:
            return
        for position, child in enumerate(page.children):
            if new[position]:
                before = page.keys[position - 1] if position else lower
                inner = self._pages.load(child, page.level - 1, before)
                if isinstance(inner, Inner):
                    self._skip(inner, before)

    def add(self, object_id: bytes) -> bool:
        """Note that *object_id* is needed; tell whether it was not met before.

        Raises:
            MissingObjectError: Neither side has it.
        """
        place = self.marks.find(object_id)
        if place is not None and not self.marks.mark(place, SEEN):
            return False
        there = None if self._empty else self.target.locate(object_id)
        if there is not None:
            self.relied.add(there.pack)
        elif place is not None:
            self.marks.mark(place, WANTED)
        elif self.source.promisor is None:
            raise MissingObjectError(object_id)
        else:
            self.promised.add(bytes(object_id))
        return True

    def add_whole_tree(self, root: bytes) -> None:
        """Add the tree *root* with data, whatever holds for others; before them, for what was met is passed over."""
        before, self._data = self._data, True
        self.add_tree(root)
        self._data = before

    def add_tree(self, root: bytes) -> None:
        """Add the tree *root* and all that is in it."""
        if root in self._known or (root == self._pages.empty_root and self.marks.find(root) is None):
            return
        if self.add(root):
            self._add_page(self._pages.root(root)[1], b"")

    def _add_page(self, page: Page[Entry], lower: bytes) -> None:
        if not isinstance(page, Inner):
            self._add_entries(page.items)
            return
        new = [
            position
            for position, child in enumerate(page.children)
            if child.page not in self._known and self.add(child.page)
        ]
        for first in range(0, len(new), _READ_AHEAD):
            positions = new[first : first + _READ_AHEAD]
            lowers = [page.keys[position - 1] if position else lower for position in positions]
            children = [page.children[position] for position in positions]
            for child, before in zip(self._pages.load_many(children, page.level - 1, lowers), lowers, strict=True):
                self._add_page(child, before)

    def _add_entries(self, entries: Sequence[Entry]) -> None:
        self._add_all([entry.extension for entry in entries if entry.extension is not None])
        self._add_blobs(self._add_all([entry.blob for entry in entries if entry.blob is not None]))
        if self._data:
            self._add_all(
                [
                    entry.digest
                    for entry in entries
                    if entry.blob is None and entry.size and entry.kind <= EntryKind.SYMLINK
                ]
            )
        self._progress.advance(len(entries))

    def _add_all(self, object_ids: Sequence[bytes]) -> list[bytes]:
        """Do what `add` would for each of *object_ids*; return those that were not met before."""
        if not object_ids:
            return []
        met, absent = self.marks.mark_all(object_ids, SEEN | WANTED if self._empty else SEEN)
        for object_id, place in () if self._empty else met:
            there = self.target.locate(object_id)
            if there is not None:
                self.relied.add(there.pack)
            else:
                self.marks.mark(place, WANTED)
        return [object_id for object_id, _ in met] + [object_id for object_id in absent if self.add(object_id)]

    def _add_blobs(self, blobs: Iterable[bytes]) -> None:
        waiting = list(blobs)
        while waiting:
            batch, waiting = waiting[:_READ_AHEAD], waiting[_READ_AHEAD:]
            for data in self.source.read_many(Kind.BLOB, batch):
                blob = decode(Blob, data)
                if not (blob.level or self._data):
                    continue
                new = self._add_all([item.id for item in blob.items])
                if blob.level:
                    waiting.extend(new)
