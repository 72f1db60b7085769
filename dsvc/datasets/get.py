"""Getting a version: a read-only tree of links in the user's cache, whole, verified, and there until nobody needs it.

    with get(Means(cache, source), wanted) as got:
        train(got.path)

What is asked for again is found, and nothing is read but what its folders look like. A tree appears in one step, when
all of it is there: a get that fails leaves none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.datasets.means import Means
from dsvc.datasets.selection import Selection
from dsvc.datasets.source import Source, UnknownOfflineError, Version
from dsvc.datasets.tree_record import (
    TreeRecord,
    inspect,
    read_manifest,
    read_record,
)
from dsvc.datasets.user_cache import UserCache
from dsvc.errors import InvalidInputError
from dsvc.history.revisions import UnknownRevisionError
from dsvc.model.tree import Entry

__all__ = ["Changed", "Got", "Wanted", "entries_of", "find_wanted", "get", "parse_changed"]

# The stats of so many files are looked at each time: that takes 40 ms.
_ALWAYS: Final = 10_000
# Those of more, once a day; in nanoseconds.
_SELDOM: Final = 24 * 3600 * 1_000_000_000


class Changed(msgspec.Struct, frozen=True):
    """What `A..B` says: what was added or modified from *old* to *new*, None where the version is said elsewhere."""

    old: str
    new: str | None


def parse_changed(text: str) -> Changed:
    """Read `A..B` or `A..`.

    Raises:
        InvalidInputError: It is something else.
    """
    old, dots, new = text.partition("..")
    if not dots or not old or new.startswith("."):
        message = f"`{text}` is no range: write A..B, or A.. for what changed since A"
        raise InvalidInputError(message)
    return Changed(old, new or None)


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for: a *selection* of a *version*, as *name*."""

    name: str
    version: Version
    selection: Selection = Selection()

    @property
    def tree_id(self) -> str:
        """What the tree is called in a cache."""
        return self.selection.id(self.version.tree)


class Got(msgspec.Struct, frozen=True):
    """A tree at *path*, and its *record*; *was_there* if nothing had to be made. *lease* holds it, see `UserCache`."""

    path: Path
    tree_id: str
    record: TreeRecord
    was_there: bool
    lease: int | None


def find_wanted(source: Source, name: str, selection: Selection, changed: Changed | None = None) -> Wanted:
    """Return what *name* is in *source*; of a range of *changed* files, its sides are versions of that dataset first.

    Raises:
        UnknownRevisionError: There is no such version.
        InvalidInputError: *name* and *changed* say two different versions.
    """
    if changed is None:
        return Wanted(source.prefix + name, source.resolve(name), selection)
    dataset, at, _ = name.rpartition("@")
    dataset = dataset or name
    if changed.new is None:
        version = source.resolve(name)
    else:
        version = _of_dataset(source, dataset, changed.new)
        if at and source.resolve(name).commit != version.commit:
            message = f"`{name}` and `{changed.new}` are two different versions: which of them is meant?"
            raise InvalidInputError(message)
    base = _of_dataset(source, dataset, changed.old).tree
    return Wanted(source.prefix + version.name, version, msgspec.structs.replace(selection, base=base))


def _of_dataset(source: Source, dataset: str, version: str) -> Version:
    with suppress(UnknownRevisionError, UnknownOfflineError):
        return source.resolve(f"{dataset}@{version}")
    return source.resolve(version)


@contextmanager
def get(means: Means, wanted: Wanted, *, verify: bool = False) -> Iterator[Got]:
    """Let what is *wanted* be in the cache; for the block, nobody evicts it. With *verify*, what is there is hashed.

    Raises:
        PathsNotFoundError: A path that is wanted is not in the version.
        LinkNotAllowedError, LinkGoneError, LinkChangedError: The content of a link cannot be had; there is no tree.
        SymlinkOutsideError: A symlink leads out of the version, and none is wanted that does; there is no tree.
        OutOfReachError, RemoteDamagedError: Some of it cannot be had; there is no tree.
        StorageError: The system refuses; there is no tree.
    """
    cache, tree_id = means.cache, wanted.tree_id
    with cache.lease(tree_id, wanted.name) as lease:
        record = _find(cache, tree_id, verify=verify)
        was_there = record is not None
        if record is None:
            with cache.only_one(tree_id):
                # Somebody else may have made it while we waited.
                record = None if verify else _find(cache, tree_id, verify=False)
                was_there = record is not None
                if record is None:
                    # What makes trees takes as long to load as all else here together.
                    from dsvc.datasets.make_tree import make_tree

                    known, root = entries_of(means, wanted), wanted.version.tree
                    record = make_tree(means, tree_id, root, known, selection=wanted.selection, verify=verify)
        yield Got(cache.tree(tree_id), tree_id, record, was_there, lease)


def entries_of(means: Means, wanted: Wanted) -> list[Entry]:
    """Return the entries that are *wanted*, from the store only where the cache does not know them."""
    known = read_manifest(means.cache, wanted.tree_id)
    if known is not None:
        return known
    root = wanted.version.tree
    return wanted.selection.entries(means.source.objects(root), root, f"`{wanted.name}`")


def _find(cache: UserCache, tree_id: str, *, verify: bool) -> TreeRecord | None:
    """Return the record of the tree *tree_id* if it is there, whole, and looks as it did."""
    record = read_record(cache, tree_id)
    tree = os.fsencode(cache.tree(tree_id))
    if record is None or not record.holds(tree):
        return None
    if not verify and record.files > _ALWAYS and not _is_due(cache, tree_id):
        return record
    entries = read_manifest(cache, tree_id)
    # Its folders are as they were, so nothing came or went.
    if entries is None or inspect(tree, entries, names=False) or (verify and inspect(tree, entries, content=True)):
        return None
    with suppress(OSError):
        os.utime(cache.root / "records" / tree_id)
    return record


def _is_due(cache: UserCache, tree_id: str) -> bool:
    """Tell whether it is long ago that all of the tree was looked at."""
    with suppress(OSError):
        return cache.clock() - (cache.root / "records" / tree_id).stat().st_mtime_ns > _SELDOM
    return False
