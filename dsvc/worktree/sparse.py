"""Making a worktree sparse: files go that are outside of some paths, and come back.

What comes is written first, then the set changes, and what goes, goes last: whenever this is cut short, all that is
inside is there, and what is left over outside is told of and harms nobody.
"""

import os
from collections.abc import Iterable, Mapping

import msgspec

from dsvc.history.diff import Change
from dsvc.history.tree import Tree
from dsvc.model.paths import key_path, path_key
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.bring import bring_content
from dsvc.worktree.checkout import materialise
from dsvc.worktree.losses import begins, look, refuse_losses
from dsvc.worktree.scan import Found, scan
from dsvc.worktree.session import SessionChangedError, refuse_interrupted
from dsvc.worktree.snapshot_lock import Holder, hold
from dsvc.worktree.sparse_set import EVERYTHING, SparseSet, sparse_set, write_sparse_set
from dsvc.worktree.status import staged_cache
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["Resized", "set_sparse"]


class Resized(msgspec.Struct, frozen=True):
    """How many files came, and how many went."""

    written: int
    removed: int


def set_sparse(
    worktree: Worktree,
    paths: Iterable[bytes],
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Resized:
    """Let *worktree* have files at and below *paths* only, or without any have all; data comes for those that come.

    What is staged stays so. Files that are not tracked stay where they are.

    Raises:
        LocalChangesError: A file that would go was edited, or something else is where one would come; nothing changed.
        SwitchInterruptedError: A checkout was cut short.
        SessionChangedError: Another process staged or switched meanwhile; the worktree has what it had.
        BusyError: Another process does the same.
        InvalidPathError: A path can be in no version.
        OutOfReachError: Data cannot be had.
    """
    named = list(paths)
    wanted = sparse_set(named) if named else EVERYTHING
    holder = Holder(os.uname().nodename, os.getpid(), worktree.store.context.now()[0])
    # Another one would take away what this one brings.
    with hold(worktree.control / "sparse.lock", holder, what="change of the sparse set"):
        worktree.check_sparse_set()
        return _change(worktree, wanted, workers, progress)


def _change(worktree: Worktree, wanted: SparseSet, workers: Workers, progress: Progress) -> Resized:
    before, state = worktree.sparse, worktree.store.state()
    session = worktree.session(state)
    refuse_interrupted(session)
    staged = worktree.staged_tree(state)
    cache = staged_cache(worktree, state)
    coming = [Change(None, entry) for entry in wanted.entries(staged) if not before.covers(entry.path)]
    leaving = _leaving(worktree, staged, wanted)
    moves = sorted([*coming, *leaving], key=lambda move: path_key(move.path))
    found = look(worktree, [move.path for move in moves])
    refuse_losses(worktree, cache, [move for move in moves if not _is_begun(worktree, move, found)], found)
    bring_content(worktree, [move.new for move in coming if move.new is not None], progress)
    rows, _ = materialise(worktree, coming, found, workers=workers, progress=progress)
    forgotten = [path for path in (key_path(row[0]) for row in cache.rows()) if not wanted.covers(path)]
    write_sparse_set(worktree.control, wanted)
    now = worktree.store.state()
    if worktree.session(now) != session or worktree.staged_tree(now).root != staged.root:
        # A switch that began meanwhile has looked at the old set; one that begins now finds this one.
        write_sparse_set(worktree.control, before)
        raise SessionChangedError
    materialise(worktree, leaving, found, workers=workers, progress=progress)
    worktree.follow_sparse_set(staged, rows, forgotten)
    return Resized(len(coming), len(leaving))


def _is_begun(worktree: Worktree, move: Change, found: Mapping[bytes, Found]) -> bool:
    """Tell whether what is at the path is what an interruption leaves of a file that comes."""
    present = found.get(move.path)
    return move.new is not None and present is not None and begins(worktree, move.new, present)


def _leaving(worktree: Worktree, staged: Tree, wanted: SparseSet) -> list[Change]:
    """Return how tracked files go that are there and not in *wanted*; also those that an interruption has left."""
    if not wanted:
        return []
    outside = [path for path, *_ in scan(worktree.root_bytes, everything=True) if not wanted.covers(path)]
    return [Change(entry, None) for entry in staged.get_many(outside) if entry is not None]
