"""Putting entries into a folder, whatever they are and wherever their data is."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dsvc.datasets.cached_file import is_cached
from dsvc.datasets.fill import Filler, Filling
from dsvc.datasets.means import Means
from dsvc.datasets.symlinks import check_symlinks
from dsvc.datasets.tree_record import Damage, folders_of
from dsvc.errors import NoSpaceError
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.storage.local import storage_error
from dsvc.worktree.case_folding import folds_case, refuse_collisions
from dsvc.worktree.folders import Folders
from dsvc.worktree.materialise import object_database, write_items

__all__ = ["Assembler", "clear", "move_in"]

# What comes at one go, of a store far away: so much more room than the tree itself it takes for a while.
_WINDOW_BYTES: Final = 1 << 30
_WINDOW: Final = 65_536
_ATTEMPTS: Final = 3


class Assembler:
    """Puts entries into folders; what is on its way has the name *coming* in the cache, which is held by a lease.

    Without *any_symlinks*, none is put anywhere that leads out of the tree of the entries.
    """

    def __init__(self, means: Means, coming: str, *, any_symlinks: bool) -> None:
        self._cache = means.cache
        self._source = means.source
        self._workers = means.workers
        self._progress = means.progress
        self._coming = coming
        self._any_symlinks = any_symlinks

    def put(self, entries: Sequence[Entry], target: Path, *, linked: bool) -> int:
        """Put *entries*, of which nothing is there yet, into the folder *target*; return how many bytes no link shares.

        If *linked*, files are read-only links to those of the cache; else writable, and no other name is theirs. What
        is external is in the cache already.

        Raises:
            NameCollisionError: Two paths are one on this filesystem; nothing was written.
            SymlinkOutsideError: A symlink leads out; nothing was written.
            OutOfReachError, CorruptionError: Some of it cannot be had.
            StorageError: The system refuses.
        """
        if folds_case(target):
            refuse_collisions(entry.path for entry in entries)
        links = [entry for entry in entries if entry.kind == EntryKind.SYMLINK]
        if links and not self._any_symlinks:
            # Before hours of fetching are for nothing.
            check_symlinks(object_database(self._source.bring(links, self._coming, self._progress)), links)
        folder = os.fsencode(target)
        try:
            with Folders(folder) as folders:
                mode = os.fstat(folders.open(b"")).st_mode & 0o777
                for path in folders_of(entries):
                    folders.open(path, make=True)
        except OSError as error:
            raise storage_error(error, f"write to {target}") from error
        files = [entry for entry in entries if is_cached(entry)]
        filling = Filling(self._cache.files, folder, linked, mode)
        if self._source.is_lazy:
            _check_room(folder, [entry for entry in files if not self._cache.has_file(entry)])
        with Filler(self._workers) as filler:
            windows = list(_windows(files)) if self._source.is_lazy else [files]
            for window in windows:
                self._fill(filler, filling, window, links if window is windows[-1] else ())
            return filler.own

    def _fill(self, filler: Filler, filling: Filling, files: Sequence[Entry], links: Sequence[Entry]) -> None:
        # What is in the cache is linked before the rest is waited for: then nobody evicts it under us, and who keeps
        # the rest need not be there if there is none.
        if self._source.is_lazy or any(
            entry.kind == EntryKind.EXTERNAL or self._cache.has_file(entry) for entry in files[:1]
        ):
            files = self._filled(filler, filling, files)
        if not files and not links:
            return
        _check_room(filling.target, files)
        for _ in range(_ATTEMPTS):
            stored = self._source.bring([*files, *links], self._coming, self._progress)
            # Another process may prune what has come, before it is read.
            files = self._filled(filler, msgspec.structs.replace(filling, objects=stored), files)
            if not files:
                break
        else:
            raise ObjectNotFoundError(files[0].digest)
        # Symlinks come last, so that nothing is written through one.
        if links:
            for _ in write_items(object_database(stored), filling.target, [(entry, False) for entry in links]):
                pass
        self._source.release(self._coming)

    def _filled(self, filler: Filler, filling: Filling, files: Sequence[Entry]) -> list[Entry]:
        self._progress.start("get", files=len(files), size=sum([entry.size for entry in files]))
        missing = filler.fill(filling, files, self._progress)
        self._progress.finish()
        return missing


def _windows(files: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield *files* in runs of some size; at least one."""
    start = size = 0
    for stop, entry in enumerate(files):
        if stop > start and (stop - start >= _WINDOW or size + entry.size > _WINDOW_BYTES):
            yield files[start:stop]
            start, size = stop, 0
        size += entry.size
    yield files[start:]


def _check_room(target: bytes, files: Sequence[Entry]) -> None:
    """Do nothing, if there is room for *files* where the folder *target* is.

    Raises:
        NoSpaceError: There is not.
    """
    needed = sum({entry.digest: entry.size for entry in files}.values())
    found = os.statvfs(target)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        message = f"{needed:,} bytes are needed, and only {free:,} are free where {os.fsdecode(target)} is"
        raise NoSpaceError(message)


def move_in(source: bytes, target: bytes, entries: Iterable[Entry]) -> None:
    """Let *entries* be in the folder *target*, each in one step: files and symlinks are moved from *source*."""
    with Folders(source) as there, Folders(target) as here:
        for entry in entries:
            if entry.kind == EntryKind.FOLDER:
                here.open(entry.path, make=True)
                continue
            folder, _, name = entry.path.rpartition(b"/")
            parent = here.open(folder, make=True)
            os.rename(name, name, src_dir_fd=there.open(folder), dst_dir_fd=parent)


def clear(root: bytes, damage: Damage) -> None:
    """Remove from the folder *root* what is wrong or extra, so that all that is broken is missing."""
    with Folders(root) as folders:
        for path in damage.extra:
            folders.remove(path)
            folders.prune(path.rpartition(b"/")[0])
        for entry in damage.wrong:
            folders.remove(entry.path)
