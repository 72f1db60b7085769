"""Building a prolly tree: items go in at the left, pages come out, one accumulator for each level.

What comes out depends on the items alone. Whole pages of an older tree may go in instead of their
items wherever the new tree would cut at the same place; that is what makes an edit cheap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from dsvc.errors import InvalidInputError
from dsvc.model.codec import Record
from dsvc.model.ids import ObjectId
from dsvc.model.tree import Child
from dsvc.odb.objects import ObjectWriter
from dsvc.odb.page_boundary import MAX_LEVELS, Splitter
from dsvc.odb.pages import Inner, Leaf, Page, Pages

__all__ = ["Edits", "PageBuilder", "apply_edits"]

ItemT = TypeVar("ItemT", bound=Record)


class _Level(Generic[ItemT]):
    """The page of one level that is not full yet."""

    def __init__(self, level: int) -> None:
        self.splitter = Splitter(level)
        self.keys: list[bytes] = []
        self.items: list[ItemT] = []

    def add(self, keys: Sequence[bytes], items: Sequence[ItemT]) -> list[tuple[list[bytes], list[ItemT]]]:
        """Take more items; return those of each page that is full now."""
        held = len(self.keys)
        ends = self.splitter.split(keys)
        self.keys += keys
        self.items += items
        full = []
        start = 0
        for position in ends:
            end = held + position
            full.append((self.keys[start:end], self.items[start:end]))
            start = end
        if start:
            del self.keys[:start]
            del self.items[:start]
        return full


class PageBuilder(Generic[ItemT]):
    """Writes the pages of one tree as its items come, in order of their keys."""

    def __init__(self, pages: Pages[ItemT], writer: ObjectWriter) -> None:
        self._pages = pages
        self._writer = writer
        self._leaf: _Level[ItemT] = _Level(0)
        # The levels 1, 2, … that have had a child so far.
        self._inner: list[_Level[Child]] = []

    def add(self, keys: Sequence[bytes], items: Sequence[ItemT]) -> None:
        """Take the next *items*."""
        for page_keys, page_items in self._leaf.add(keys, items):
            child = self._pages.write_leaf(self._writer, page_keys, page_items)
            self.add_pages(0, [child.last_key], [child])

    def add_pages(self, level: int, keys: Sequence[bytes], children: Sequence[Child]) -> None:
        """Take the next whole pages of *level*; *keys* are their last ones.

        They must follow a cut: `is_cut` of *level* holds, and each page ends where one of that
        level must, or ends the tree.
        """
        while level >= len(self._inner):
            self._add_level()
        for page_keys, page_children in self._inner[level].add(keys, children):
            child = self._pages.write_inner(self._writer, level + 1, page_keys, page_children)
            self.add_pages(level + 1, [child.last_key], [child])

    def is_cut(self, level: int) -> bool:
        """Tell whether a page of *level*, and of all below it, would start with the next item."""
        return not self._leaf.keys and not any(inner.keys for inner in self._inner[:level])

    def finish(self) -> ObjectId:
        """Write the pages that are not full and return the root."""
        if not self._inner:
            return ObjectId(self._pages.write_leaf(self._writer, self._leaf.keys, self._leaf.items).page)
        if self._leaf.keys:
            child = self._pages.write_leaf(self._writer, self._leaf.keys, self._leaf.items)
            self.add_pages(0, [child.last_key], [child])
        # Writing the rest of a level can add one above.
        level = 1
        while level < len(self._inner):
            self._finish_level(level)
            level += 1
        return self._finish_top()

    def _add_level(self) -> None:
        level = len(self._inner) + 1
        if level == MAX_LEVELS:
            message = f"a tree of more than {MAX_LEVELS} levels"
            raise InvalidInputError(message)
        self._inner.append(_Level(level))

    def _finish_level(self, level: int) -> None:
        rest = self._inner[level - 1]
        if rest.keys:
            child = self._pages.write_inner(self._writer, level, rest.keys, rest.items)
            self.add_pages(level, [child.last_key], [child])

    def _finish_top(self) -> ObjectId:
        level = len(self._inner)
        top = self._inner[-1]
        if len(top.items) > 1:
            return ObjectId(self._pages.write_inner(self._writer, level, top.keys, top.items).page)
        # The root is the lowest level with one page. A page taken whole can be the last of its
        # level and have one child: then the root is further down.
        child = top.items[0]
        while level > 1:
            level -= 1
            page = self._pages.load(child, level, b"")
            if not isinstance(page, Inner) or len(page.children) > 1:
                break
            child = page.children[0]
        return ObjectId(child.page)


class Edits(msgspec.Struct, Generic[ItemT], frozen=True):
    """Items to put at *keys*, which are in order; None removes what is there."""

    keys: list[bytes]
    items: list[ItemT | None]


def apply_edits(pages: Pages[ItemT], root: bytes, writer: ObjectWriter, edits: Edits[ItemT]) -> ObjectId:
    """Write the tree *root* with *edits* and return its root.

    The result is what building it from its items would give. What no edit touches is neither
    read nor written.
    """
    _, page = pages.root(root)
    builder = PageBuilder(pages, writer)
    _Editor(pages, builder, edits).open(page, b"", 0, len(edits.keys))
    return builder.finish()


class _Editor(Generic[ItemT]):
    """One walk from left to right over an old tree, with edits, into a builder.

    *low* and *high* bound the edits that fall into a page, or after it if it is the last.
    """

    def __init__(self, pages: Pages[ItemT], builder: PageBuilder[ItemT], edits: Edits[ItemT]) -> None:
        self._pages = pages
        self._builder = builder
        self._edits = edits

    def open(self, page: Page[ItemT], lower: bytes, low: int, high: int) -> None:
        """Feed what is on *page*."""
        if isinstance(page, Leaf):
            keys, items = self._merge(page, low, high)
            self._builder.add(keys, items)
            return
        below = page.level - 1
        position, last = 0, len(page.keys) - 1
        while position <= last:
            if self._builder.is_cut(below):
                untouched = self._untouched(page.keys, position, low, high)
                if untouched > position:
                    self._builder.add_pages(below, page.keys[position:untouched], page.children[position:untouched])
                position = untouched
                if position > last:
                    return
            edits_end = high if position == last else bisect_right(self._edits.keys, page.keys[position], low, high)
            lower = page.keys[position - 1] if position else lower
            self.open(self._pages.load(page.children[position], below, lower), lower, low, edits_end)
            low = edits_end
            position += 1

    def _untouched(self, keys: list[bytes], position: int, low: int, high: int) -> int:
        # Where the next child with an edit is. Edits after the last key belong to the last child.
        if low == high:
            return len(keys)
        return min(bisect_left(keys, self._edits.keys[low], position), len(keys) - 1)

    def _merge(self, page: Leaf[ItemT], low: int, high: int) -> tuple[list[bytes], list[ItemT]]:
        if low == high:
            return page.keys, page.items
        edits = self._edits
        keys: list[bytes] = []
        items: list[ItemT] = []
        position, end = 0, len(page.keys)
        for number in range(low, high):
            if position == end:
                _extend(keys, items, edits.keys[number:high], edits.items[number:high])
                break
            key, item = edits.keys[number], edits.items[number]
            found = bisect_left(page.keys, key, position)
            keys += page.keys[position:found]
            items += page.items[position:found]
            if item is not None:
                keys.append(key)
                items.append(item)
            position = found + 1 if found < end and page.keys[found] == key else found
        keys += page.keys[position:]
        items += page.items[position:]
        return keys, items


def _extend(keys: list[bytes], items: list[ItemT], new_keys: list[bytes], new_items: list[ItemT | None]) -> None:
    keys += [key for key, item in zip(new_keys, new_items, strict=True) if item is not None]
    items += [item for item in new_items if item is not None]
