"""Undoing what was done last, and doing it again: refs, what is staged, and files where a command moved them.

Which operation that is, `dsvc.history.undo` says. Its refs get the values that they had; files
follow where the operation took them along, by the rules of a switch.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from dsvc.errors import NotFoundError
from dsvc.history.tree import Tree
from dsvc.history.undo import Operation, next_redo, next_undo, redo_command, undo_command
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, TAGS, short_name
from dsvc.log.replay import PublishedTagError, RefMovedError
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.bring import bring_content
from dsvc.worktree.checkout import change_files, materialise
from dsvc.worktree.losses import LocalChangesError, files_in_the_way, is_expendable, look
from dsvc.worktree.session import SESSION_REF, Session, SessionChangedError, decode_session, refuse_interrupted
from dsvc.worktree.stat_cache import pack_row
from dsvc.worktree.status import staged_cache
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["CollectedError", "Undone", "redo", "undo"]

# They take files away without a journal: the files come back, unless something else is there.
_TAKES_FILES: Final = frozenset({"rm", "mv"})


class CollectedError(NotFoundError):
    """What a ref named is no longer stored."""

    def __init__(self, ref: str, object_id: bytes) -> None:
        super().__init__(f"{short_name(ref)} cannot be {object_id.hex()} again: that is no longer here")
        self.ref = ref
        self.object_id = object_id


class Undone(msgspec.Struct, frozen=True):
    """What was undone or done again, the refs that changed by it, and how many paths."""

    operation: Operation
    changes: list[RefChange]
    files: int


def undo(worktree: Worktree, *, workers: Workers = ALONE, progress: Progress = NO_PROGRESS) -> Undone:
    """Make everything as it was before the last operation that is not undone yet.

    Raises:
        NothingToUndoError: There is none.
        PublishedTagError: It published a tag, or made one that is published by now.
        RefMovedError: Somebody else has moved a ref since.
        CollectedError: What a ref named is no longer stored.
        LocalChangesError: Files would be lost; nothing was changed.
        SwitchInterruptedError: A checkout was cut short.
    """
    state = worktree.store.state()
    refuse_interrupted(worktree.session(state))
    step = next_undo(worktree.store.log)
    for tag in step.operation.published:
        raise PublishedTagError(tag)
    changes = [RefChange(one.ref, one.new, one.old) for one in step.operation.changes.values()]
    actor = _acting(worktree, undo_command(step.leads_to))
    return _apply(actor, state, step.operation, changes, workers=workers, progress=progress)


def redo(worktree: Worktree, *, workers: Workers = ALONE, progress: Progress = NO_PROGRESS) -> Undone:
    """Do again what was undone last, if nothing else was done since.

    Raises:
        NothingToRedoError: Nothing was undone, or something was done since.
        RefMovedError, CollectedError, LocalChangesError, SwitchInterruptedError: As `undo`.
    """
    state = worktree.store.state()
    refuse_interrupted(worktree.session(state))
    step = next_redo(worktree.store.log)
    changes = [RefChange(one.ref, one.old, one.new) for one in step.operation.changes.values()]
    actor = _acting(worktree, redo_command(step.leads_to))
    return _apply(actor, state, step.operation, changes, workers=workers, progress=progress)


def _acting(worktree: Worktree, command: str) -> Worktree:
    """Return the same worktree, whose changes the log calls *command*."""
    store = worktree.store
    context = msgspec.structs.replace(store.context, command=command)
    return Worktree(worktree.root, worktree.control, store.acting(context), worktree.config)


def _apply(
    worktree: Worktree,
    state: State,
    operation: Operation,
    changes: list[RefChange],
    *,
    workers: Workers,
    progress: Progress,
) -> Undone:
    others = [change for change in changes if change.ref != SESSION_REF]
    _check(worktree, state, others)
    session = worktree.session(state)
    final = _final_session(session, changes)
    wanted = _wanted_tree(worktree, state, final, {change.ref: change.new for change in others})
    files = 0
    if operation.moved_files:
        files = change_files(
            worktree, state, wanted, final, changes=lambda _: others, workers=workers, progress=progress
        )
        return Undone(operation, changes, files)
    if operation.command in _TAKES_FILES:
        files = _move_untouched(worktree, state, wanted, workers, progress)

    def build(now: State) -> list[RefChange]:
        if worktree.session(now) != session:
            raise SessionChangedError
        return [*others, *([final.change(now)] if final != session else [])]

    worktree.store.publish(build)
    return Undone(operation, changes, files)


def _check(worktree: Worktree, state: State, changes: list[RefChange]) -> None:
    for change in changes:
        found = state.refs.get(change.ref)
        value = None if found is None else found.value
        if value != change.old:
            raise RefMovedError(change.ref, change.old, value)
        if found is not None and found.published:
            raise PublishedTagError(change.ref)
        if change.new is not None and change.ref.startswith((HEADS, TAGS)):
            _check_stored(worktree, change.ref, ObjectId.from_hex(change.new))


def _check_stored(worktree: Worktree, ref: str, object_id: ObjectId) -> None:
    kind = worktree.store.objects.kind_of(object_id)
    if kind is None:
        raise CollectedError(ref, object_id)
    if kind == Kind.COMMIT:
        _check_stored(worktree, ref, ObjectId(worktree.commit_of(object_id).tree))


def _final_session(session: Session, changes: list[RefChange]) -> Session:
    """Return the session that *changes* lead to.

    Raises:
        RefMovedError: They do not start from *session*.
    """
    for change in changes:
        if change.ref == SESSION_REF:
            if decode_session(change.old) != session:
                raise RefMovedError(change.ref, change.old, session.encode())
            # The end of a switch that was taken back is the state before it.
            return msgspec.structs.replace(decode_session(change.new), switching=None)
    return session


def _wanted_tree(worktree: Worktree, state: State, final: Session, moved: Mapping[str, str | None]) -> Tree:
    objects = worktree.store.objects
    if final.staged is not None:
        staged = ObjectId.from_hex(final.staged)
        _check_stored(worktree, SESSION_REF, staged)
        return Tree(objects, staged)
    commit = moved.get(final.head, state.value(final.head)) if final.branch else final.head
    if commit is None:
        return Tree(objects)
    commit_id = ObjectId.from_hex(commit)
    _check_stored(worktree, final.head, commit_id)
    return Tree(objects, worktree.commit_of(commit_id).tree)


def _move_untouched(worktree: Worktree, state: State, wanted: Tree, workers: Workers, progress: Progress) -> int:
    """Let the files follow the staged tree to *wanted*, but for those that hold something else; return how many did."""
    staged = worktree.staged_tree(state)
    cache = staged_cache(worktree, state)
    moves = list(worktree.sparse.changes(staged, wanted))
    found = look(worktree, [move.path for move in moves])
    following = [
        move for move in moves if move.path not in found or is_expendable(worktree, cache, move, found[move.path])
    ]
    in_the_way = files_in_the_way(worktree, following, found)
    if in_the_way:
        raise LocalChangesError(in_the_way)
    bring_content(worktree, [move.new for move in following if move.new is not None], progress)
    rows, _ = materialise(worktree, following, found, workers=workers, progress=progress)
    written = {row[0] for row in rows}
    unknown = [pack_row(move.new, b"") for move in moves if move.new is not None]
    rows.extend(row for row in unknown if row[0] not in written)
    worktree.update_cache(staged, wanted, rows, [move.path for move in moves if move.new is None])
    return len(following)
