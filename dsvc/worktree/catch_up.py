"""Letting a stat cache that stands for one tree stand for another, without looking at a file."""

from collections.abc import Iterable, Iterator

import msgspec

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.diff import diff_trees
from dsvc.history.tree import Tree
from dsvc.model.ids import ID_LENGTH
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader
from dsvc.worktree.sparse_set import EVERYTHING, SparseSet
from dsvc.worktree.stat_cache import StatCache, pack_row

__all__ = ["catch_up"]


def catch_up(
    cache: StatCache, objects: ObjectReader, tree: Tree, folder: bytes = b"", *, sparse: SparseSet = EVERYTHING
) -> None:
    """Let the rows of *cache* be the entries below *folder* of *tree*, called by their paths from there.

    Without a *folder*, they may be those of a *sparse* worktree.

    Where an entry is the same as in the tree that they stood for, what is known of its file stays known.

    Raises:
        StorageError: It cannot be written.
    """
    wanted = tree.root + sparse.mark
    if cache.root != wanted and not _follow(cache, objects, tree, folder, sparse):
        entries = sparse.entries(tree) if sparse else tree.entries(folder)
        cache.rebuild(wanted, _below(entries, folder))


def _follow(cache: StatCache, objects: ObjectReader, tree: Tree, folder: bytes, sparse: SparseSet) -> bool:
    """Apply what changed since the tree that is known; tell whether there is one, and all could be read and written."""
    known = cache.root
    if known is None or known[ID_LENGTH:] != sparse.mark:
        return False
    try:
        old = Tree(objects, known[:ID_LENGTH])
        changes = list(sparse.changes(old, tree) if sparse else diff_trees(old, tree, folder))
    except (CorruptionError, NotFoundError):
        return False
    rows = [pack_row(entry, b"") for entry in _below((change.new for change in changes if change.new), folder)]
    removed = _below((change.old for change in changes if change.old and not change.new), folder)
    cache.replace(known, tree.root + sparse.mark, rows, [entry.path for entry in removed])
    # Another process may have been faster. A second failure is told.
    return cache.root == tree.root + sparse.mark


def _below(entries: Iterable[Entry], folder: bytes) -> Iterator[Entry]:
    """Yield those of *entries* that are below *folder*, called by their paths from there."""
    if not folder:
        yield from entries
        return
    for entry in entries:
        if entry.path != folder:
            yield msgspec.structs.replace(entry, path=entry.path[len(folder) + 1 :])
