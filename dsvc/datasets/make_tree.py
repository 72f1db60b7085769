"""Making a tree of the user's cache, or making it right again.

A new one is made aside, and appears by one rename. Only when all of it is durable, it is recorded, and then found. One
that is there stays where it is, because somebody may use it: each file that is not right is replaced by itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dsvc.datasets.assemble import Assembler, clear, move_in
from dsvc.datasets.fetch_links import with_links
from dsvc.datasets.means import Means
from dsvc.datasets.selection import Selection
from dsvc.datasets.tree_record import Damage, TreeRecord, folders_of, inspect, write_manifest, write_record
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error, sync_filesystem, sync_folder
from dsvc.worktree.folders import Folders

__all__ = ["make_tree"]

_READ_ONLY_FOLDER: Final = 0o555


def make_tree(
    means: Means, tree_id: str, root: bytes, entries: Sequence[Entry], *, selection: Selection, verify: bool
) -> TreeRecord:
    """Make or repair the tree *tree_id*, a *selection* of the tree *root* with *entries*, alone of all processes.

    With *verify*, what is there already is hashed.

    Raises:
        LinkNotAllowedError, LinkGoneError, LinkChangedError: The content of a link cannot be had.
        SymlinkOutsideError: A symlink leads out of the version, and none is wanted that does.
        OutOfReachError, CorruptionError: Some of it cannot be had.
        StorageError: The system refuses.
    """
    with with_links(means, root, entries) as found:
        own = _make(means, tree_id, found, any_symlinks=selection.any_symlinks, verify=verify)
        return write_record(means.cache, tree_id, root, found, own=own, selection=selection.describe())


def _make(means: Means, tree_id: str, entries: Sequence[Entry], *, any_symlinks: bool, verify: bool) -> int:
    cache = means.cache
    cache.tidy()
    tree = cache.tree(tree_id)
    cache.values.delete(f"records/{tree_id}")
    write_manifest(cache, tree_id, entries)
    assembler = Assembler(means, tree_id, any_symlinks=any_symlinks)
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
    return own


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
