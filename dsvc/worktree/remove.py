"""Removing files: from what is staged, and from the worktree."""

from collections.abc import Iterable, Iterator

import msgspec

from dsvc.errors import ConflictError
from dsvc.log.state import State
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.folders import Folders
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found, found_from_stat, look_up
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.stage import stage
from dsvc.worktree.stat_cache import Row, entry_from_row
from dsvc.worktree.status import is_changed, staged_cache
from dsvc.worktree.unmerged import read_unmerged
from dsvc.worktree.worktree import Worktree

__all__ = ["Removal", "UnsavedChangesError", "plan_removal", "prune_folders", "remove"]

_SHOWN = 10


class UnsavedChangesError(ConflictError):
    """Files that were to be removed hold what no commit holds."""

    def __init__(self, edited: list[bytes], staged: list[bytes], both: list[bytes]) -> None:
        told = [
            _tell("staged content that differs from both the file and HEAD", both),
            _tell("changes staged", staged),
            _tell("local changes", edited),
        ]
        super().__init__("; ".join(filter(None, told)))
        self.edited = edited
        self.staged = staged
        self.both = both


def _tell(what: str, paths: list[bytes]) -> str:
    shown = ", ".join(map(quote_path, paths[:_SHOWN]))
    rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{what}: {shown}{rest}" if paths else ""


class Removal(msgspec.Struct):
    """What is about to be removed: staged paths in the order of keys, and those of them that have a file."""

    paths: list[bytes] = []
    files: list[bytes] = []


def plan_removal(
    worktree: Worktree, state: State, pathspec: Pathspec, *, keep_files: bool = False, force: bool = False
) -> Removal:
    """Return what removing *pathspec* would do; with *keep_files*, files stay.

    Raises:
        UnsavedChangesError: Something would be lost that no commit holds, without *force*.
        SwitchInterruptedError: A checkout was cut short.
        OutsideSparseError: Files are named that a sparse worktree leaves out.
    """
    refuse_interrupted(worktree.session(state))
    worktree.sparse.refuse_outside(pathspec.named)
    root = worktree.root_bytes
    removal = Removal()
    checked: list[tuple[Row, Found]] = []
    for row in _rows(worktree, state, pathspec):
        path = row[0].replace(b"\0", b"/")
        removal.paths.append(path)
        status = look_up(root, path)
        found = None if status is None else found_from_stat(path, status)
        # A folder where the file was is not the file: it stays.
        if found is not None and (found.kind != EntryKind.FOLDER or entry_from_row(row[0], row[2]).kind == found.kind):
            removal.files.append(path)
            checked.append((row, found))
    if not force:
        # What is in conflict is kept on both sides.
        unmerged = {one.path for one in read_unmerged(worktree.store.objects, worktree.session(state), pathspec)}
        checked = [pair for pair in checked if pair[1].path not in unmerged]
        _refuse_losses(worktree, state, checked, keep_files=keep_files)
    if keep_files:
        removal.files.clear()
    return removal


def _rows(worktree: Worktree, state: State, pathspec: Pathspec) -> Iterator[Row]:
    cache = staged_cache(worktree, state)
    for folder in pathspec.folders:
        for row in cache.rows(folder):
            if not pathspec.patterns or pathspec.matches(row[0].replace(b"\0", b"/")):
                yield row


def _refuse_losses(worktree: Worktree, state: State, checked: Iterable[tuple[Row, Found]], *, keep_files: bool) -> None:
    # git's rules: with the file kept, only content that is nowhere else is missed.
    checked = list(checked)
    committed = worktree.head_tree(state).get_many([found.path for _, found in checked])
    edited: list[bytes] = []
    staged: list[bytes] = []
    both: list[bytes] = []
    for (row, found), old in zip(checked, committed, strict=True):
        entry = entry_from_row(row[0], row[2])
        is_edited = _is_edited(worktree, row, entry, found)
        if entry != old:
            if is_edited:
                both.append(found.path)
            elif not keep_files:
                staged.append(found.path)
        elif is_edited and not keep_files:
            edited.append(found.path)
    if edited or staged or both:
        raise UnsavedChangesError(edited, staged, both)


def _is_edited(worktree: Worktree, row: Row, entry: Entry, found: Found) -> bool:
    if entry.kind == found.kind == EntryKind.FOLDER or (row[1] and row[1] == found.fingerprint):
        return False
    return is_changed(worktree.root_bytes, entry, found)


def remove(worktree: Worktree, removal: Removal, *, stay_in: bytes = b"") -> None:
    """Remove what *removal* says, and the folders that are empty then, except those on the way to *stay_in*.

    Files go first: what is cut short there can be restored.

    Raises:
        StorageError: A file cannot be removed; nothing is staged then.
    """
    with Folders(worktree.root_bytes) as folders:
        # Backwards, a folder's content goes before the folder.
        for path in reversed(removal.files):
            try:
                folders.remove(path)
            except OSError as error:
                raise storage_error(error, f"remove {quote_path(path)}") from error
    prune_folders(worktree, removal.files, stay_in=stay_in)
    if removal.paths:
        stage(worktree, worktree.store.writer(), [(path, None) for path in removal.paths], [])


def prune_folders(worktree: Worktree, paths: Iterable[bytes], *, stay_in: bytes = b"") -> None:
    """Remove the folders above *paths* that are empty, except those on the way to *stay_in*."""
    kept = {b"", stay_in}
    while stay_in := stay_in.rpartition(b"/")[0]:
        kept.add(stay_in)
    with Folders(worktree.root_bytes) as folders:
        for folder in sorted({path.rpartition(b"/")[0] for path in paths}, reverse=True):
            above = folder
            while above not in kept and _remove_if_empty(folders, above):
                above = above.rpartition(b"/")[0]


def _remove_if_empty(folders: Folders, folder: bytes) -> bool:
    try:
        folders.remove(folder)
    except OSError:
        return False
    return True
