"""Making the files be what a tree says.

First it is checked that nothing of the user's would be lost; then the journal (the session's
`switching`) is made durable; then files go, change and come; HEAD moves last. A checkout that was
cut short anywhere can be resumed: each path is then as before, as wanted, or the beginning of
what is wanted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

import msgspec

from dsvc.history.diff import Change, diff_trees
from dsvc.history.tree import PathConflictError, Tree
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.paths import path_key
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.bring import bring_content
from dsvc.worktree.case_folding import folds_case, refuse_collisions
from dsvc.worktree.compare import differences
from dsvc.worktree.folders import Folders
from dsvc.worktree.losses import LocalChangesError, becomes_file, look, refuse_losses
from dsvc.worktree.moves import Moves
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.place import Placed, place
from dsvc.worktree.scan import Found
from dsvc.worktree.session import Session, SessionChangedError, Switch, SwitchInterruptedError, refuse_interrupted
from dsvc.worktree.sparse_set import SparseSetChangedError
from dsvc.worktree.stat_cache import Row, StatCache, pack_row
from dsvc.worktree.stat_runs import pack_runs
from dsvc.worktree.status import staged_cache
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "LocalChangesError",
    "SwitchInterruptedError",
    "carry_out",
    "change_files",
    "materialise",
    "refuse_interrupted",
    "switch_to",
]


RefChanges = Callable[[State], list[RefChange]]

# What has no file of its own: a folder is one, and the content of what is external is elsewhere.
_WITHOUT_FILE: Final = (EntryKind.FOLDER, EntryKind.EXTERNAL)
# Files whose rows are packed at one go.
_BATCH: Final = 8192


def _no_changes(_: State) -> list[RefChange]:
    return []


def switch_to(
    worktree: Worktree,
    head: str,
    target: Tree,
    *,
    force: bool = False,
    is_here: bool = False,
    changes: RefChanges = _no_changes,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Make files and staged tree be *target*, and HEAD be *head*; return how many paths changed.

    What is staged or edited is carried along where *target* has the same as HEAD at that path;
    with *force* it is thrown away. *changes* are made to other refs in the same transaction. Where the content of all
    of it *is_here* for sure, it is not looked for.

    Raises:
        LocalChangesError: Something would be lost; nothing was changed.
        SwitchInterruptedError: An earlier checkout was cut short.
        NameCollisionError: Two paths of *target* are one here; nothing was changed.
    """
    state = worktree.store.state()
    session = worktree.session(state)
    refuse_interrupted(session)
    wanted = target if force else _carry(worktree, worktree.head_tree(state), worktree.staged_tree(state), target)
    staged = wanted.root.hex() if wanted.root != target.root else None
    final = Session(
        head, staged=staged, inputs=session.inputs if staged else [], metadata="" if force else session.metadata
    )
    return change_files(
        worktree,
        state,
        wanted,
        final,
        force=force,
        is_here=is_here,
        changes=changes,
        workers=workers,
        progress=progress,
    )


def _carry(worktree: Worktree, before: Tree, staged: Tree, target: Tree) -> Tree:
    """Return *target* with what is staged on top.

    Raises:
        LocalChangesError: *target* differs from HEAD where something else is staged.
    """
    if staged.root == before.root:
        return target
    own = list(diff_trees(before, staged))
    there = target.get_many([change.path for change in own])
    lost = [change.path for change, entry in zip(own, there, strict=True) if entry not in change]
    if lost:
        raise LocalChangesError(lost)
    writer = worktree.store.writer()
    try:
        wanted = target.apply(writer, [(change.path, change.new) for change in own])
    except PathConflictError as error:
        writer.discard()
        staged_paths = {change.path for change in own}
        raise LocalChangesError([error.file if error.file in staged_paths else error.below]) from error
    worktree.store.publish(lambda _: [], [writer.seal()])
    return wanted


