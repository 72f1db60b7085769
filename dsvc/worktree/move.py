"""Moving files and folders: on disk and in what is staged. No content is read."""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from dsvc.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from dsvc.log.state import State
from dsvc.model.paths import is_within, key_path, quote_path, validate_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.remove import prune_folders
from dsvc.worktree.scan import Found, found_from_stat, look_up
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.sparse_set import OutsideSparseError
from dsvc.worktree.stage import Edit, stage
from dsvc.worktree.stat_cache import Row, entry_from_row, pack_row
from dsvc.worktree.status import staged_cache
from dsvc.worktree.unmerged import refuse_unmerged
from dsvc.worktree.worktree import Worktree

__all__ = [
    "BadDestinationError",
    "DestinationExistsError",
    "Move",
    "NotTrackedError",
    "SourceMissingError",
    "move",
    "plan_moves",
]

_ROOT: Final = b"."  # as people write it


class SourceMissingError(NotFoundError):
    """A source that is not there."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"there is no {quote_path(path)} to move")
        self.path = path


class NotTrackedError(NotFoundError):
    """A source that is not staged, or a folder with nothing staged in it."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} is not under version control")
        self.path = path


class DestinationExistsError(AlreadyExistsError):
    """Something is where the source was to go."""

    def __init__(self, source: bytes, destination: bytes) -> None:
        super().__init__(f"cannot move {quote_path(source)}: {quote_path(destination)} exists")
        self.source = source
        self.destination = destination


class BadDestinationError(InvalidInputError):
    """A source cannot go there."""

    def __init__(self, source: bytes, destination: bytes, reason: str) -> None:
        super().__init__(f"cannot move {quote_path(source)} to {quote_path(destination)}: {reason}")
        self.source = source
        self.destination = destination


class Move(msgspec.Struct, frozen=True):
    """One source and where it goes, with what is staged at and below it."""

    source: bytes
    destination: bytes
    rows: Sequence[Row]


def plan_moves(
    worktree: Worktree, state: State, sources: Sequence[bytes], destination: bytes, *, force: bool = False
) -> list[Move]:
    """Return how *sources* get to *destination*: into it if that is a folder, else in its place.

    With *force*, a file in the way is overwritten.

    Raises:
        SourceMissingError, NotTrackedError, DestinationExistsError, BadDestinationError: It cannot be.
        SwitchInterruptedError: A checkout was cut short.
        OutsideSparseError: A sparse worktree leaves out what is to be moved, or where to.
        UnmergedPathsError: Something of it is in conflict, and would be decided by that.
    """
    session = worktree.session(state)
    refuse_interrupted(session)
    worktree.sparse.refuse_outside(sources)
    refuse_unmerged(worktree.store.objects, session, Pathspec(sources, exists=lambda _: True))
    root = worktree.root_bytes
    cache = staged_cache(worktree, state)
    # A folder of links is none on disk.
    first = next(cache.rows(destination), None)
    into = not destination or _is_folder(root, destination) or (first is not None and key_path(first[0]) != destination)
    if not into and len(sources) > 1:
        raise BadDestinationError(sources[0], destination, "several sources need a folder to go to")
    moves: list[Move] = []
    taken: set[bytes] = set()
    for source in sources:
        name = source.rpartition(b"/")[2]
        target = (destination + b"/" + name if destination else name) if into else destination
        if not worktree.sparse.covers(target):
            raise OutsideSparseError([target])
        rows = list(cache.rows(source))
        # Links have no files: where there is nothing else, there is nothing on disk to move.
        is_here = look_up(root, source) is not None
        _check_source(source, target, is_there=is_here or (bool(rows) and all(map(_is_link, rows))))
        _check_target(root, source, target, taken, force=force, is_here=is_here)
        if not rows:
            raise NotTrackedError(source)
        if any(_is_link(row) for row in cache.rows(target)) and not force:
            raise DestinationExistsError(source, target)
        taken.add(target)
        moves.append(Move(source, target, rows))
    return moves


def _is_folder(root: bytes, path: bytes) -> bool:
    status = look_up(root, path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_link(row: Row) -> bool:
    return entry_from_row(row[0], row[2]).kind == EntryKind.EXTERNAL


def _check_source(source: bytes, target: bytes, *, is_there: bool) -> None:
    if not source:
        raise BadDestinationError(_ROOT, target, "it is the worktree itself")
    if not is_there:
        raise SourceMissingError(source)
    if is_within(target, source):
        raise BadDestinationError(source, target, "it cannot go into itself")


def _check_target(root: bytes, source: bytes, target: bytes, taken: set[bytes], *, force: bool, is_here: bool) -> None:
    validate_path(target)
    folder = target.rpartition(b"/")[0]
    if folder and is_here and not _is_folder(root, folder):
        raise BadDestinationError(source, target, "the folder is not there")
    present = look_up(root, target)
    if target in taken or (present is not None and not force):
        raise DestinationExistsError(source, target)
    if present is not None and (stat.S_ISDIR(present.st_mode) or _is_folder(root, source)):
        # Even by force, a folder is not overwritten, and replaces nothing.
        raise DestinationExistsError(source, target)


def move(worktree: Worktree, moves: Sequence[Move], *, stay_in: bytes = b"") -> None:
    """Carry out *moves*, and remove the folders that are empty then, except those on the way to *stay_in*.

    Raises:
        StorageError: The system refuses; all is as it was.
    """
    checked = worktree.clock()
    edits: list[Edit] = []
    rows: list[Row] = []
    done: list[Move] = []
    try:
        for one in moves:
            before = _found(worktree, one.source)
            if before is not None or not all(map(_is_link, one.rows)):
                _rename(worktree, one.source, one.destination)
                done.append(one)
            edits.extend((entry.path, None) for entry, _ in _entries(one))
            for entry, fingerprint in _entries(one):
                path = one.destination + entry.path[len(one.source) :]
                moved = msgspec.structs.replace(entry, path=path)
                after = _found(worktree, path) if path == one.destination else None
                rows.append(pack_row(moved, _carried(fingerprint, before, after, checked)))
                edits.append((path, moved))
        stage(worktree, worktree.store.writer(), edits, rows)
    except BaseException:
        for one in reversed(done):
            _rename(worktree, one.destination, one.source)
        raise
    prune_folders(worktree, [one.source for one in moves], stay_in=stay_in)


def _entries(one: Move) -> Iterator[tuple[Entry, bytes]]:
    for key, fingerprint, packed in one.rows:
        yield entry_from_row(key, packed), fingerprint


def _found(worktree: Worktree, path: bytes) -> Found | None:
    status = look_up(worktree.root_bytes, path)
    return None if status is None else found_from_stat(path, status)


def _carried(fingerprint: bytes, before: Found | None, after: Found | None, checked: int) -> bytes:
    """Return the fingerprint under the new name of a file that had *fingerprint*.

    Below a folder that is renamed, nothing changes. The name of a file itself is part of its ctime.
    """
    if after is None or before is None:
        return fingerprint
    if not fingerprint or fingerprint != before.fingerprint or before.changed >= checked:
        return b""
    return after.fingerprint if after.identity == before.identity else b""


def _rename(worktree: Worktree, source: bytes, destination: bytes) -> None:
    root = worktree.root_bytes
    try:
        os.rename(os.path.join(root, source), os.path.join(root, destination))
    except OSError as error:
        raise storage_error(error, f"move {quote_path(source)} to {quote_path(destination)}") from error
