"""Snapshots: everything that changed is staged and committed in one go, for runs that nobody watches."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from dsvc.errors import ConflictError
from dsvc.history.diff import ChangeKind, count_changes, diff_trees
from dsvc.log.refs import short_name
from dsvc.log.state import State
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.add import What, add, select
from dsvc.worktree.add import preview as preview_add
from dsvc.worktree.commit import Committed, HeadMovedError, NothingToCommitError, commit
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import DetachedHeadError, Session, refuse_unfinished
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["BranchSwitchedError", "Snapshot", "preview", "snapshot", "snapshot_branch"]

_ATTEMPTS: Final = 10


class BranchSwitchedError(ConflictError):
    """Somebody went to another branch while the snapshot was taken."""

    def __init__(self, branch: str) -> None:
        super().__init__(f"somebody left {short_name(branch)} while the snapshot was taken")
        self.branch = branch


class Snapshot(msgspec.Struct, frozen=True):
    """What a snapshot did: *made* is its commit, None if nothing had changed.

    *counts* says how many paths changed in which way since the commit before, *size* is that of what is new in
    them, and *left_out* counts the sockets, pipes and devices that were passed over, *outside* the
    files that a sparse worktree should leave out.
    """

    made: Committed | None
    counts: Counter[ChangeKind]
    size: int
    left_out: int
    outside: int


def snapshot_branch(session: Session) -> str:
    """Return the branch that a snapshot would be committed to.

    Raises:
        SwitchInterruptedError: A checkout was cut short.
        UnfinishedError: A merge was begun.
        DetachedHeadError: There is no current branch.
    """
    refuse_unfinished(session)
    if session.branch is None:
        raise DetachedHeadError
    return session.branch


def snapshot(
    worktree: Worktree,
    branch: str,
    message: Callable[[Counter[ChangeKind]], str],
    *,
    folder: bytes = b"",
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Snapshot:
    """Stage everything that changed in *folder*, and if that is anything, commit it to *branch*, the current one.

    The *message* is made of the counts. Others may add and commit meanwhile: what they have staged is committed too,
    and what they have committed is not again.

    Raises:
        SwitchInterruptedError, UnfinishedError, DetachedHeadError: As in `snapshot_branch`.
        FileChangingError, StorageError: A file could not be read; nothing was staged.
        BranchSwitchedError: Somebody went to another branch; what changed is staged at most.
        HeadMovedError: Others stage and commit all the time.
    """
    state = worktree.store.state()
    _check_branch(worktree, state, branch)
    pathspec = _pathspec(folder)
    added = add(worktree, state, What(pathspec), workers=workers, progress=progress)
    moved = HeadMovedError(branch)
    for _ in range(_ATTEMPTS):
        state = worktree.store.state()
        _check_branch(worktree, state, branch)
        counts, size = count_changes(worktree.head_tree(state), worktree.staged_tree(state), folder)
        made = None
        try:
            made = commit(worktree, state, message(counts), only=pathspec or None)
        except NothingToCommitError:
            counts, size = Counter(), 0
        except HeadMovedError as error:
            # Somebody staged or committed something just now.
            moved = error
            continue
        return Snapshot(made, counts, size, len(added.skipped), len(added.outside))
    raise moved


def _check_branch(worktree: Worktree, state: State, branch: str) -> None:
    if snapshot_branch(worktree.session(state)) != branch:
        raise BranchSwitchedError(branch)


def _pathspec(folder: bytes) -> Pathspec:
    # Its name may look like a pattern.
    return Pathspec([folder] if folder else [], exists=lambda _: True)


def preview(worktree: Worktree, state: State, folder: bytes = b"") -> Counter[ChangeKind]:
    """Return how many paths a snapshot would find changed, and in which way; what was renamed is new and deleted.

    Raises:
        StorageError: A file cannot be read.
    """
    selection = select(worktree, state, What(_pathspec(folder)))
    changes = diff_trees(worktree.head_tree(state), worktree.staged_tree(state), folder)
    staged = {change.path: change for change in changes}
    kinds = {path: change.kind for path, change in staged.items()}
    for path, comes in preview_add(worktree.root_bytes, selection):
        change = staged.get(path)
        was_there = path in selection.staged or not comes if change is None else change.old is not None
        if was_there:
            kinds[path] = ChangeKind.MODIFIED if comes else ChangeKind.DELETED
        elif comes:
            kinds[path] = ChangeKind.ADDED
        else:
            del kinds[path]
    return Counter(kinds.values())