def change_files(
    worktree: Worktree,
    state: State,
    wanted: Tree,
    final: Session,
    *,
    force: bool = False,
    given_up: Collection[bytes] = (),
    claimed: Collection[bytes] = (),
    is_here: bool = False,
    changes: RefChanges = _no_changes,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Take files and staged tree from what is staged in *state* to *wanted*; return how many paths changed.

    *final* is the session then; *changes* are made to other refs in the same transaction. Edited
    files that do not change between the trees stay edited, but at the paths *claimed* they are in the way as if they
    changed; with *force*, they are written again, and so are those at the paths *given_up*. The content of what
    comes is looked for first, unless it *is_here* for sure.

    Raises:
        LocalChangesError: Something would be lost; nothing was changed.
        SwitchInterruptedError: An earlier checkout was cut short.
        SessionChangedError, SparseSetChangedError: Another process was faster.
        NameCollisionError: Two paths of *wanted* are one here; nothing was changed.
    """
    session = worktree.session(state)
    refuse_interrupted(session)
    if folds_case(worktree.control):
        refuse_collisions(entry.path for entry in worktree.sparse.entries(wanted))
    staged = worktree.staged_tree(state)
    moves: Moves | Sequence[Change] = Moves(worktree.control / "tmp", worktree.sparse.changes(staged, wanted))
    cache = staged_cache(worktree, state)
    found = look(worktree, (move.path for move in moves))
    if force:
        moves = _with_edited(worktree, cache, moves, found, Pathspec())
    elif given_up:
        moves = _with_edited(worktree, cache, moves, found, Pathspec(given_up, exists=lambda _: True))
    if not force:
        sides = zip(*(tree.get_many(list(claimed)) for tree in (staged, wanted)), strict=True)
        kept = [Change(old, new) for old, new in sides if old is not None and old == new]
        there = look(worktree, [one.path for one in kept]) | found
        refuse_losses(worktree, cache, [*moves, *kept] if kept else moves, there, given_up)
    removed: list[bytes] = []
    if not is_here:
        bring_content(worktree, (move.new for move in moves if move.new is not None), progress)
    if moves:
        others = [(change.ref, change.old, change.new) for change in changes(state)]
        journal = Switch(staged.root.hex(), wanted.root.hex(), final.head, final.merge, others, final.unfinished)
        begun = msgspec.structs.replace(session, switching=journal)
        _replace_session(worktree, session, begun)
        try:
            worktree.check_sparse_set()
        except SparseSetChangedError:
            _replace_session(worktree, begun, session)
            raise
        session = begun
        # Not in memory: a million take half a gigabyte.
        worktree.stat_cache.forget_gathered()
        batches = carry_out(worktree, moves, found, force=force, workers=workers, progress=progress)
        for rows in batches:
            worktree.stat_cache.gather(pack_runs(rows))
        removed = [move.path for move in moves if move.new is None]
    _replace_session(worktree, session, final, changes)
    worktree.update_cache(staged, wanted, [], removed)
    worktree.stat_cache.forget_gathered()
    return len(moves)


def _replace_session(worktree: Worktree, old: Session, new: Session, changes: RefChanges = _no_changes) -> Session:
    """Publish *new* in place of *old*, together with *changes*.

    Raises:
        SessionChangedError: It is another one by now.
    """

    def build(state: State) -> list[RefChange] | None:
        if worktree.session(state) != old:
            raise SessionChangedError
        others = changes(state)
        return [*others, new.change(state)] if others or new != old else None

    worktree.store.publish(build)
    return new


def _with_edited(
    worktree: Worktree, cache: StatCache, moves: Iterable[Change], found: dict[bytes, Found], pathspec: Pathspec
) -> list[Change]:
    """Return *moves* and also the tracked files of *pathspec* that were edited or removed, to be written again."""
    moving = {move.path for move in moves}
    edited = [
        difference
        for difference in differences(worktree.root_bytes, cache, pathspec)
        if difference.staged is not None and difference.path not in moving
    ]
    found.update({one.path: one.found for one in edited if one.found is not None})
    found.update(look(worktree, [one.path for one in edited if one.found is None]))
    return sorted(
        [*moves, *(Change(one.staged, one.staged) for one in edited)],
        key=lambda change: path_key(change.path),
    )


def materialise(
    worktree: Worktree,
    moves: Moves | Sequence[Change],
    found: Mapping[bytes, Found],
    *,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> tuple[list[Row], list[bytes]]:
    """Do what `carry_out` does; return the stat cache's new rows and removed paths."""
    batches = carry_out(worktree, moves, found, force=force, workers=workers, progress=progress)
    return list(chain.from_iterable(batches)), [move.path for move in moves if move.new is None]


def carry_out(
    worktree: Worktree,
    moves: Moves | Sequence[Change],
    found: Mapping[bytes, Found],
    *,
    force: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Iterator[list[Row]]:
    """Carry out *moves*, whose losses nobody minds; yield new rows of the stat cache, in batches in order of the keys.

    *found* is what is at their paths. With *force*, also what is in no tree and is in the way is removed.
    What goes, goes first, so that a file may become a folder; symlinks come last, so that nothing
    is ever written through one.

    Raises:
        FolderInTheWayError: Something is in the way, without *force*.
        CorruptionError: An object is damaged or missing.
        StorageError: The system refuses.
    """
    worktree.tidy()
    going = size = 0
    without_file: list[Entry] = []
    links: list[Entry] = []
    for move in moves:
        entry = move.new
        if entry is None:
            going += 1
        else:
            size += entry.size
            if entry.kind >= EntryKind.FOLDER:
                without_file.append(entry)
            elif entry.kind == EntryKind.SYMLINK:
                links.append(entry)
    progress.start("checkout", files=len(moves), size=size)
    with Folders(worktree.root_bytes) as folders:
        if going or found:
            _clear_way(folders, moves, found, force=force)
        _make_folders(folders, moves, force=force)
    progress.advance(files=going)
    files = (move.new for move in moves if move.new is not None and move.new.kind < EntryKind.SYMLINK)
    # Only what was written before the last batch was has times that are surely before that of an edit to come.
    waiting: list[Placed] = []
    for entries in (files, iter(links)):
        for placed in _placed(worktree, entries, found, workers, progress):
            if waiting:
                yield _rows(worktree, waiting)
            waiting = placed
    if waiting:
        yield _rows(worktree, waiting)
    yield [pack_row(entry, b"") for entry in without_file]
    progress.finish()


def _placed(
    worktree: Worktree, entries: Iterable[Entry], found: Mapping[bytes, Found], workers: Workers, progress: Progress
) -> Iterator[list[Placed]]:
    """Put *entries* where they belong, and yield by the thousand how they look then."""
    placed = place(worktree, ((entry, _is_replaced(entry, found)) for entry in entries), workers, progress)
    while some := list(islice(placed, _BATCH)):
        yield some


def _rows(worktree: Worktree, placed: Sequence[Placed]) -> list[Row]:
    # Who edits a file from now on gives it a time that is not before this, and will be seen.
    checked = worktree.clock()
    return sorted(pack_row(entry, print_ if changed < checked else b"") for (entry, _), print_, changed in placed)


def _is_replaced(entry: Entry, found: Mapping[bytes, Found]) -> bool:
    return entry.path in found and found[entry.path].kind != EntryKind.FOLDER


def _clear_way(folders: Folders, moves: Moves | Sequence[Change], found: Mapping[bytes, Found], *, force: bool) -> None:
    """Remove what goes and what is in the way."""
    # Backwards, a folder's content goes before the folder.
    for move in reversed(moves):
        if move.new is None:
            folders.remove(move.path)
            folders.prune(move.path.rpartition(b"/")[0])
        elif not found:
            continue
        elif becomes_file(move, found):
            if force:
                folders.remove_tree(move.path)
            else:
                folders.remove_empty_folders(move.path)
        elif move.new.kind in _WITHOUT_FILE and _is_replaced(move.new, found):
            folders.remove(move.path)


def _make_folders(folders: Folders, moves: Iterable[Change], *, force: bool) -> None:
    """Make the folders that *moves* need."""
    made = b""
    for move in moves:
        if move.new is not None and move.new.kind != EntryKind.EXTERNAL:
            path = move.new.path
            folder = path if move.new.kind == EntryKind.FOLDER else path.rpartition(b"/")[0]
            # Most files are where the one before is.
            if folder != made:
                folders.open(folder, make=True, clear=force)
                made = folder
