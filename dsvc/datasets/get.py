"""Getting a version: a read-only tree of links in the user's cache, whole, verified, and there until nobody needs it.

    with get(Means(cache, source), wanted) as got:
        train(got.path)

What is asked for again is found, and nothing is read but what its folders look like. A tree appears in one step, when
all of it is there: a get that fails leaves none.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.datasets.assemble import Assembler, clear, move_in
from dsvc.datasets.fetch_links import with_links
from dsvc.datasets.means import Means
from dsvc.datasets.selection import Selection
from dsvc.datasets.source import Source, UnknownOfflineError, Version
from dsvc.datasets.tree_record import (
    Damage,
    TreeRecord,
    folders_of,
    inspect,
    read_manifest,
    read_record,
    write_manifest,
    write_record,
)
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.errors import InvalidInputError
from dsvc.history.revisions import UnknownRevisionError
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error, sync_filesystem, sync_folder
from dsvc.worktree.folders import Folders

__all__ = ["Changed", "Got", "Wanted", "entries_of", "find_wanted", "get", "parse_changed"]

# The stats of so many files are looked at each time: that takes 40 ms.
_ALWAYS: Final = 10_000
# Those of more, once a day; in nanoseconds.
_SELDOM: Final = 24 * 3600 * 1_000_000_000
_READ_ONLY_FOLDER: Final = 0o555


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
                    with with_links(means, wanted.version.tree, entries_of(means, wanted)) as entries:
                        record = _make(means, wanted, entries, verify=verify)
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


def _make(means: Means, wanted: Wanted, entries: Sequence[Entry], *, verify: bool) -> TreeRecord:
    """Make or repair the tree that is *wanted*, which nobody else does meanwhile."""
    cache = means.cache
    cache.tidy()
    tree_id = wanted.tree_id
    tree = cache.tree(tree_id)
    cache.values.delete(f"records/{tree_id}")
    write_manifest(cache, tree_id, entries)
    assembler = Assembler(means, tree_id)
    if tree.exists():
        own = _repair(cache, tree, entries, assembler, verify=verify)
    else:
        own = _build(cache, tree, entries, assembler)
    # What the record says has to be true after a power cut, too.
    try:
        _seal_folders(cache, tree, entries)
        sync_filesystem(cache.root)
    except OSError as error:
        raise storage_error(error, f"write {tree}") from error
    return write_record(cache, tree_id, wanted.version.tree, entries, own=own, selection=wanted.selection.describe())


def _build(cache: UserCache, tree: Path, entries: Sequence[Entry], assembler: Assembler) -> int:
    """Make *tree* of *entries*, each of which is hashed on the way."""
    made = cache.temporary()
    try:
        made.mkdir()
        own = assembler.put(entries, made, linked=True)
        made.rename(tree)
        sync_folder(tree.parent)
    except OSError as error:
        raise storage_error(error, f"make {tree}") from error
    finally:
        remove_folder(made)
    return own


def _repair(cache: UserCache, tree: Path, entries: Sequence[Entry], assembler: Assembler, *, verify: bool) -> int:
    """Let *tree*, which is there and may be in use, be right again; what is right in it stays as it is."""
    root = os.fsencode(tree)
    damage = inspect(root, entries)
    if verify:
        _distrust(cache, root, entries, damage)
    _open_folders(root)
    broken = [*damage.missing, *damage.wrong]
    made = cache.temporary()
    try:
        made.mkdir()
        own = assembler.put(broken, made, linked=True)
        clear(root, damage)
        # An empty folder may have gone with what was in it.
        folders = [entry for entry in entries if entry.kind == EntryKind.FOLDER]
        move_in(os.fsencode(made), root, [*broken, *folders])
    except OSError as error:
        raise storage_error(error, f"repair {tree}") from error
    finally:
        remove_folder(made)
    return own


def _distrust(cache: UserCache, root: bytes, entries: Sequence[Entry], damage: Damage) -> None:
    """Add to *damage* what only its content shows, and let nobody take the same file from the cache."""
    known = {entry.path for entry in (*damage.missing, *damage.wrong)}
    some = [entry for entry in entries if entry.path not in known]
    for entry in inspect(root, some, content=True, names=False).wrong:
        damage.wrong.append(entry)
        cache.discard_file(entry)


def _open_folders(root: bytes) -> None:
    with Folders(root) as folders:
        inside = [b""]
        for above in inside:
            descriptor = folders.open(above)
            os.fchmod(descriptor, os.fstat(descriptor).st_mode | 0o700)
            with os.scandir(descriptor) as found:
                names = [os.fsencode(item.name) for item in found if item.is_dir(follow_symlinks=False)]
            inside += [above + b"/" + name if above else name for name in names]


def _seal_folders(cache: UserCache, tree: Path, entries: Sequence[Entry]) -> None:
    """Let nothing be added to the folders of *tree*, unless other members of a group are to be able to evict it."""
    if cache.shared:
        return
    with Folders(os.fsencode(tree)) as folders:
        for path in folders_of(entries):
            descriptor = folders.open(path)
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & _READ_ONLY_FOLDER)
