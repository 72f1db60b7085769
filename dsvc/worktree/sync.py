"""Synchronising: a branch's version becomes, below one path, what a folder holds; all of it in one commit.

The folder may be anywhere, as where a data lake is mounted, and is never written to. What its files look like is
remembered in a stat cache of its own, so that what did not change since is not read again.
"""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.errors import BusyError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from dsvc.history.branches import branch_change
from dsvc.history.commits import Commits, new_commit
from dsvc.history.diff import ChangeKind, count_changes
from dsvc.history.metadata import inherited
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.refs import short_name
from dsvc.log.state import State
from dsvc.model.codec import encode
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import CONTROL_FOLDER, quote_path
from dsvc.model.tree import EMPTY_FOLDER_DIGEST, Entry, EntryKind
from dsvc.odb.writer import DatabaseWriter
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.local import make_folder, storage_error
from dsvc.storage.temporary import remove_stale
from dsvc.worktree.add import Selecting, What, preview, read_all
from dsvc.worktree.addition import Addition, Source
from dsvc.worktree.catch_up import catch_up
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import SessionChangedError
from dsvc.worktree.snapshot import preview as preview_snapshot
from dsvc.worktree.snapshot import snapshot, snapshot_branch
from dsvc.worktree.snapshot_lock import Holder, hold
from dsvc.worktree.stage import Edit, filled_folders
from dsvc.worktree.stat_cache import StatCache
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "BranchMovedError",
    "FolderGoneError",
    "Limit",
    "Synced",
    "Target",
    "TooManyRemovedError",
    "place_in_worktree",
    "preview_sync",
    "sync",
]

Counts = Counter[ChangeKind]
Message = Callable[[Counts], str]

# The clock of another filesystem may differ from ours by so much, in nanoseconds: what is younger is read again.
_MARGIN: Final = 3600 * 1_000_000_000


class TooManyRemovedError(RefusedError):
    """More would be removed than was allowed."""

    def __init__(self, removed: int, total: int, *, is_empty: bool = False) -> None:
        what = "the folder is empty, so all" if is_empty else f"{removed:,} of"
        super().__init__(f"{what} {total:,} paths would be removed")
        self.removed = removed
        self.is_empty = is_empty


