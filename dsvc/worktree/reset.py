"""Resetting: the current branch goes to another commit, and what is staged and the files may follow."""

from collections.abc import Callable, Sequence
from enum import Enum

from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.commit import HeadMovedError
from dsvc.worktree.metadata import staged_as, staged_meta, version_meta
from dsvc.worktree.session import Session, SessionChangedError, refuse_interrupted, refuse_unfinished
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["ResetMode", "reset"]


class ResetMode(Enum):
    """How far a reset goes: HEAD alone, what is staged too, or the files as well."""

    SOFT = "soft"
    MIXED = "mixed"
    HARD = "hard"


def reset(
    worktree: Worktree,
    state: State,
    target: ObjectId | None,
    mode: ResetMode,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Move the current branch, or a detached HEAD, to *target*; None is the state before the first commit.

    ResetMode.HARD throws away edits of tracked files. What is not tracked stays.

    Raises:
        UnfinishedError: ResetMode.SOFT, in the middle of a merge or the like.
        SwitchInterruptedError: A checkout was cut short.
        HeadMovedError, SessionChangedError: Another process changed that since *state*.
    """
    session = worktree.session(state)
    refuse_interrupted(session)
    tree = Tree(worktree.store.objects, None if target is None else ObjectId(worktree.commit_of(target).tree))
    moved = _branch_mover(worktree, state, session, target)
    head = session.head if session.branch is not None or target is None else target.hex()
    if mode is ResetMode.HARD:
        switch_to(worktree, head, tree, force=True, changes=moved, workers=workers, progress=progress)
        return
    staged, metadata = None, ""
    if mode is ResetMode.SOFT:
        refuse_unfinished(session)
        if (root := worktree.staged_tree(state).root) != tree.root:
            staged = root.hex()
        metadata = staged_as(version_meta(worktree, target), staged_meta(worktree, state))

    def build(now: State) -> Sequence[RefChange]:
        if worktree.session(now) != session:
            raise SessionChangedError
        fields: dict[str, object] = {
            "head": head,
            "staged": staged,
            "merge": [],
            "metadata": metadata,
            "unfinished": None,
        }
        return [*moved(now), session.change(now, **fields)]

    worktree.store.publish(build)


def _branch_mover(
    worktree: Worktree, state: State, session: Session, target: ObjectId | None
) -> Callable[[State], list[RefChange]]:
    head = session.commit(state)

    def moved(now: State) -> list[RefChange]:
        current = worktree.session(now)
        if current.head != session.head or current.commit(now) != head:
            raise HeadMovedError(session.head)
        if session.branch is None or target is None or target == head:
            return []
        return [RefChange(session.branch, None if head is None else head.hex(), target.hex())]

    return moved
