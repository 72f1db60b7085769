"""Stats of whole versions: those that are kept with a commit or in a cache, or what follows from them.

The cache is `.dsvc/cache/stats`, a file for each tree. It may be deleted at any time.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from dsvc.history.diff import diff_trees
from dsvc.history.stats import Stats, measure, measure_change, read_stats
from dsvc.history.tree import Tree
from dsvc.model.canonical_json import decode_canonical
from dsvc.model.commit import Commit
from dsvc.storage.temporary import temporary_name
from dsvc.worktree.worktree import Worktree

__all__ = ["kept_stats", "measure_tree"]


def kept_stats(commit: Commit) -> Stats | None:
    """Return the stats that *commit* holds, None if it has none that can be its own."""
    stats = read_stats(decode_canonical(commit.metadata).get("stats"))
    return stats if stats is not None and (stats.files, stats.size) == (commit.files, commit.size) else None


def measure_tree(worktree: Worktree, tree: Tree, near: Iterable[Commit] = ()) -> Stats:
    """Return the stats of *tree*: those that are known, or else those of one of the versions *near* and what differs.

    Raises:
        OutOfReachError: The content of a table is promised, and cannot be had.
    """
    stats = _read(worktree, tree.root)
    if stats is not None:
        return stats
    objects = worktree.store.objects
    for root, known in _known(worktree, near):
        stats = measure_change(objects, known, diff_trees(Tree(objects, root), tree), tree)
        break
    else:
        stats = measure(objects, tree.entries())
    _write(worktree, tree.root, stats)
    return stats


def _known(worktree: Worktree, near: Iterable[Commit]) -> Iterator[tuple[bytes, Stats]]:
    for commit in near:
        known = kept_stats(commit) or _read(worktree, commit.tree)
        if known is not None:
            yield commit.tree, known


def _file(worktree: Worktree, root: bytes) -> Path:
    return worktree.control / "cache" / "stats" / f"{root.hex()}.json"


def _read(worktree: Worktree, root: bytes) -> Stats | None:
    try:
        return read_stats(msgspec.json.decode(_file(worktree, root).read_bytes()))
    except (OSError, msgspec.DecodeError):
        return None


def _write(worktree: Worktree, root: bytes, stats: Stats) -> None:
    file = _file(worktree, root)
    temporary = worktree.control / "tmp" / temporary_name()
    # A repository that cannot be written is measured anew each time.
    with suppress(OSError):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(stats.to_json()))
            os.rename(temporary, file)