class FolderGoneError(BusyError):
    """What was mounted at the folder was taken away while it was read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{quote_path(os.fsencode(folder))} became another folder while it was read")


class BranchMovedError(ConflictError):
    """Somebody committed to the same branch meanwhile."""

    def __init__(self, branch: str) -> None:
        super().__init__(f"{short_name(branch)} moved while the folder was read")


class Limit(msgspec.Struct, frozen=True):
    """At most *number* paths may be removed; with *is_percent*, so many of a hundred."""

    number: int
    is_percent: bool = False

    def allows(self, removed: int, total: int) -> bool:
        """Tell whether *removed* of *total* paths may be."""
        if self.is_percent:
            # Empty folders go too, and are no files to be counted.
            return removed * 100 <= self.number * total or self.number >= 100
        return removed <= self.number


class Target(msgspec.Struct, frozen=True):
    """What becomes equal to a folder: what is at and below *prefix* in the version of the branch *ref*.

    Without a *limit*, anything may be removed, but not everything because a folder is empty: it may be one where
    nothing is mounted.
    """

    ref: str
    prefix: bytes = b""
    limit: Limit | None = None

    def check(self, removed: int, total: int, *, is_empty: bool) -> None:
        """Check that *removed* of *total* paths may go.

        Raises:
            TooManyRemovedError: They may not.
        """
        if self.limit is not None:
            if not self.limit.allows(removed, total):
                raise TooManyRemovedError(removed, total)
        elif is_empty and total:
            raise TooManyRemovedError(removed, total, is_empty=True)


class Synced(msgspec.Struct, frozen=True):
    """What was done: *commit* is new, or None if nothing had changed. The rest is as in `Snapshot`."""

    commit: ObjectId | None
    counts: Counts
    size: int = 0
    left_out: int = 0


def place_in_worktree(worktree: Worktree, folder: Path) -> bytes | None:
    """Return where *folder* is in the worktree, None if it is outside.

    Raises:
        NotFoundError: It is not there.
        InvalidInputError: It is no folder, one of dsvc's own, or one that the worktree is in.
    """
    shown = quote_path(os.fsencode(folder))
    real, root = os.path.realpath(os.fsencode(folder)), os.path.realpath(worktree.root_bytes)
    if not os.path.isdir(real):
        message = f"there is no folder {shown}"
        raise InvalidInputError(f"{shown} is no folder") if os.path.lexists(real) else NotFoundError(message)
    if real == root:
        return b""
    if _is_below(root, real):
        message = f"{shown} holds the repository {quote_path(worktree.root_bytes)} itself"
        raise InvalidInputError(message)
    if not _is_below(real, root):
        return None
    within = real[len(os.path.join(root, b"")) :]
    if CONTROL_FOLDER in within.split(b"/"):
        message = f"{shown} is one of dsvc's own folders"
        raise InvalidInputError(message)
    return within


def _is_below(path: bytes, folder: bytes) -> bool:
    return path.startswith(os.path.join(folder, b""))


def sync(
    worktree: Worktree,
    folder: Path,
    target: Target,
    message: Message,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Synced:
    """Make *target* equal to *folder* by a commit, if it is not; its message is made of the counts.

    If that is the current branch, the files of the worktree follow as in a switch: edited ones are not overwritten,
    and what is staged stays so. A folder of the worktree itself is committed where it is.

    Raises:
        TooManyRemovedError: More would be removed than *target* allows.
        LocalChangesError: Edited files of the worktree would be overwritten.
        BranchMovedError, SessionChangedError: Somebody else was at work on the same; or as in `snapshot`.
        FileChangingError, FolderGoneError, StorageError: *folder* could not be read as it is.
        SnapshotRunningError: It is just being synchronised with the same.
        PathConflictError: The path *prefix* leads through a file.
        DetachedHeadError, UnfinishedError, SwitchInterruptedError: As in `snapshot_branch`.
    In each case, the version is as it was.
    """
    if place_in_worktree(worktree, folder) is None:
        return _Sync(worktree, folder, target).run(message, workers, progress)
    if target.limit is not None:
        _preview_inside(worktree, target)
    taken = snapshot(worktree, target.ref, message, folder=target.prefix, workers=workers, progress=progress)
    return Synced(None if taken.made is None else taken.made.id, taken.counts, taken.size, taken.left_out)


def preview_sync(worktree: Worktree, folder: Path, target: Target) -> Counts:
    """Return how many paths `sync` would find changed, and in which way; what was renamed is new and deleted.

    Raises:
        As `sync`.
    """
    if place_in_worktree(worktree, folder) is None:
        return _Sync(worktree, folder, target).preview()
    return _preview_inside(worktree, target)


def _preview_inside(worktree: Worktree, target: Target) -> Counts:
    state = worktree.store.state()
    snapshot_branch(worktree.session(state))
    counts = preview_snapshot(worktree, state, target.prefix)
    total = worktree.head_tree(state).totals(target.prefix).files
    target.check(counts[ChangeKind.DELETED], total, is_empty=False)
    return counts


class _Sync:
    """One run for a folder outside of the worktree."""

    def __init__(self, worktree: Worktree, folder: Path, target: Target) -> None:
        self._worktree = worktree
        self._folder = folder
        self._target = target
        self._store = worktree.store
        self._root = os.path.realpath(os.fsencode(folder))
        state = self._store.state()
        session = worktree.session(state)
        self._is_current = target.ref == session.head
        if self._is_current:
            snapshot_branch(session)
        self._head = state.value(target.ref)
        head = None if self._head is None else ObjectId.from_hex(self._head)
        self._base = Commits(self._store.objects).tree(head)

    def run(self, message: Message, workers: Workers, progress: Progress) -> Synced:
        """Read the folder, and commit what it holds."""
        context = self._store.context
        holder = Holder(os.uname().nodename, os.getpid(), context.now()[0])
        # Both would read all of it, and one of them for nothing.
        with hold(self._place(".lock"), holder, what="sync of this folder"):
            return self._run(message, workers, progress)

    def _run(self, message: Message, workers: Workers, progress: Progress) -> Synced:
        worktree, base = self._worktree, self._base
        worktree.tidy()
        status = self._look()
        with closing(self._open_cache()) as cache:
            selecting = Selecting(self._root, cache, What(Pathspec()))
            source = Source(self._root, cache, self._clock(status), status.st_dev)
            writer = self._store.writer()
            with Addition(self._store, source, writer, workers, progress) as addition:
                read_all(addition, selecting, progress)
                if not os.path.samestat(status, self._look()):
                    raise FolderGoneError(self._folder)
                self._check(selecting.removed)
                tree = self._edited(writer, addition.edits)
                counts, size = count_changes(base, tree, self._target.prefix)
                made = (
                    None if tree.root == base.root else self._commit(writer, tree, message(counts), workers, progress)
                )
                gone = [path for path, entry in addition.edits if entry is None]
                cache.replace(base.root, tree.root, addition.rows, [*gone, *filled_folders(cache, addition.edits)])
        return Synced(made, counts, size, len(selecting.skipped))

    def preview(self) -> Counts:
        """Look at the folder, and return what has changed in it."""
        with closing(self._open_cache()) as cache:
            selection = Selecting(self._root, cache, What(Pathspec())).all()
            changes = preview(self._root, selection)
        self._check(selection.removed)
        kinds = (
            ChangeKind.DELETED if not comes else ChangeKind.MODIFIED if path in selection.staged else ChangeKind.ADDED
            for path, comes in changes
        )
        return Counter(kinds)

    def _look(self) -> os.stat_result:
        try:
            return os.stat(self._root)
        except OSError as error:
            raise storage_error(error, f"read {quote_path(self._root)}") from error

    def _clock(self, status: os.stat_result) -> int:
        """Return a moment before now on the clock of the folder's filesystem, which cannot be asked as ours can be."""
        now = self._worktree.clock()
        is_ours = status.st_dev == os.stat(self._worktree.control).st_dev
        return now if is_ours else max(0, now - _MARGIN)

    def _place(self, suffix: str) -> Path:
        """Return a file for what there is once for the folder and what it is synchronised with."""
        key = b"\0".join((self._root, self._target.prefix, self._target.ref.encode()))
        path = self._worktree.control / "sync" / f"{blake3(key).hexdigest(length=16)}{suffix}"
        make_folder(path.parent)
        return path

    def _open_cache(self) -> StatCache:
        """Return what is known of the files, as of those that the version has: a pure cache, like the worktree's."""
        path = self._place(".db")
        remove_stale(path.parent / "tmp")
        cache = StatCache(path)
        catch_up(cache, self._store.objects, self._base, self._target.prefix)
        return cache

    def _edited(self, writer: DatabaseWriter, edits: list[Edit]) -> Tree:
        """Return the version with *edits* of the folder."""
        prefix = self._target.prefix
        if not prefix:
            return self._base.apply(writer, edits)
        placed = [(b"%s/%s" % (prefix, path), _placed(prefix, entry)) for path, entry in edits]
        there = self._base.get(prefix)
        if there is not None and there.kind != EntryKind.FOLDER:
            placed.append((prefix, None))
        tree = self._base.apply(writer, placed)
        if next(tree.entries(prefix), None) is None:
            empty = Entry(prefix, EntryKind.FOLDER, 0, EMPTY_FOLDER_DIGEST)
            return tree.apply(writer, [(prefix, empty)])
        return tree

    def _check(self, removed: list[bytes]) -> None:
        total = self._base.totals(self._target.prefix).files
        self._target.check(len(removed), total, is_empty=bool(removed) and not os.listdir(self._root))

    def _commit(
        self, writer: DatabaseWriter, tree: Tree, message: str, workers: Workers, progress: Progress
    ) -> ObjectId:
        parents = [] if self._head is None else [ObjectId.from_hex(self._head)]
        inputs = [one for one in self._store.context.inputs() if one.commit not in parents]
        metadata = inherited(self._worktree.commit_of(parents[0]) if parents else None)
        made = new_commit(self._store.context, tree, parents, message, metadata=metadata, inputs=inputs)
        commit_id = writer.write(Kind.COMMIT, encode(made))
        sealed = [writer.seal()]

        def changes(state: State) -> list[RefChange]:
            if (self._worktree.session(state).head == self._target.ref) is not self._is_current:
                raise SessionChangedError
            if state.value(self._target.ref) != self._head:
                raise BranchMovedError(self._target.ref)
            change = branch_change(state, self._target.ref, commit_id, force=True)
            return [] if change is None else [change]

        if not self._is_current:
            self._store.publish(changes, sealed)
            return commit_id
        # What the checkout reads has to be live; until HEAD has moved there, nothing leads to it.
        self._store.publish(lambda _: [], sealed)
        switch_to(self._worktree, self._target.ref, tree, changes=changes, workers=workers, progress=progress)
        return commit_id


def _placed(prefix: bytes, entry: Entry | None) -> Entry | None:
    return None if entry is None else msgspec.structs.replace(entry, path=b"%s/%s" % (prefix, entry.path))
