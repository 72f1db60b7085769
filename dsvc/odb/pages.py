"""Pages of a prolly tree: read, checked and written.

A page knows its items and their order. What an item is, a layout says: an entry of a tree of
files, or an item of a map. Whoever wrote a page may be hostile, so nothing in one is believed:
neither its order, nor what its parent says about it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from operator import lt
from threading import Lock
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from dsvc.errors import ConflictError, CorruptionError, InvalidInputError
from dsvc.model.codec import FORMAT_VERSION, MalformedObjectError, Record, decode, encode
from dsvc.model.ids import Kind, hash_object
from dsvc.model.paths import MAX_PATH_LENGTH
from dsvc.model.tree import MAX_MAP_VALUE_LENGTH, MAX_SIZE, Child, InnerPage, MapItem, MapPage
from dsvc.odb.objects import ObjectReader, ObjectWriter
from dsvc.odb.page_boundary import MAX_LEVELS, MAX_WEIGHT, page_weight

__all__ = [
    "Inner",
    "Layout",
    "Leaf",
    "MalformedPageError",
    "MapLayout",
    "Page",
    "Pages",
    "Totals",
    "check_header",
]

_CACHED_PAGES: Final = 256

ItemT = TypeVar("ItemT", bound=Record)


class MalformedPageError(CorruptionError):
    """A page that no version of dsvc would write."""

    def __init__(self, page: bytes, reason: object) -> None:
        super().__init__(f"malformed page {page.hex()}: {reason}")
        self.page = page


class Totals(NamedTuple):
    """The number of files in a part of a tree, and their size in bytes."""

    files: int
    size: int


class Layout(Protocol[ItemT]):
    """What the leaves of a tree hold, and what they must not."""

    def encode(self, items: list[ItemT]) -> bytes:
        """Return the canonical bytes of a leaf of *items*."""

    def decode(self, data: bytes) -> list[ItemT]:
        """Return the items of a leaf.

        Raises:
            MalformedObjectError: *data* is no leaf of this layout.
        """

    def keys(self, items: Sequence[ItemT]) -> list[bytes]:
        """Return the key of each of *items*.

        Raises:
            InvalidInputError: One of them may not be in a tree.
        """

    def totals(self, items: Sequence[ItemT]) -> Totals:
        """Return what *items* come to."""

    def check_neighbours(self, keys: Sequence[bytes]) -> None:
        """Check that *keys*, which follow each other in a tree, may do so.

        Raises:
            ConflictError: Two of them may not be in one tree.
        """


def check_header(version: int, level: int) -> None:
    """Check the header of a leaf.

    Raises:
        MalformedObjectError: It is of another format, or no leaf.
    """
    _check_version(version)
    if level != 0:
        message = f"a leaf of level {level}"
        raise MalformedObjectError(message)


def _check_version(version: int) -> None:
    if version != FORMAT_VERSION:
        message = f"version {version} is not supported"
        raise MalformedObjectError(message)


class MapLayout:
    """A map of bytes to bytes. It counts items as files and has no size."""

    def encode(self, items: list[MapItem]) -> bytes:
        """Return the canonical bytes of a leaf of *items*."""
        return encode(MapPage(FORMAT_VERSION, 0, items))

    def decode(self, data: bytes) -> list[MapItem]:
        """Return the items of a leaf."""
        page = decode(MapPage, data)
        check_header(page.version, page.level)
        return page.entries

    def keys(self, items: Sequence[MapItem]) -> list[bytes]:
        """Return the key of each of *items*."""
        keys = [item.key for item in items]
        for item in items:
            if not 0 < len(item.key) <= MAX_PATH_LENGTH or len(item.value) > MAX_MAP_VALUE_LENGTH:
                message = f"the key {item.key[:64]!r} or its value is empty or too long"
                raise InvalidInputError(message)
        return keys

    def totals(self, items: Sequence[MapItem]) -> Totals:
        """Return the number of *items*."""
        return Totals(len(items), 0)

    def check_neighbours(self, keys: Sequence[bytes]) -> None:
        """Let any keys follow each other."""


class Leaf(msgspec.Struct, Generic[ItemT], frozen=True):
    """A page of items, in order of their *keys*."""

    keys: list[bytes]
    items: list[ItemT]
    totals: Totals

    @property
    def level(self) -> int:
        """The height above the leaves."""
        return 0


class Inner(msgspec.Struct, frozen=True):
    """A page of child pages; *keys* are the last ones below each."""

    level: int
    keys: list[bytes]
    children: list[Child]
    totals: Totals


Page = Leaf[ItemT] | Inner


class Pages(Generic[ItemT]):
    """The pages of trees of one *layout*, read through a small cache. Safe to use from several threads."""

    def __init__(self, layout: Layout[ItemT], reader: ObjectReader) -> None:
        self.layout: Final = layout
        self.empty_root: Final = bytes(hash_object(Kind.PAGE, layout.encode([])))
        self._reader = reader
        self._cache: OrderedDict[bytes, Page[ItemT]] = OrderedDict()
        self._lock = Lock()

    def root(self, page: bytes) -> tuple[Child, Page[ItemT]]:
        """Return the root *page*, and what a parent would say about it.

        Raises:
            MalformedPageError: It can be no root.
        """
        if page == self.empty_root:
            return Child(b"", page, 0, 0), Leaf([], [], Totals(0, 0))
        found = self._cached(page) or self._read(page, self._reader.read(Kind.PAGE, page))
        if isinstance(found, Inner) and len(found.children) == 1:
            raise MalformedPageError(page, "a root with one child")
        return Child(found.keys[-1], page, *found.totals), found

    def load(self, child: Child, level: int, lower: bytes) -> Page[ItemT]:
        """Return the page *child* of *level*; *lower* is the last key before it, or empty.

        Raises:
            MalformedPageError: It is not what its parent says, or could be in no tree.
        """
        found = self._cached(child.page) or self._read(child.page, self._reader.read(Kind.PAGE, child.page))
        self._check_place(found, child, level, lower)
        return found

    def load_many(self, children: Sequence[Child], level: int, lowers: Sequence[bytes]) -> list[Page[ItemT]]:
        """Return the pages *children* of *level*; *lowers* are the last keys before each."""
        known = {child.page: page for child in children if (page := self._cached(child.page)) is not None}
        missing = [child.page for child in children if child.page not in known]
        for page_id, data in zip(missing, self._reader.read_many(Kind.PAGE, missing) if missing else [], strict=True):
            known[page_id] = self._read(page_id, data)
        for child, lower in zip(children, lowers, strict=True):
            self._check_place(known[child.page], child, level, lower)
        return [known[child.page] for child in children]

    def write_leaf(self, writer: ObjectWriter, keys: list[bytes], items: list[ItemT]) -> Child:
        """Write a leaf of *items* with those *keys*."""
        totals = self.layout.totals(items)
        return self._write(writer, self.layout.encode(items), Leaf(keys, items, totals))

    def write_inner(self, writer: ObjectWriter, level: int, keys: list[bytes], children: list[Child]) -> Child:
        """Write an inner page of *children* with those last *keys*."""
        data = encode(InnerPage(FORMAT_VERSION, level, children))
        return self._write(writer, data, Inner(level, keys, children, _sum(children)))

    def _write(self, writer: ObjectWriter, data: bytes, page: Page[ItemT]) -> Child:
        if page.totals.size > MAX_SIZE:
            message = f"a tree cannot hold {page.totals.size} bytes"
            raise InvalidInputError(message)
        object_id = bytes(writer.write(Kind.PAGE, data))
        if not page.keys:
            return Child(b"", object_id, 0, 0)
        self._remember(object_id, page)
        return Child(page.keys[-1], object_id, *page.totals)

    def _cached(self, page: bytes) -> Page[ItemT] | None:
        with self._lock:
            found = self._cache.get(page)
            if found is not None:
                self._cache.move_to_end(page)
        return found

    def _remember(self, page: bytes, content: Page[ItemT]) -> None:
        with self._lock:
            self._cache[page] = content
            if len(self._cache) > _CACHED_PAGES:
                self._cache.popitem(last=False)

    def _read(self, page: bytes, data: bytes) -> Page[ItemT]:
        try:
            # In canonical form the third byte is the level: after the header of the array and the version.
            content = self._read_leaf(data) if data[2:3] == b"\0" else _read_inner(data)
            _check_keys(content.keys)
        except (MalformedObjectError, InvalidInputError, ConflictError) as error:
            raise MalformedPageError(page, error) from error
        self._remember(page, content)
        return content

    def _read_leaf(self, data: bytes) -> Leaf[ItemT]:
        items = self.layout.decode(data)
        keys = self.layout.keys(items)
        self.layout.check_neighbours(keys)
        return Leaf(keys, items, self.layout.totals(items))

    def _check_place(self, page: Page[ItemT], child: Child, level: int, lower: bytes) -> None:
        if page.level != level:
            raise MalformedPageError(child.page, f"it has level {page.level} and its parent says {level}")
        if page.keys[-1] != child.last_key or page.totals != (child.files, child.size):
            raise MalformedPageError(child.page, "its parent says other keys or totals")
        if page.keys[0] <= lower:
            raise MalformedPageError(child.page, "it starts before the end of the page before it")
        if lower and level == 0:
            try:
                self.layout.check_neighbours((lower, page.keys[0]))
            except ConflictError as error:
                raise MalformedPageError(child.page, error) from error


def _read_inner(data: bytes) -> Inner:
    page = decode(InnerPage, data)
    _check_version(page.version)
    if not 0 < page.level < MAX_LEVELS:
        message = f"an inner page of level {page.level}"
        raise MalformedObjectError(message)
    return Inner(page.level, [child.last_key for child in page.children], page.children, _sum(page.children))


def _sum(children: Sequence[Child]) -> Totals:
    return Totals(sum([child.files for child in children]), sum([child.size for child in children]))


def _check_keys(keys: list[bytes]) -> None:
    if not keys:
        message = "it is empty"
        raise MalformedObjectError(message)
    if not all(map(lt, keys, keys[1:])):
        message = "its keys are not in order"
        raise MalformedObjectError(message)
    # Only the last item may reach the limit.
    if page_weight(len(keys) - 1, sum(map(len, keys)) - len(keys[-1])) >= MAX_WEIGHT:
        message = "it goes on past the limit of a page"
        raise MalformedObjectError(message)
