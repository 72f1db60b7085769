"""Filling a folder with files: as links to files of the user's cache, or as copies of its own.

The unit of work is a function from a batch of entries to what is still missing, with nothing shared. What the cache
lacks is written beside it, from verified objects; linked into the tree; and only then renamed into the cache, so that
nobody who looks for files without a second link ever takes one that is about to be used.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from dsvc.datasets.cached_file import cached_name, date_file, is_as_written, is_sealed, seal_file
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import Progress
from dsvc.storage.local import storage_error
from dsvc.worktree.folders import Folders
from dsvc.worktree.ingest import LARGE_FILE
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
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE: Final = 0x40049409
# The system lets nobody link to what is another's; or the filesystem has no links.
_NO_LINK: Final = (errno.EPERM, errno.EACCES, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_REFLINK: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS)


class _TooManyLinksError(Exception):
    """A file has as many links as the filesystem allows."""


class Filling(msgspec.Struct, frozen=True):
    """What all batches for one folder have in common.

    *objects* is where what the cache lacks is read from; without it, that is left out. If *linked*, files are read-only
    links to those of the *cache*, else writable and the folder's own. *mode* are the permissions that a new folder has.
    """

    cache: str
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
        batches = list(_batches([entry for entry in entries if entry.size < LARGE_FILE]))
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


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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
        self._cache = UserCache(Path(filling.cache))
        self._own = 0

    def fill(self) -> _Filled:
        """Do it."""
        numbers_of: dict[bytes, list[int]] = {}
        for number, entry in enumerate(self._entries):
            numbers_of.setdefault(cached_name(entry), []).append(number)
        with Folders(self._cache.files) as cached, Folders(self._filling.target) as target:
            taken = ((name, self._take(cached, target, name, numbers)) for name, numbers in numbers_of.items())
            lacking = {name: rest for name, rest in taken if rest}
            if self._filling.objects is not None and lacking:
                add = self._add if self._filling.linked else self._make
                for name in add(self._filling.objects, cached, target, lacking):
                    del lacking[name]
        return _Filled([number for rest in lacking.values() for number in rest], self._own)

    def _take(self, cached: Folders, target: Folders, name: bytes, numbers: Sequence[int]) -> Sequence[int]:
        """Let the entries *numbers* be the cached file *name*; return for which of them that was not to be had."""
        try:
            folder = cached.open(name[:2])
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return numbers
        first = self._entries[numbers[0]]
        if not is_as_written(first, status):
            return numbers
        if self._filling.linked and not is_sealed(first, status):
            seal_file(first, name, folder, self._filling.mode)
        for position, number in enumerate(numbers):
            try:
                self._place(folder, name, target, self._entries[number])
            except FileNotFoundError:
                # Somebody makes room just now.
                return numbers[position:]
            except _TooManyLinksError:
                # ext4 ends at 65,000 links to one file: another takes its place.
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                return numbers[position:]
        return ()

    def _make(
        self, objects: StoredObjects, cached: Folders, target: Folders, lacking: Mapping[bytes, Sequence[int]]
    ) -> list[bytes]:
        """Write the files that are *lacking*, by their names in the cache, where they belong; return which it made."""
        del cached
        some = [self._entries[number] for numbers in lacking.values() for number in numbers]
        made = self._write(objects, self._filling.target, some)
        for entry in made:
            folder, _, name = entry.path.rpartition(b"/")
            date_file(entry, name, target.open(folder))
        return list(dict.fromkeys(map(cached_name, made)))

    def _add(
        self, objects: StoredObjects, cached: Folders, target: Folders, lacking: Mapping[bytes, Sequence[int]]
    ) -> list[bytes]:
        """Write the files that are *lacking* beside the cache, link to them, and add them; return which were made."""
        staging = self._cache.temporary()
        staging.mkdir()
        try:
            firsts = [self._entries[numbers[0]] for numbers in lacking.values()]
            staged = [Entry(cached_name(one), one.kind, one.size, one.digest, one.blob) for one in firsts]
            made = self._write(objects, os.fsencode(staging), staged)
            with Folders(os.fsencode(staging)) as folders:
                here = folders.open(b"")
                for entry in made:
                    name = entry.path
                    seal_file(entry, name, here, self._filling.mode)
                    for number in lacking[name]:
                        self._place(here, name, target, self._entries[number])
                    os.rename(name, name, src_dir_fd=here, dst_dir_fd=cached.open(name[:2], make=True))
            return [entry.path for entry in made]
        except OSError as error:
            raise storage_error(error, f"write to the cache {self._cache.root}") from error
        finally:
            remove_folder(staging)

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
        fcntl.ioctl(copy, _FICLONE, original)
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
