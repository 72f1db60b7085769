"""Letting a stat cache that stands for one tree stand for another, without looking at a file."""

from collections.abc import Iterable, Iterator

import msgspec

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.diff import diff_trees
from dsvc.history.tree import Tree
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader
from dsvc.worktree.stat_cache import StatCache, pack_row

__all__ = ["catch_up"]


def catch_up(cache: StatCache, objects: ObjectReader, tree: Tree, folder: bytes = b"") -> None:
    """Let the rows of *cache* be the entries below *folder* of *tree*, called by their paths from there.

    Where an entry is the same as in the tree that they stood for, what is known of its file stays known.

    Raises:
        StorageError: It cannot be written.
    """
    known = cache.root
    if known == tree.root:
        return
    if known is not None and _follow(cache, objects, known, tree, folder):
        return
    cache.rebuild(tree.root, _below(tree.entries(folder), folder))


def _follow(cache: StatCache, objects: ObjectReader, known: bytes, tree: Tree, folder: bytes) -> bool:
    """Apply what changed since the tree *known*; tell whether the cache could be written and that tree read."""
    try:
        changes = list(diff_trees(Tree(objects, known), tree, folder))
    except (CorruptionError, NotFoundError):
        return False
    rows = [pack_row(entry, b"") for entry in _below((change.new for change in changes if change.new), folder)]
    removed = _below((change.old for change in changes if change.old and not change.new), folder)
    cache.replace(known, tree.root, rows, [entry.path for entry in removed])
    # Another process may have been faster. A second failure is told.
    return cache.root == tree.root


def _below(entries: Iterable[Entry], folder: bytes) -> Iterator[Entry]:
    """Yield those of *entries* that are below *folder*, called by their paths from there."""
    if not folder:
        yield from entries
        return
    for entry in entries:
        if entry.path != folder:
            yield msgspec.structs.replace(entry, path=entry.path[len(folder) + 1 :])
