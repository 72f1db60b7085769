"""Filling a folder with files: as links to files of the user's cache, or as copies of its own.

The unit of work is a function from a batch of entries to what is still missing, with nothing shared. What the cache
lacks is written where it is wanted, from verified objects, and sealed, and only then linked into the cache: so nobody
who looks there for files that no tree has ever sees one that is about to be used.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from dsvc.datasets.cached_file import cached_path, date_file, is_as_written, is_sealed, seal_file
from dsvc.history.batches import in_batches
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import Progress
from dsvc.storage.local import storage_error
from dsvc.worktree.folders import Folders
from dsvc.worktree.ingest import LARGE_FILE
from dsvc.worktree.link_cache import share_blocks
from dsvc.worktree.materialise import (
    ItemBatch,
    MaterialiseJob,
    StoredObjects,
    materialise_batch,
    object_database,
    write_large,
)
from dsvc.worktree.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["Filler", "Filling"]

_BATCH: Final = 4096
_BATCH_BYTES: Final = 16 * 1024 * 1024
_ATTEMPTS: Final = 4
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# The system lets nobody link to what is another's; or the filesystem has no links.
_NO_LINK: Final = (errno.EPERM, errno.EACCES, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_REFLINK: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS)


class _TooManyLinksError(Exception):
    """A file has as many links as the filesystem allows."""


class Filling(msgspec.Struct, frozen=True):
    """What all batches for one folder have in common.

    *objects* is where what the cache lacks is read from; without it, that is left out. If *linked*, files are read-only
    links to those of the cache, which are in *files*, else writable and the folder's own. *mode* are the permissions
    that a new folder has.
    """

    files: bytes
    target: bytes
    linked: bool
    mode: int
    objects: StoredObjects | None = None


class _Filled(msgspec.Struct, frozen=True):
    """The numbers of the entries that are *missing*, and how many bytes were written that no cached file shares."""

    missing: list[int]
    own: int


class Filler:
    """Fills folders with *workers*, which are started once; *own* counts bytes that no cached file shares."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._stack = ExitStack()
        self._pool: Executor | None = None
        self.own = 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers."""
        self._stack.__exit__(kind, error, trace)

    def fill(self, filling: Filling, entries: Sequence[Entry], progress: Progress) -> list[Entry]:
        """Make each of *entries*, which are files and not there yet, be in the folder; return what is missing.

        Raises:
            CorruptionError: An object is damaged or missing.
            StorageError: The system refuses.
        """
        missing: list[Entry] = []
        small = [entry for entry in entries if entry.size < LARGE_FILE]
        batches = list(in_batches(small, attrgetter("size"), most=_BATCH, most_bytes=_BATCH_BYTES))
        for batch, filled in zip(batches, self._run(filling, batches), strict=True):
            lacking = [batch[number] for number in filled.missing]
            missing += lacking
            self._count(filled, progress, len(batch) - len(lacking), _size(batch) - _size(lacking))
        write = partial(_write_large, self._workers.jobs)
        for entry in entries:
            if entry.size >= LARGE_FILE:
                filled = _Batch(filling, [entry], write).fill()
                missing += [entry] * len(filled.missing)
                self._count(filled, progress, *((0, 0) if filled.missing else (1, entry.size)))
        return missing

    def _count(self, filled: _Filled, progress: Progress, files: int, size: int) -> None:
        self.own += filled.own
        progress.advance(files, size)

    def _run(self, filling: Filling, batches: Sequence[list[Entry]]) -> Iterator[_Filled]:
        make = self._workers.pool
        if make is None or self._workers.jobs < 2 or len(batches) < 2:
            return (fill_batch(filling, ItemBatch([(entry, False) for entry in batch])) for batch in batches)
        if self._pool is None:
            self._pool = self._stack.enter_context(make(self._workers.jobs))
        items = (ItemBatch([(entry, False) for entry in batch]) for batch in batches)
        return iter(self._pool.map(fill_batch, [filling] * len(batches), items))


def _size(entries: Sequence[Entry]) -> int:
    return sum([entry.size for entry in entries])


def fill_batch(filling: Filling, batch: ItemBatch) -> _Filled:
    """Fill a folder with the files of *batch*: what a worker does.

    Raises:
        CorruptionError: An object is damaged or missing.
        StorageError: The system refuses.
    """
    return _Batch(filling, [entry for entry, _ in batch.items], _write_small).fill()


def _write_small(objects: StoredObjects, folder: bytes, entries: Sequence[Entry]) -> list[Entry]:
    written = materialise_batch(MaterialiseJob(folder, objects), ItemBatch([(entry, False) for entry in entries]))
    return [entry for entry, print_ in zip(entries, written.fingerprints, strict=True) if print_]


def _write_large(threads: int, objects: StoredObjects, folder: bytes, entries: Sequence[Entry]) -> list[Entry]:
    with Folders(folder) as folders:
        for entry in entries:
            write_large(object_database(objects), folders, entry, replace=False, aside=False, threads=threads)
    return list(entries)


class _Batch:
    """The work on *entries*; *write* makes some of them in a folder, of stored objects, and returns those it made."""

    def __init__(
        self,
        filling: Filling,
        entries: Sequence[Entry],
        write: Callable[[StoredObjects, bytes, Sequence[Entry]], list[Entry]],
    ) -> None:
        self._filling = filling
        self._entries = entries
        self._write = write
        self._own = 0

    def fill(self) -> _Filled:
        """Do it."""
        numbers_of: dict[bytes, list[int]] = {}
        for number, entry in enumerate(self._entries):
            numbers_of.setdefault(cached_path(entry), []).append(number)
        files = os.open(self._filling.files, _FOLDER)
        try:
            with Folders(self._filling.target) as target:
                taken = ((path, self._take(files, path, target, numbers)) for path, numbers in numbers_of.items())
                lacking = {path: rest for path, rest in taken if rest}
                if self._filling.objects is not None and lacking:
                    self._add(self._filling.objects, files, target, lacking)
        finally:
            os.close(files)
        return _Filled([number for rest in lacking.values() for number in rest], self._own)

    def _take(self, files: int, path: bytes, target: Folders, numbers: Sequence[int]) -> Sequence[int]:
        """Let the entries *numbers* be the cached file *path*; return for which of them that was not to be had."""
        try:
            status = os.stat(path, dir_fd=files, follow_symlinks=False)
        except FileNotFoundError:
            return numbers
        first = self._entries[numbers[0]]
        if not is_as_written(first, status):
            return numbers
        if self._filling.linked and not is_sealed(first, status):
            # Only whoever wrote it may.
            with suppress(PermissionError):
                seal_file(first, path, files, self._filling.mode)
        for position, number in enumerate(numbers):
            try:
                self._place(files, path, target, self._entries[number])
            except FileNotFoundError:
                # Somebody makes room just now.
                return numbers[position:]
            except _TooManyLinksError:
                # ext4 ends at 65,000 links to one file: another takes its place.
                _discard(files, path)
                return numbers[position:]
        return ()

    def _add(self, objects: StoredObjects, files: int, target: Folders, lacking: dict[bytes, Sequence[int]]) -> None:
        """Write the files that are *lacking*, by their paths in the cache; what is made is lacking no longer."""
        linked = self._filling.linked
        wanted = [number for numbers in lacking.values() for number in (numbers[:1] if linked else numbers)]
        for entry in self._write(objects, self._filling.target, [self._entries[number] for number in wanted]):
            folder, _, name = entry.path.rpartition(b"/")
            parent, path = target.open(folder), cached_path(entry)
            if not linked:
                date_file(entry, name, parent)
                lacking.pop(path, None)
                continue
            seal_file(entry, name, parent, self._filling.mode)
            if not _offer(parent, name, files, path):
                self._own += entry.size
            source = os.dup(parent)
            try:
                for number in lacking.pop(path)[1:]:
                    self._place(source, name, target, self._entries[number])
            finally:
                os.close(source)

    def _place(self, source: int, name: bytes, target: Folders, entry: Entry) -> None:
        """Let *entry* be the file *name* of the folder *source*: by a link, or a copy."""
        folder, _, base = entry.path.rpartition(b"/")
        parent = target.open(folder, make=True)
        try:
            if self._filling.linked:
                try:
                    os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
                except OSError as error:
                    if error.errno == errno.EMLINK:
                        raise _TooManyLinksError from error
                    if error.errno not in _NO_LINK:
                        raise
                else:
                    return
            _copy(source, name, parent, base, entry)
            if self._filling.linked:
                seal_file(entry, base, parent, self._filling.mode)
                self._own += entry.size
            else:
                date_file(entry, base, parent)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(error, f"write {quote_path(entry.path)}") from error


def _offer(parent: int, name: bytes, files: int, path: bytes) -> bool:
    """Let the sealed file *name* be the cached file *path* too, in place of a damaged one; tell whether that can be."""
    for _ in range(_ATTEMPTS):
        try:
            os.link(name, path, src_dir_fd=parent, dst_dir_fd=files, follow_symlinks=False)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(path.rpartition(b"/")[0], dir_fd=files)
        except FileExistsError:
            # What is there was not sound a moment ago; or somebody else has written it meanwhile, and loses a link.
            _discard(files, path)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise storage_error(error, "write to the cache") from error
            return False
        else:
            return True
    return False


def _discard(files: int, path: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path, dir_fd=files)


def _copy(source: int, name: bytes, target: int, base: bytes, entry: Entry) -> None:
    """Copy a cached file, by a reflink where the filesystem has it."""
    mode = 0o777 if entry.kind == EntryKind.EXECUTABLE else 0o666
    original = os.open(name, _READ, dir_fd=source)
    try:
        copy = os.open(base, _NEW, mode, dir_fd=target)
        try:
            _copy_bytes(original, copy, entry.size)
        except BaseException:
            os.unlink(base, dir_fd=target)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _copy_bytes(original: int, copy: int, size: int) -> None:
    try:
        share_blocks(original, copy)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
    else:
        return
    left = size
    while left > 0:
        piece = memoryview(os.read(original, min(left, 1 << 20)))
        if not piece:
            raise OSError(errno.EIO, "the cached file became shorter")
        left -= len(piece)
        while piece:
            piece = piece[os.write(copy, piece) :]
