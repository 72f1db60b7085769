"""What differs between two prolly trees, without reading the pages that both have.

Both trees are walked at once, from left to right. Where both walks would go on with the same page,
it is left out unread; else the higher one is opened. So the cost follows the change, and a tree
compared with itself costs nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import zip_longest
from typing import Generic, NamedTuple, TypeVar

from dsvc.model.codec import Record
from dsvc.model.tree import Child
from dsvc.odb.pages import Inner, Pages
from dsvc.odb.prolly import ProllyTree

__all__ = ["diff"]

ItemT = TypeVar("ItemT", bound=Record)


def diff(
    old: ProllyTree[ItemT], new: ProllyTree[ItemT], start: bytes = b"", stop: bytes | None = None
) -> Iterator[tuple[ItemT | None, ItemT | None]]:
    """Yield the (old, new) items of each key that differ, in order of keys; None where there is none.

    Only keys from *start* on and before *stop* count.
    """
    if old.root == new.root:
        return
    left, right = _Walk(old, start, stop), _Walk(new, start, stop)
    while True:
        _skip_equal(left, right)
        left.fill()
        right.fill()
        if not left.keys and not right.keys:
            return
        upto = min(walk.keys[-1] for walk in (left, right) if walk.keys)
        yield from _merge(*left.take(upto), *right.take(upto))


class _Piece(NamedTuple):
    """A page that a walk has still to go through, and the last key before it."""

    level: int
    child: Child
    lower: bytes


class _Walk(Generic[ItemT]):
    """One tree from left to right: items of an open leaf, then pages that are still closed."""

    def __init__(self, tree: ProllyTree[ItemT], start: bytes, stop: bytes | None) -> None:
        self.keys: list[bytes] = []
        self.items: list[ItemT] = []
        self._pages: Pages[ItemT] = tree.pages
        self._start = start
        self._stop = stop
        root, page = tree.pages.root(tree.root)
        # From right to left, so that the next one is taken from the end.
        self.closed: list[_Piece] = [_Piece(page.level, root, b"")] if page.keys else []

    def open(self) -> None:
        """Open the next page."""
        level, child, lower = self.closed.pop()
        page = self._pages.load(child, level, lower)
        low = bisect_left(page.keys, self._start)
        high = len(page.keys) if self._stop is None else bisect_left(page.keys, self._stop)
        if isinstance(page, Inner):
            lowers = [lower, *page.keys]
            for position in reversed(range(low, min(high + 1, len(page.keys)))):
                self.closed.append(_Piece(level - 1, page.children[position], lowers[position]))
        else:
            self.keys, self.items = page.keys[low:high], page.items[low:high]

    def fill(self) -> None:
        """Open pages until there are items, or no more pages."""
        while not self.keys and self.closed:
            self.open()

    def take(self, upto: bytes) -> tuple[list[bytes], list[ItemT]]:
        """Take the items at keys up to and with *upto*."""
        end = bisect_right(self.keys, upto)
        keys, items = self.keys[:end], self.items[:end]
        self.keys, self.items = self.keys[end:], self.items[end:]
        return keys, items


def _skip_equal(left: _Walk[ItemT], right: _Walk[ItemT]) -> None:
    # Until the next pages are leaves that differ. Items of leaves that are open come before them and may wait.
    while left.closed and right.closed:
        one, other = left.closed[-1], right.closed[-1]
        if one.child.page == other.child.page:
            left.closed.pop()
            right.closed.pop()
            continue
        if one.level == other.level == 0:
            return
        if one.level >= other.level:
            left.open()
        if other.level >= one.level:
            right.open()


def _merge(
    old_keys: list[bytes], old_items: list[ItemT], new_keys: list[bytes], new_items: list[ItemT]
) -> Iterator[tuple[ItemT | None, ItemT | None]]:
    # Most often one side is empty, or only values differ.
    if old_keys == new_keys or not old_keys or not new_keys:
        for pair in zip_longest(old_items, new_items):
            if pair[0] != pair[1]:
                yield pair
        return
    old, new = dict(zip(old_keys, old_items, strict=True)), dict(zip(new_keys, new_items, strict=True))
    for key in sorted(old.keys() | new.keys()):
        pair = old.get(key), new.get(key)
        if pair[0] != pair[1]:
            yield pair
