"""Checking that all that refs lead to is there: commits, their trees, and the content of every path."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.extensions import read_extensions
from dsvc.history.tree import Tree
from dsvc.model.blob import Blob
from dsvc.model.canonical_json import decode_canonical
from dsvc.model.codec import decode
from dsvc.model.commit import Commit, Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Child, Entry, EntryKind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.marks import SEEN, Marks
from dsvc.odb.pages import Inner, Page
from dsvc.odb.segment import Location
from dsvc.progress import NO_PROGRESS, Progress

__all__ = ["Connectivity"]

_READ_AHEAD: Final = 32
_UNREADABLE: Final = (CorruptionError, NotFoundError)


class Connectivity:
    """Walks everything below some roots. Objects that *is_lost* tells to be damaged count as missing.

    *broken* has what is wrong with each object that is missing or cannot be read. What is in one of the *promised*
    databases is not missing, and what is below it there is not looked at. With *uncertain*, others may be in one that
    cannot be looked at, and are among the *unknown*.
    """

    def __init__(
        self,
        objects: ObjectDatabase,
        is_lost: Callable[[Location], bool],
        progress: Progress = NO_PROGRESS,
        *,
        promised: Sequence[ObjectDatabase] = (),
        uncertain: bool = False,
    ) -> None:
        self.marks: Final = Marks(objects)
        self.broken: Final[dict[bytes, str]] = {}
        self.commits: Final[dict[ObjectId, Commit]] = {}
        self.unknown: Final[set[bytes]] = set()
        self._uncertain = uncertain
        self._promised = [Marks(one) for one in promised]
        self._objects = objects
        self._is_lost = is_lost
        self._progress = progress
        self._reader = Commits(objects)
        self._pages = Tree(objects).prolly.pages
        self._lossy: set[bytes] = set()
        # Whether something is promised that leads to others, as in a shallow clone.
        self._is_cut = False

    def _meet(self, object_id: bytes, *, leads_on: bool = True) -> bool:
        """Note that *object_id* is needed; tell whether it is new, so that what is below it has to be looked at."""
        place = self.marks.find(object_id)
        if place is None and object_id == self._pages.empty_root:
            # It is known without being stored.
            return False
        if place is None:
            if self._is_promised(object_id):
                self._is_cut |= leads_on
            else:
                self.broken.setdefault(bytes(object_id), "it is missing")
            return False
        if not self.marks.mark(place, SEEN):
            return False
        if self._is_lost(self.marks.segments[place[0]].location(place[1])):
            self.broken[bytes(object_id)] = "it is damaged"
            return False
        return True

    def _is_promised(self, object_id: bytes) -> bool:
        for marks in self._promised:
            place = marks.find(object_id)
            if place is not None:
                marks.mark(place, SEEN)
                return True
        if self._uncertain:
            self.unknown.add(bytes(object_id))
        return self._uncertain

    @property
    def promised(self) -> int:
        """How many objects that are not here are promised."""
        return sum(marks.count(SEEN) for marks in self._promised)

    def add(self, object_id: ObjectId) -> None:
        """Walk what the value of a ref leads to: a commit with all before it, a tag, or a tree."""
        waiting = [object_id]
        while waiting:
            one = waiting.pop()
            if not self._meet(one):
                continue
            try:
                waiting.extend(self._open(one))
            except _UNREADABLE as error:
                self.broken[bytes(one)] = str(error)

    def _open(self, one: ObjectId) -> list[ObjectId]:
        kind = self._objects.kind_of(one)
        if kind == Kind.COMMIT:
            commit = self.commits[one] = self._reader.get(one)
            decode_canonical(commit.metadata)
            self.add_tree(ObjectId(commit.tree))
            return self._reader.parents(one)
        if kind == Kind.TAG:
            return [ObjectId(decode(Tag, self._objects.read(Kind.TAG, one)).target)]
        if kind == Kind.PAGE:
            self._walk_root(one)
        return []

    def add_tree(self, root: ObjectId) -> None:
        """Walk the tree *root*."""
        if self._meet(root):
            self._walk_root(root)
        elif root in self.broken:
            self._lossy.add(bytes(root))

    def _walk_root(self, root: ObjectId) -> None:
        try:
            page = self._pages.root(root)[1]
        except _UNREADABLE as error:
            self.broken[bytes(root)] = str(error)
            self._lossy.add(bytes(root))
        else:
            self._walk(bytes(root), page, b"")

    def _walk(self, page_id: bytes, page: Page[Entry], lower: bytes) -> None:
        """Walk what is below *page*, and remember whether something of it is lost."""
        if isinstance(page, Inner):
            lossy = self._walk_inner(page, lower)
        else:
            lossy = self._walk_entries(page.items)
            self._progress.advance(len(page.items))
        if lossy:
            self._lossy.add(page_id)

    def _walk_inner(self, page: Inner, lower: bytes) -> bool:
        new = [position for position, child in enumerate(page.children) if self._meet(child.page)]
        for first in range(0, len(new), _READ_AHEAD):
            for child, lower_key, content in self._load(page, lower, new[first : first + _READ_AHEAD]):
                self._walk(child.page, content, lower_key)
        return any(child.page in self._lossy or child.page in self.broken for child in page.children)

    def _load(self, page: Inner, lower: bytes, positions: Sequence[int]) -> Iterator[tuple[Child, bytes, Page[Entry]]]:
        lowers = [page.keys[position - 1] if position else lower for position in positions]
        children = [page.children[position] for position in positions]
        try:
            yield from zip(children, lowers, self._pages.load_many(children, page.level - 1, lowers), strict=True)
        except _UNREADABLE:
            # One by one, to tell which.
            for child, lower_key in zip(children, lowers, strict=True):
                try:
                    yield child, lower_key, self._pages.load(child, page.level - 1, lower_key)
                except _UNREADABLE as error:
                    self.broken[child.page] = str(error)

    def _walk_entries(self, entries: Iterable[Entry]) -> bool:
        blobs: list[bytes] = []
        needed: list[bytes] = []
        data: list[bytes] = []
        extended: list[Entry] = []
        for entry in entries:
            if entry.extension is not None:
                needed.append(entry.extension)
                extended.append(entry)
            if entry.blob is not None:
                needed.append(entry.blob)
                blobs.append(entry.blob)
            elif entry.size and entry.kind <= EntryKind.SYMLINK:
                data.append(entry.digest)
        new = {object_id for object_id in needed if self._meet(object_id)}
        for chunk in data:
            self._meet(chunk, leads_on=False)
        for blob in blobs:
            if blob in new:
                self._walk_blob(blob)
        if extended:
            self._check_extensions(extended)
        return bool(self.broken) and any(
            object_id in self.broken or object_id in self._lossy for object_id in (*needed, *data)
        )

    def _check_extensions(self, entries: Sequence[Entry]) -> None:
        """Check that what more there is about each of *entries* is well-formed, and fits it."""
        here = [entry for entry in entries if entry.extension not in self.broken]
        try:
            read_extensions(self._objects, here)
        except _UNREADABLE:
            # One by one, to tell which.
            for entry in here:
                try:
                    read_extensions(self._objects, [entry])
                except _UNREADABLE as error:
                    self.broken[entry.extension or b""] = str(error)

    def _walk_blob(self, blob_id: bytes) -> None:
        try:
            blob = decode(Blob, self._objects.read(Kind.BLOB, blob_id))
        except _UNREADABLE as error:
            self.broken[blob_id] = str(error)
            return
        for item in blob.items:
            if self._meet(item.id, leads_on=blob.level > 0) and blob.level:
                self._walk_blob(item.id)
        if self.broken and any(item.id in self.broken or item.id in self._lossy for item in blob.items):
            self._lossy.add(blob_id)

    def is_lossy(self, object_id: bytes) -> bool:
        """Tell whether *object_id*, or something below it, is lost."""
        return object_id in self.broken or object_id in self._lossy

    def lost_paths(self, root: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield (path, files) of what is lost of a tree: one path, or the last of several on a page that is lost."""
        if root in self.broken:
            yield b"", 0
        elif root in self._lossy:
            yield from self._lost_below(self._pages.root(root)[1], b"")

    def _lost_below(self, page: Page[Entry], lower: bytes) -> Iterator[tuple[bytes, int]]:
        if not isinstance(page, Inner):
            for entry in page.items:
                content = entry.blob or (entry.digest if entry.kind <= EntryKind.SYMLINK else None)
                if (content and self.is_lossy(content)) or (entry.extension and self.is_lossy(entry.extension)):
                    yield entry.path, 1
            return
        for position, child in enumerate(page.children):
            before = page.keys[position - 1] if position else lower
            if child.page in self.broken:
                yield child.last_key.replace(b"\0", b"/"), child.files
            elif child.page in self._lossy:
                yield from self._lost_below(self._pages.load(child, page.level - 1, before), before)

    def dangling(self) -> int:
        """Return how many objects nothing led to, as far as that can be known.

        Where some of the history is elsewhere, what is there as well may belong to it.
        """
        if self._is_cut and self.unknown:
            return 0
        elsewhere = self._promised if self._is_cut else []
        count = 0
        for number, segment in enumerate(self.marks.segments):
            flags = self.marks.flags[number]
            for row, _ in self.marks.live_rows(number):
                # Of an object that is here twice, the database reads one.
                if flags[row] or self.marks.find(object_id := segment.id_of(row)) != (number, row):
                    continue
                count += all(marks.find(object_id) is None for marks in elsewhere)
        return count
