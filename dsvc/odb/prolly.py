"""The prolly tree: a sorted map in pages, cut by content, that is the same for the same items.

It is a B-tree whose pages end where a hash of a key says so (see `page_boundary`). Two trees that
share most of their items share most of their pages, whatever the order in which they were made:
so an edit writes a path of pages, and a difference is found without reading what is equal.

It does not know what its items are; a layout does (see `pages`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter, lt
from typing import Final, Generic, TypeVar

from dsvc.errors import InvalidInputError
from dsvc.model.codec import Record
from dsvc.model.ids import ObjectId
from dsvc.odb.objects import ObjectReader, ObjectWriter
from dsvc.odb.page_builder import Edits, PageBuilder, apply_edits
from dsvc.odb.pages import Inner, Layout, Leaf, Page, Pages, Totals

__all__ = ["Located", "ProllyTree", "build"]

_READ_AHEAD: Final = 32
_BUILD_AHEAD: Final = 8192

ItemT = TypeVar("ItemT", bound=Record)

# A leaf, the last key before it, and the bounds of the keys asked for that belong on it.
Located = tuple[Leaf[ItemT], bytes, int, int]


class ProllyTree(Generic[ItemT]):
    """One version of a sorted map. It never changes; editing gives another.

    *start* and *stop* bound keys: the first is included, the second is not, None has no bound.
    """

    def __init__(self, pages: Pages[ItemT], root: bytes | None = None) -> None:
        self.pages: Final = pages
        self.root: Final = ObjectId(pages.empty_root if root is None else root)

    @classmethod
    def open(cls, layout: Layout[ItemT], reader: ObjectReader, root: bytes | None) -> "ProllyTree[ItemT]":
        """Return the tree *root*, or an empty one for None."""
        return cls(Pages(layout, reader), root)

    def get(self, key: bytes) -> ItemT | None:
        """Return the item at *key*, if there is one."""
        found = self.seek(key)
        if found is None:
            return None
        leaf, position = found
        return leaf.items[position] if leaf.keys[position] == key else None

    def get_many(self, keys: Sequence[bytes]) -> list[ItemT | None]:
        """Return the items at *keys*, which are in order."""
        items: list[ItemT | None] = [None] * len(keys)
        for leaf, _, low, high in self.locate(keys):
            for number in range(low, high):
                position = bisect_left(leaf.keys, keys[number])
                if position < len(leaf.keys) and leaf.keys[position] == keys[number]:
                    items[number] = leaf.items[position]
        return items

    def seek(self, key: bytes) -> tuple[Leaf[ItemT], int] | None:
        """Return where the first item at or after *key* is: a leaf and the position on it."""
        _, page = self.pages.root(self.root)
        lower = b""
        while isinstance(page, Inner):
            position = bisect_left(page.keys, key)
            if position == len(page.keys):
                return None
            lower = page.keys[position - 1] if position else lower
            page = self.pages.load(page.children[position], page.level - 1, lower)
        position = bisect_left(page.keys, key)
        return (page, position) if position < len(page.keys) else None

    def items(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[ItemT]:
        """Yield the items in order of their keys."""
        _, root = self.pages.root(self.root)
        for leaf in self._leaves(root, b"", start, stop):
            # A slice costs less than a look at the bounds for each item.
            low, high = _within(leaf.keys, start, stop)
            yield from leaf.items[low:high] if high - low < len(leaf.items) else leaf.items

    def totals(self, start: bytes = b"", stop: bytes | None = None) -> Totals:
        """Return what the items come to. It reads only pages that lie across a bound."""
        _, root = self.pages.root(self.root)
        return self._totals(root, b"", start, stop)

    def locate(self, keys: Sequence[bytes]) -> Iterator[Located[ItemT]]:
        """Yield the leaves on which *keys*, which are in order, are or would be put, with their bounds.

        Keys after the last one of the tree belong on its last leaf.
        """
        _, root = self.pages.root(self.root)
        return self._locate(root, b"", keys, 0, len(keys))

    def apply(self, writer: ObjectWriter, edits: Mapping[bytes, ItemT | None]) -> "ProllyTree[ItemT]":
        """Return the tree with the items of *edits* at their keys; None removes what is there.

        Raises:
            InvalidInputError: An item may not be in a tree, or is not at its own key.
        """
        ordered = sorted(edits.items(), key=itemgetter(0))
        keys = [key for key, _ in ordered]
        items = [item for _, item in ordered]
        new = [item for item in items if item is not None]
        if self.pages.layout.keys(new) != [key for key, item in ordered if item is not None]:
            message = "an edit is not at the key of its item"
            raise InvalidInputError(message)
        return self.edit(writer, Edits(keys, items))

    def edit(self, writer: ObjectWriter, edits: Edits[ItemT]) -> "ProllyTree[ItemT]":
        """Return the tree with *edits*, which the caller has checked and put in order."""
        return ProllyTree(self.pages, apply_edits(self.pages, self.root, writer, edits))

    def _leaves(self, page: Page[ItemT], lower: bytes, start: bytes, stop: bytes | None) -> Iterator[Leaf[ItemT]]:
        if isinstance(page, Leaf):
            yield page
            return
        position, end = _overlapping(page.keys, start, stop)
        ahead = 1
        while position < end:
            # Few at first: often only the first item is wanted.
            picks = range(position, min(position + ahead, end))
            yield from chain.from_iterable(
                self._leaves(child, before, start, stop) for child, before in self._children(page, lower, picks)
            )
            position = picks.stop
            ahead = min(2 * ahead, _READ_AHEAD) if page.level == 1 else 1

    def _totals(self, page: Page[ItemT], lower: bytes, start: bytes, stop: bytes | None) -> Totals:
        if lower >= start and (stop is None or not page.keys or page.keys[-1] < stop):
            return page.totals
        if isinstance(page, Leaf):
            low, high = _within(page.keys, start, stop)
            return self.pages.layout.totals(page.items[low:high])
        files = size = 0
        low, high = _overlapping(page.keys, start, stop)
        for position in range(low, high):
            child = page.children[position]
            before = page.keys[position - 1] if position else lower
            if before >= start and (stop is None or child.last_key < stop):
                files, size = files + child.files, size + child.size
            else:
                part = self._totals(self.pages.load(child, page.level - 1, before), before, start, stop)
                files, size = files + part.files, size + part.size
        return Totals(files, size)

    def _locate(
        self, page: Page[ItemT], lower: bytes, keys: Sequence[bytes], low: int, high: int
    ) -> Iterator[Located[ItemT]]:
        if isinstance(page, Leaf):
            if low < high:
                yield page, lower, low, high
            return
        picks, bounds = _picks(page.keys, keys, low, high)
        for first in range(0, len(picks), _READ_AHEAD):
            children = self._children(page, lower, picks[first : first + _READ_AHEAD])
            for (child, before), (child_low, child_high) in zip(children, bounds[first:], strict=False):
                yield from self._locate(child, before, keys, child_low, child_high)

    def _children(self, page: Inner, lower: bytes, positions: Sequence[int]) -> Iterator[tuple[Page[ItemT], bytes]]:
        # The pages at *positions* and the last keys before them, read together.
        lowers = [page.keys[position - 1] if position else lower for position in positions]
        children = [page.children[position] for position in positions]
        return zip(self.pages.load_many(children, page.level - 1, lowers), lowers, strict=True)


def build(pages: Pages[ItemT], writer: ObjectWriter, items: Iterable[ItemT]) -> ProllyTree[ItemT]:
    """Write a tree of *items*, which are in order of their keys, in little memory.

    Raises:
        InvalidInputError: An item may not be in a tree, or they are not in order.
        ConflictError: Two of them may not be in one tree.
    """
    builder = PageBuilder(pages, writer)
    last: list[bytes] = []
    stream = iter(items)
    while run := list(islice(stream, _BUILD_AHEAD)):
        keys = pages.layout.keys(run)
        neighbours = last + keys
        if not all(map(lt, neighbours, neighbours[1:])):
            message = "the items of a tree are not in order"
            raise InvalidInputError(message)
        pages.layout.check_neighbours(neighbours)
        builder.add(keys, run)
        last = keys[-1:]
    return ProllyTree(pages, builder.finish())


def _within(keys: Sequence[bytes], start: bytes, stop: bytes | None) -> tuple[int, int]:
    return bisect_left(keys, start), len(keys) if stop is None else bisect_left(keys, stop)


def _overlapping(keys: Sequence[bytes], start: bytes, stop: bytes | None) -> tuple[int, int]:
    # Of children with those last keys: the one in which *stop* falls counts too.
    low, high = _within(keys, start, stop)
    return low, min(high + 1, len(keys))


def _picks(
    last_keys: Sequence[bytes], keys: Sequence[bytes], low: int, high: int
) -> tuple[list[int], list[tuple[int, int]]]:
    # On which children *keys* from *low* to *high* belong: their positions, and the bounds of each one's keys.
    picks, bounds = [], []
    last = len(last_keys) - 1
    while low < high:
        position = min(bisect_left(last_keys, keys[low]), last)
        end = high if position == last else bisect_right(keys, last_keys[position], low, high)
        picks.append(position)
        bounds.append((low, end))
        low = end
    return picks, bounds
