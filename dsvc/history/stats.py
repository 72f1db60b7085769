"""Figures about the files of a version: kinds, types, sizes, and the shapes of tables.

They follow the change: those of a version are those of another one and what differs between the two, and equal what is
counted from nothing. So sizes are kept as a histogram, from which quantiles can be told to 3 %, and not as a list.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from itertools import chain
from typing import Final

import msgspec

from dsvc.history.diff import Change
from dsvc.history.tables import TABLE_TYPES, TableShape, table_shape, type_of
from dsvc.history.tree import Tree
from dsvc.model.canonical_json import Json, JsonObject
from dsvc.model.paths import quote_path, unquote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectReader

__all__ = ["Stats", "TypeTotal", "measure", "measure_change", "read_stats"]

# Of a format of its own: what was kept by another one is counted anew.
_VERSION: Final = 1
_LARGEST: Final = 10
# More are not described one by one.
_MOST_TABLES: Final = 200
# Sizes below twice this have a bucket each; above, each octave has so many.
_STEPS: Final = 32
_FOLDER: Final = EntryKind.FOLDER.value
_KINDS: Final = {kind.name.lower() for kind in EntryKind}
# No size is over 63 bits.
_BUCKETS: Final = _STEPS * 64

# Minus the size, and the path.
_Ranked = tuple[int, bytes]


class TypeTotal(msgspec.Struct, frozen=True, array_like=True):
    """How many files of one type there are, and their size in bytes."""

    files: int = 0
    size: int = 0


class Stats(msgspec.Struct, forbid_unknown_fields=True):
    """Figures about files. *files* and *size* are without empty folders.

    *buckets* count files by size, as `_bucket` says. *largest* are (path, size), the largest first; paths are quoted
    as people read them. *tables* is None where there are too many to describe.
    """

    version: int = _VERSION
    files: int = 0
    size: int = 0
    kinds: dict[str, int] = {}
    types: dict[str, TypeTotal] = {}
    buckets: dict[int, int] = {}
    largest: list[tuple[str, int]] = []
    tables: dict[str, TableShape] | None = {}

    def to_json(self) -> JsonObject:
        """Return it as part of a commit's metadata."""
        found: JsonObject = msgspec.to_builtins(self)
        return found | {"buckets": {str(bucket): number for bucket, number in self.buckets.items()}}

    def quantile(self, part: float) -> int:
        """Return a size, in bytes and to 3 %, that *part* of the files do not exceed."""
        left = part * self.files
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return _lowest(bucket)
        return 0

    def octaves(self) -> Iterator[tuple[int, int]]:
        """Yield (power of two, files that are at least so large and less than twice that); 0 for empty ones."""
        counts: Counter[int] = Counter()
        for bucket, count in self.buckets.items():
            lowest = _lowest(bucket)
            counts[1 << lowest.bit_length() - 1 if lowest else 0] += count
        yield from sorted(counts.items())


def read_stats(value: Json) -> Stats | None:
    """Return the stats that *value* is; None if it is of another format, none at all, or contradicts itself."""
    try:
        found = msgspec.convert(value, Stats, str_keys=True)
    except (msgspec.ValidationError, RecursionError):
        return None
    return found if found.version == _VERSION and _is_sound(found) else None


def _is_sound(stats: Stats) -> bool:
    """Tell whether *stats*, which anybody may have written, are some that files can have."""
    files = stats.files
    kinds = stats.kinds.keys() <= _KINDS and sum(stats.kinds.values()) - stats.kinds.get("folder", 0) == files
    types = stats.types.values()
    totals = (sum(one.files for one in types), sum(one.size for one in types)) == (files, stats.size)
    names = all(name == type_of(f"x.{name}".encode()) for name in stats.types)
    buckets = all(0 <= bucket < _BUCKETS for bucket in stats.buckets) and sum(stats.buckets.values()) == files
    paths = [path for path, _ in stats.largest] + list(stats.tables or ())
    # They are shown to people.
    quoted = all(path == quote_path(unquote_path(path)) for path in paths)
    counts = (*stats.kinds.values(), *stats.buckets.values(), *(size for _, size in stats.largest))
    return (
        kinds
        and totals
        and names
        and buckets
        and quoted
        and len(stats.largest) <= _LARGEST
        and min(counts, default=0) >= 0
    )


def _bucket(size: int) -> int:
    shift = size.bit_length() - _STEPS.bit_length()
    return size if shift <= 0 else _STEPS * shift + (size >> shift)


