"""Bringing some versions of a long history: what is older stays where it is, promised.

Commits come generation by generation from the tips, and the pages of their trees level by level: each is one step of
few large requests, however many versions there are. Nothing marks where the history here ends: what is not here, and
was promised, comes when somebody needs it.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from dsvc.history.commits import Commits
from dsvc.history.tree import Tree
from dsvc.model.blob import Blob
from dsvc.model.codec import decode
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Child
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pages import Inner
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.transport.closure import MissingObjectError, peel

__all__ = ["Versions"]

_WINDOW: Final = 200_000


class _Placed(NamedTuple):
    """A page: what its parent says of it, its height, and the last key before it."""

    child: Child
    height: int
    lower: bytes


class Versions:
    """Versions of *there* that come to *local*; *bring* lets objects of any kind be there."""

    def __init__(
        self,
        there: ObjectDatabase,
        local: ObjectDatabase,
        bring: Callable[[Iterable[bytes], Progress], list[bytes]],
        progress: Progress = NO_PROGRESS,
    ) -> None:
        self._there = there
        self._local = local
        self._bring_all = bring
        # What has come: objects, and their bytes, as they are and about as packed.
        self.count = self.raw = self.stored = 0
        self._progress = progress
        self._pages = Tree(local).prolly.pages

    def _bring(self, object_ids: Iterable[bytes]) -> None:
        remaining = (object_id for object_id in object_ids if object_id not in self._local)
        while window := list(islice(remaining, _WINDOW)):
            for object_id in self._bring_all(window, self._progress):
                raise MissingObjectError(object_id)
            for place in filter(None, map(self._local.locate, window)):
                self.count += 1
                self.raw += place.length
                self.stored += place.length * place.stored_length // max(1, place.raw_length)

    def bring_tags(self, values: Sequence[ObjectId]) -> dict[ObjectId, ObjectId]:
        """Bring the tags among *values*, and return what each of those ends at.

        Raises:
            MissingObjectError: One of them is not there.
        """
        self._bring(value for value in values if self._there.kind_of(value) == Kind.TAG)
        chains = {value: peel(self._there, value) for value in values}
        # A tag of a tag.
        self._bring(tag for tags, _ in chains.values() for tag in tags)
        return {value: end for value, (_, end) in chains.items()}

    def bring_newest(self, tips: Iterable[ObjectId], depth: int) -> list[ObjectId]:
        """Bring the commits *tips* and those before them, *depth* generations in all, and return them."""
        commits, found = Commits(self._local), dict[ObjectId, None]()
        generation = [tip for tip in dict.fromkeys(tips) if self._there.kind_of(tip) == Kind.COMMIT]
        for _ in range(depth):
            self._bring(generation)
            commits.load(generation)
            found.update(dict.fromkeys(generation))
            parents = (parent for commit_id in generation for parent in commits.parents(commit_id))
            generation = [parent for parent in dict.fromkeys(parents) if parent not in found]
        return list(found)

    def bring_trees(self, commit_ids: Sequence[ObjectId]) -> None:
        """Bring *commit_ids*, and all that their trees are made of but data."""
        commits = Commits(self._local)
        self._bring(commit_ids)
        commits.load(commit_ids)
        roots = list(dict.fromkeys(commits.get(commit_id).tree for commit_id in commit_ids))
        self._bring_pages([root for root in roots if root != self._pages.empty_root])

    def _bring_pages(self, roots: Sequence[bytes]) -> None:
        self._bring(roots)
        others: dict[bytes, None] = {}
        blobs: dict[bytes, None] = {}
        seen = set(roots)
        level = [_Placed(child, page.level, b"") for child, page in map(self._pages.root, roots)]
        while level:
            below: list[_Placed] = []
            for child, height, lower in level:
                page = self._pages.load(child, height, lower)
                if isinstance(page, Inner):
                    for one, before in zip(page.children, [lower, *page.keys], strict=False):
                        if one.page not in seen:
                            seen.add(one.page)
                            below.append(_Placed(one, height - 1, before))
                else:
                    blobs.update(dict.fromkeys(entry.blob for entry in page.items if entry.blob is not None))
                    others.update(dict.fromkeys(entry.extension for entry in page.items if entry.extension))
            self._bring(placed.child.page for placed in below)
            level = below
        self._bring(others)
        self._bring_blobs(list(blobs))

    def _bring_blobs(self, blobs: list[bytes]) -> None:
        """Bring lists of chunks, and the lists that they are made of."""
        while blobs:
            self._bring(blobs)
            read = (decode(Blob, bytes(data)) for _, data in self._local.stream(Kind.BLOB, blobs))
            blobs = list(dict.fromkeys(item.id for blob in read if blob.level for item in blob.items))
