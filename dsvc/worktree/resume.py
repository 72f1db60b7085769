"""Finishing a checkout that was cut short, or going back to before it."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from dsvc.history.diff import Change
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.model.paths import path_key
from dsvc.model.tree import EntryKind
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.bring import bring_content
from dsvc.worktree.checkout import materialise
from dsvc.worktree.losses import LocalChangesError, begins, files_in_the_way, holds, look
from dsvc.worktree.scan import Found
from dsvc.worktree.session import Session, Switch
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["resume"]


def resume(
    worktree: Worktree,
    *,
    back: bool = False,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Session | None:
    """Finish a checkout that was cut short, or with *back* undo it; return the session then, None if there was none.

    Raises:
        LocalChangesError: Files were edited since, and *force* does not give them up.
    """
    store = worktree.store
    session = worktree.session(store.state())
    journal = session.switching
    if journal is None:
        return None
    trees = [Tree(store.objects, ObjectId.from_hex(root)) for root in (journal.from_tree, journal.to_tree)]
    source, wanted = reversed(trees) if back else trees
    moves = list(worktree.sparse.changes(source, wanted))
    found = look(worktree, [move.path for move in moves])
    moves = [move for move in moves if not _is_done(worktree, move, found.get(move.path))]
    if not force:
        _refuse_losses(worktree, moves, found)
    bring_content(worktree, [move.new for move in moves if move.new is not None], progress)
    materialise(worktree, moves, found, force=force, workers=workers, progress=progress)
    store.publish(_back(worktree, wanted) if back else _forth(worktree, wanted, journal))
    worktree.sync_cache(wanted)
    return worktree.session(store.state())


def _is_done(worktree: Worktree, move: Change, found: Found | None) -> bool:
    # What goes, goes again: a folder that was made for it may still be there. And the empty
    # folder that there is may be pruned yet, when the last file in it goes.
    if move.new is None or found is None or found.kind == EntryKind.FOLDER:
        return False
    return holds(worktree, move.new, found)


def _refuse_losses(worktree: Worktree, moves: Sequence[Change], found: Mapping[bytes, Found]) -> None:
    lost = {
        move.path
        for move in moves
        if (present := found.get(move.path)) is not None
        and present.kind != EntryKind.FOLDER
        and not any(
            holds(worktree, entry, present) or begins(worktree, entry, present) for entry in move if entry is not None
        )
    }
    lost.update(files_in_the_way(worktree, moves, found))
    if lost:
        raise LocalChangesError(sorted(lost, key=path_key))


Build = Callable[[State], list[RefChange] | None]


def _forth(worktree: Worktree, wanted: Tree, journal: Switch) -> Build:
    def build(state: State) -> list[RefChange] | None:
        session = worktree.session(state)
        if session.switching != journal:
            return None
        changes = [RefChange(*change) for change in journal.changes]
        moved = {change.ref: change.new for change in changes}
        head = Session(journal.to_head)
        commit_id = head.commit(state)
        if head.branch in moved:
            value = moved[head.branch]
            commit_id = None if value is None else ObjectId.from_hex(value)
        staged = _staged(worktree, wanted, commit_id)
        final = msgspec.structs.replace(
            session,
            head=journal.to_head,
            merge=journal.to_merge,
            staged=staged,
            switching=None,
            unfinished=journal.to_unfinished,
        )
        return [*changes, final.change(state)]

    return build


def _back(worktree: Worktree, wanted: Tree) -> Build:
    def build(state: State) -> list[RefChange] | None:
        session = worktree.session(state)
        if session.switching is None:
            return None
        staged = _staged(worktree, wanted, session.commit(state))
        return [msgspec.structs.replace(session, staged=staged, switching=None).change(state)]

    return build


def _staged(worktree: Worktree, wanted: Tree, commit_id: ObjectId | None) -> str | None:
    """Return what the session says of *wanted*, where HEAD is *commit_id*."""
    head_tree = Tree(worktree.store.objects, None if commit_id is None else worktree.commit_of(commit_id).tree)
    return wanted.root.hex() if wanted.root != head_tree.root else None