def _lowest(bucket: int) -> int:
    shift = max(0, bucket // _STEPS - 1)
    return bucket - _STEPS * shift << shift


class _Count:
    """What adds up, and can be taken away again."""

    def __init__(self, start: Stats) -> None:
        self.files = start.files
        self.size = start.size
        self.kinds = Counter({EntryKind[name.upper()].value: number for name, number in start.kinds.items()})
        self.type_files = Counter({name: total.files for name, total in start.types.items()})
        self.type_sizes = Counter({name: total.size for name, total in start.types.items()})
        self.buckets = Counter(start.buckets)

    def add(self, entry: Entry, times: int) -> str:
        """Count *entry*, or with -1 take it away; return its type."""
        size = times * entry.size
        self.kinds[entry.kind] += times
        if entry.kind == _FOLDER:
            return ""
        self.files += times
        self.size += size
        kind = type_of(entry.path)
        self.type_files[kind] += times
        self.type_sizes[kind] += size
        self.buckets[_bucket(entry.size)] += times
        return kind

    @property
    def describes_tables(self) -> bool:
        """Whether there are few enough. Links count too: this has to add up."""
        return sum(self.type_files[kind] for kind in TABLE_TYPES) <= _MOST_TABLES

    def stats(self, largest: Iterable[_Ranked], tables: Mapping[str, TableShape] | None) -> Stats:
        """Return the stats, with what does not add up."""
        types = {name: TypeTotal(number, self.type_sizes[name]) for name, number in sorted(self.type_files.items())}
        return Stats(
            files=self.files,
            size=self.size,
            kinds={EntryKind(kind).name.lower(): number for kind, number in sorted(self.kinds.items()) if number},
            types={name: total for name, total in types.items() if total.files},
            buckets={bucket: number for bucket, number in sorted(self.buckets.items()) if number},
            largest=[(quote_path(path), -size) for size, path in largest],
            tables=None if tables is None else dict(sorted(tables.items())),
        )


def measure(objects: ObjectReader, entries: Iterable[Entry], *, tables: bool = True) -> Stats:
    """Return the stats of *entries*. With *tables* their content is read; no other is."""
    count = _Count(Stats())
    found: list[Entry] = []

    def counted() -> Iterator[Entry]:
        for entry in entries:
            if count.add(entry, 1) in TABLE_TYPES and entry.is_file and len(found) <= _MOST_TABLES:
                found.append(entry)
            yield entry

    largest = _largest(counted())
    return count.stats(largest, _shapes(objects, found) if tables and count.describes_tables else None)


def measure_change(objects: ObjectReader, old: Stats, changes: Iterable[Change], tree: Tree) -> Stats:
    """Return the stats of *tree*, which comes from one with the stats *old* by *changes*.

    Only tables that changed are read, and the rest of the tree only where some of the largest files have gone.
    """
    count = _Count(old)
    new: list[Entry] = []
    changed: set[str] = set()
    for change in changes:
        changed.add(quote_path(change.path))
        if change.old is not None:
            count.add(change.old, -1)
        if change.new is not None:
            count.add(change.new, 1)
            new.append(change.new)
    largest = _largest_after(old, changed, new)
    if largest is None:
        largest = _largest(tree.entries())
    if not count.describes_tables:
        return count.stats(largest, None)
    if old.tables is None:
        return count.stats(largest, _shapes(objects, filter(_is_table, tree.entries())))
    kept = {path: shape for path, shape in old.tables.items() if path not in changed}
    return count.stats(largest, kept | _shapes(objects, filter(_is_table, new)))


def _is_table(entry: Entry) -> bool:
    return entry.is_file and type_of(entry.path) in TABLE_TYPES


def _shapes(objects: ObjectReader, entries: Iterable[Entry]) -> dict[str, TableShape]:
    found = ((entry.path, table_shape(objects, entry)) for entry in entries)
    return {quote_path(path): shape for path, shape in found if shape is not None}


def _largest(entries: Iterable[Entry]) -> list[_Ranked]:
    """Return the largest files, and of equal ones those whose paths come first."""
    return nsmallest(_LARGEST, ((-entry.size, entry.path) for entry in entries if entry.kind != _FOLDER))


def _largest_after(old: Stats, changed: set[str], new: Iterable[Entry]) -> list[_Ranked] | None:
    """Return the largest files after a change, None if what is known does not tell."""
    before = [(-size, unquote_path(path)) for path, size in old.largest]
    kept = [item for item, (path, _) in zip(before, old.largest, strict=True) if path not in changed]
    found = nsmallest(_LARGEST, chain(kept, _largest(new)))
    if old.files <= len(before):
        # All there were are known.
        return found
    # Whatever is not known comes behind the last that was.
    return found if len(found) == _LARGEST and found[-1] <= before[-1] else None
