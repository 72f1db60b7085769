"""Restoring: files, the staged tree, or both, are at some paths again what a tree says."""

from collections.abc import Iterable, Sequence

import msgspec

from dsvc.history.diff import Change, diff_trees
from dsvc.history.merge import Side
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.paths import path_key
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.add import PathspecError
from dsvc.worktree.bring import bring_content
from dsvc.worktree.checkout import materialise
from dsvc.worktree.compare import differences
from dsvc.worktree.losses import LocalChangesError, files_in_the_way, look
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found
from dsvc.worktree.stage import Edit, stage
from dsvc.worktree.stat_cache import pack_row
from dsvc.worktree.status import staged_cache
from dsvc.worktree.unmerged import read_unmerged, refuse_unmerged, side_entries
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["Restored", "restore", "take_side"]


class Restored(msgspec.Struct, frozen=True):
    """How many files were written or removed, and how many entries of the staged tree changed."""

    files: int = 0
    staged: int = 0


def restore(
    worktree: Worktree,
    state: State,
    source: Tree,
    pathspec: Pathspec,
    *,
    staged: bool = False,
    files: bool = True,
    overlay: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Restored:
    """Let the *staged* tree, the *files*, or both, be as in *source* at *pathspec*.

    What is tracked there and is not in *source* goes, unless it is an *overlay*. Edits to the
    files are overwritten; files that are not tracked are not.

    Raises:
        PathspecError: A word matches nothing, staged or in *source*.
        OutsideSparseError: Files are named that a sparse worktree leaves out.
        UnmergedPathsError: A path is in conflict, and should be as it is staged, which is not decided.
        LocalChangesError: A file that is not tracked is where a folder must be, or the other way round.
        PathConflictError: A path would be staged below a file.
    """
    index = worktree.staged_tree(state)
    _check_words(index, source, pathspec)
    if not staged and source.root == index.root:
        refuse_unmerged(worktree.store.objects, worktree.session(state), pathspec)
    changes = [
        change
        for folder in pathspec.folders
        for change in diff_trees(index, source, folder)
        if pathspec.matches(change.path) and not (overlay and change.new is None)
    ]
    moves: list[Change] = []
    found: dict[bytes, Found] = {}
    if files:
        worktree.sparse.refuse_outside(pathspec.named)
        inside = [change for change in changes if worktree.sparse.covers(change.path)]
        moves, found = _plan(worktree, state, pathspec, inside)
        in_the_way = files_in_the_way(worktree, moves, found)
        if in_the_way:
            raise LocalChangesError(sorted(in_the_way))
        bring_content(worktree, [move.new for move in moves if move.new is not None], progress)
    if staged:
        # Before the files: it may be refused, and then nothing was changed.
        _stage(worktree, state, changes, pathspec)
    if files:
        written, _ = materialise(worktree, moves, found, workers=workers, progress=progress)
        # Rows of what is not staged match none in the cache, and are passed over.
        worktree.stat_cache.refresh(written)
    return Restored(len(moves), len(changes) if staged else 0)


def take_side(
    worktree: Worktree,
    state: State,
    pathspec: Pathspec,
    side: Side,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Restored:
    """Let the files at those paths of *pathspec* that are in conflict be what one *side* has; they stay in conflict.

    What no file holds, a link and what is said of a file, is staged.

    Raises:
        PathspecError: A word matches nothing that is in conflict.
        NoSideError: That side has nothing at one of the paths; nothing was changed.
        OutsideSparseError: A sparse worktree leaves one of them out.
        LocalChangesError: A file that is not tracked is where a folder must be, or the other way round.
    """
    entries = side_entries(worktree.store.objects, worktree.session(state), pathspec, side)
    paths = [entry.path for entry in entries]
    worktree.sparse.refuse_outside(paths)
    for word in pathspec.unmatched(paths):
        raise PathspecError(word, "paths in conflict")
    moves = [Change(entry, entry) for entry in entries]
    found = look(worktree, paths)
    in_the_way = files_in_the_way(worktree, moves, found)
    if in_the_way:
        raise LocalChangesError(sorted(in_the_way))
    bring_content(worktree, entries, progress)
    staged = worktree.staged_tree(state).get_many(paths)
    pairs = zip(entries, staged, strict=True)
    told = [new for new, old in pairs if new.extension != (None if old is None else old.extension)]
    edits: list[Edit] = [(entry.path, entry) for entry in told]
    stage(worktree, worktree.store.writer(), edits, [pack_row(entry, b"") for entry in told], decides=False)
    written, _ = materialise(worktree, moves, found, workers=workers, progress=progress)
    worktree.stat_cache.refresh(written)
    return Restored(len(entries))


def _check_words(index: Tree, source: Tree, pathspec: Pathspec) -> None:
    if pathspec.patterns:
        paths = [entry.path for tree in (index, source) for entry in tree.entries()]
        missing = pathspec.unmatched(paths)
    else:
        missing = [
            word
            for word in pathspec.words
            if next(index.entries(word), None) is None and next(source.entries(word), None) is None
        ]
    for word in missing:
        if word:
            raise PathspecError(word, "tracked files")


def _plan(
    worktree: Worktree, state: State, pathspec: Pathspec, changes: Iterable[Change]
) -> tuple[list[Change], dict[bytes, Found]]:
    """Return what is to be done to files, in the order of the keys, and what is there now."""
    moves = {change.path: change for change in changes}
    for difference in differences(worktree.root_bytes, staged_cache(worktree, state), pathspec):
        if difference.staged is not None and difference.path not in moves:
            moves[difference.path] = Change(difference.staged, difference.staged)
    # A file that is gone may have a folder in its place, so each path is looked at.
    found = look(worktree, list(moves))
    return sorted(moves.values(), key=lambda move: path_key(move.path)), found


def _stage(worktree: Worktree, state: State, changes: Sequence[Change], pathspec: Pathspec) -> None:
    unmerged = read_unmerged(worktree.store.objects, worktree.session(state), pathspec)
    rows = [pack_row(change.new, b"") for change in changes if change.new is not None]
    edits = [(change.path, change.new) for change in changes]
    stage(worktree, worktree.store.writer(), edits, rows, decided=[one.path for one in unmerged])
