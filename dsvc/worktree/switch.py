"""Switching: HEAD goes to another branch or commit, and the files follow."""

import msgspec

from dsvc.history.branches import BranchNotFoundError, branch_change, rename_branch
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.refs import branch_ref
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.session import Session, SessionChangedError, refuse_interrupted, refuse_unfinished
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "Switched",
    "detach",
    "rename_current_or_other",
    "switch_to_branch",
    "switch_to_new_branch",
    "switch_to_orphan",
]


class Switched(msgspec.Struct, frozen=True):
    """HEAD before and after: a ref name or an id each, and the commits. *changed* counts paths."""

    old_head: str
    old_commit: ObjectId | None
    head: str
    commit: ObjectId | None
    changed: int


def switch_to_branch(
    worktree: Worktree,
    name: str,
    *,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Switched:
    """Go to the branch *name*; with *force*, give up local changes.

    Raises:
        BranchNotFoundError: It is not there.
        LocalChangesError: Something would be lost; nothing was changed.
        UnfinishedError: A merge, or the like, is not concluded, without *force*.
        SwitchInterruptedError: An earlier checkout was cut short.
    """
    ref, state = branch_ref(name), worktree.store.state()
    value = state.value(ref)
    session = worktree.session(state)
    if value is None and ref != session.head:
        raise BranchNotFoundError(ref)
    commit = None if value is None else ObjectId.from_hex(value)
    return _switch(worktree, state, ref, commit, None, force=force, workers=workers, progress=progress)


def switch_to_new_branch(
    worktree: Worktree,
    name: str,
    commit: ObjectId | None,
    *,
    reset: bool = False,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Switched:
    """Make the branch *name* at *commit* and go there, in one step; None is HEAD before the first commit.

    With *reset*, a branch that is there already is moved.

    Raises:
        BranchExistsError: It is there, without *reset*.
        InvalidRefNameError, and those of `switch_to_branch`.
    """
    ref, state = branch_ref(name), worktree.store.state()
    change = None if commit is None else branch_change(state, ref, commit, force=reset)
    return _switch(worktree, state, ref, commit, change, force=force, workers=workers, progress=progress)


def switch_to_orphan(
    worktree: Worktree,
    name: str,
    *,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Switched:
    """Go to the branch *name*, which has no commit yet, and so no files.

    Raises:
        BranchExistsError: It is there.
        InvalidRefNameError, and those of `switch_to_branch`.
    """
    ref, state = branch_ref(name), worktree.store.state()
    if ref in state.refs:
        branch_change(state, ref, ObjectId.from_hex(state.refs[ref].value))
    return _switch(worktree, state, ref, None, None, force=force, workers=workers, progress=progress)


def detach(
    worktree: Worktree,
    commit: ObjectId,
    *,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Switched:
    """Go to *commit*, on no branch.

    Raises:
        LocalChangesError, UnfinishedError, SwitchInterruptedError: As `switch_to_branch`.
    """
    state = worktree.store.state()
    return _switch(worktree, state, commit.hex(), commit, None, force=force, workers=workers, progress=progress)


def _switch(
    worktree: Worktree,
    state: State,
    head: str,
    commit: ObjectId | None,
    change: RefChange | None,
    *,
    force: bool,
    workers: Workers,
    progress: Progress,
) -> Switched:
    session = worktree.session(state)
    if force:
        refuse_interrupted(session)
    else:
        refuse_unfinished(session)
    before = session.commit(state)

    def changes(now: State) -> list[RefChange]:
        # The files are those of *commit*, so the branch must still be there.
        if change is None and Session(head).commit(now) != commit:
            raise SessionChangedError
        return [] if change is None else [change]

    target = Tree(worktree.store.objects, None if commit is None else worktree.commit_of(commit).tree)
    changed = switch_to(worktree, head, target, force=force, changes=changes, workers=workers, progress=progress)
    return Switched(session.head, before, head, commit, changed)


def rename_current_or_other(worktree: Worktree, source: str, name: str, *, force: bool = False) -> None:
    """Call the branch *source* *name* from now on; if it is the current one, HEAD follows in the same step.

    Raises:
        BranchNotFoundError: *source* is not there.
        BranchExistsError: *name* is, without *force*.
        CurrentBranchError: *name* is the current branch, and would move.
        InvalidRefNameError: No branch may be called so.
    """
    current = worktree.session(worktree.store.state()).branch

    def also(state: State) -> list[RefChange]:
        session = worktree.session(state)
        refuse_interrupted(session)
        if session.head != branch_ref(source):
            return []
        return [msgspec.structs.replace(session, head=branch_ref(name)).change(state)]

    rename_branch(worktree.store, source, name, force=force, current=current, also=also)
