"""Searching the trees of many versions for entries: a page that several versions share is looked at once."""

from collections.abc import Callable, Iterator
from typing import Final

from dsvc.history.tree import Tree
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader
from dsvc.odb.pages import Inner, Page

__all__ = ["TreeSearch"]

_READ_AHEAD: Final = 32


class TreeSearch:
    """The entries that pass *test*, in any tree that *objects* has.

    In memory are about 100 bytes for each page that was met, and the entries that were found.
    """

    def __init__(self, objects: ObjectReader, test: Callable[[Entry], bool]) -> None:
        self._pages = Tree(objects).prolly.pages
        self._test = test
        self._counts: dict[bytes, int] = {self._pages.empty_root: 0}
        self._found: dict[bytes, list[Entry]] = {}

    def count(self, root: bytes) -> int:
        """Return how many entries of the tree *root* pass."""
        if root not in self._counts:
            self._look(root, self._pages.root(root)[1], b"")
        return self._counts[root]

    def entries(self, root: bytes) -> Iterator[Entry]:
        """Yield the entries of the tree *root* that pass, in order of keys."""
        if self.count(root):
            yield from self._below(root, self._pages.root(root)[1], b"")

    def _look(self, page_id: bytes, page: Page[Entry], lower: bytes) -> None:
        if not isinstance(page, Inner):
            found = [entry for entry in page.items if self._test(entry)]
            if found:
                self._found[page_id] = found
            self._counts[page_id] = len(found)
            return
        new = [position for position, child in enumerate(page.children) if child.page not in self._counts]
        for first in range(0, len(new), _READ_AHEAD):
            positions = new[first : first + _READ_AHEAD]
            children = [page.children[position] for position in positions]
            lowers = [page.keys[position - 1] if position else lower for position in positions]
            for child, before, content in zip(
                children, lowers, self._pages.load_many(children, page.level - 1, lowers), strict=True
            ):
                self._look(child.page, content, before)
        self._counts[page_id] = sum(self._counts[child.page] for child in page.children)

    def _below(self, page_id: bytes, page: Page[Entry], lower: bytes) -> Iterator[Entry]:
        if not isinstance(page, Inner):
            yield from self._found.get(page_id, ())
            return
        for position, child in enumerate(page.children):
            if child.page in self._found:
                yield from self._found[child.page]
            elif self._counts[child.page]:
                before = page.keys[position - 1] if position else lower
                yield from self._below(child.page, self._pages.load(child, page.level - 1, before), before)
