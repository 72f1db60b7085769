"""Writing files from objects.

The unit of work is a function from a batch of entries to their fingerprints, with nothing shared, as
in `ingest`. A file appears at a name where nothing is, or replaces another in one step; each
byte was verified against the id that the commit reaches, and a file of several chunks against its digest.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.model.ids import Kind, ObjectMismatchError
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import chunks_of
from dsvc.odb.database import ObjectDatabase
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.worktree.folders import Folders, temporary_name
from dsvc.worktree.scan import found_from_stat

__all__ = ["ItemBatch", "MaterialiseJob", "Written", "materialise_batch", "object_database", "write_large"]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Entry])

_TEMPORARY: Final = b".dsvc/tmp"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# About 5 MiB of chunks: one read of a pack, and little memory.
_GROUP: Final = 16

Buffer = bytes | bytearray | memoryview


class MaterialiseJob(msgspec.Struct, frozen=True):
    """What every batch of one checkout has in common; small, and fit to be sent to another process."""

    root: bytes
    store: str
    packs: tuple[str, ...]
    segments: tuple[str, ...]


class ItemBatch:
    """Entries to be written by one worker at one go, each with whether something at its path is to be replaced."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[tuple[Entry, bool]]) -> None:
        self.items = items

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Encoded: a tenth of the time that another process takes to be sent each entry by itself.
        entries, flags = zip(*self.items, strict=True)
        return _items_of, (_encoder.encode(entries), bytes(flags))


def _items_of(entries: bytes, flags: bytes) -> ItemBatch:
    return ItemBatch(list(zip(_decoder.decode(entries), map(bool, flags), strict=True)))


class Written(msgspec.Struct, frozen=True):
    """What became of a batch: a fingerprint for each entry, in order, and the youngest change in ns."""

    fingerprints: list[bytes]
    changed: list[int]


@lru_cache(maxsize=1)
def object_database(job: MaterialiseJob) -> ObjectDatabase:
    """Return the database of *job*: opened once, before processes are forked."""
    backend = LocalBackend(Path(job.store))
    return ObjectDatabase(backend, packs=job.packs, segments=job.segments)


def materialise_batch(job: MaterialiseJob, batch: ItemBatch) -> Written:
    """Write the files of *batch*; the flag tells that something may be at the path, to be replaced.

    Raises:
        CorruptionError: An object is damaged or missing; that file is not written.
        StorageError: The system refuses.
    """
    objects = object_database(job)
    status: dict[bytes, os.stat_result] = {}
    waiting: dict[bytes, list[tuple[Entry, bool]]] = {}
    with Folders(job.root) as folders:
        for entry, replace in batch.items:
            if entry.blob is not None:
                status[entry.path] = _write(folders, entry, _content(objects, entry), replace=replace)
            elif entry.size == 0:
                status[entry.path] = _write(folders, entry, iter(()), replace=replace)
            else:
                waiting.setdefault(entry.digest, []).append((entry, replace))
        for digest, data in objects.stream(Kind.CHUNK, waiting):
            for entry, replace in waiting[digest]:
                status[entry.path] = _write(folders, entry, iter((data,)), replace=replace)
    seen = [found_from_stat(entry.path, status[entry.path]) for entry, _ in batch.items]
    return Written([found.fingerprint for found in seen], [found.changed for found in seen])


def _content(objects: ObjectDatabase, entry: Entry) -> Iterator[Buffer]:
    """Yield the verified content of a file of several chunks; the last piece only if all of it is right."""
    hasher = blake3()
    for item in chunks_of(objects, entry.blob or b"", entry.size):
        data = objects.read(Kind.CHUNK, item.id)
        hasher.update(data)
        yield data
    if hasher.digest() != entry.digest:
        raise ObjectMismatchError(entry.blob or b"", quote_path(entry.path))


def _write(folders: Folders, entry: Entry, content: Iterator[Buffer], *, replace: bool) -> os.stat_result:
    try:
        return _write_file(folders, entry, content, replace=replace)
    except OSError as error:
        raise storage_error(error, f"write {quote_path(entry.path)}") from error


def _write_file(folders: Folders, entry: Entry, content: Iterator[Buffer], *, replace: bool) -> os.stat_result:
    folder, _, name = entry.path.rpartition(b"/")
    parent = folders.open(folder, make=True)
    if entry.kind == EntryKind.SYMLINK:
        return _write_symlink(parent, name, b"".join(content), replace=replace)
    mode = 0o777 if entry.kind == EntryKind.EXECUTABLE else 0o666
    # A new name is written in place: what a crash leaves there is the beginning of the file, and known for it.
    target, target_folder = name, parent
    if replace:
        target, target_folder = temporary_name(), folders.open(_TEMPORARY, make=True)
        parent = folders.open(folder)
    descriptor = os.open(target, _NEW, mode, dir_fd=target_folder)
    try:
        try:
            length = 0
            for data in content:
                length += len(data)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            if length != entry.size:
                raise ObjectMismatchError(entry.blob or entry.digest, quote_path(entry.path))
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            os.rename(target, name, src_dir_fd=target_folder, dst_dir_fd=parent)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except BaseException:
        os.unlink(target, dir_fd=target_folder)
        raise
    return status


def _write_symlink(parent: int, name: bytes, target: bytes, *, replace: bool) -> os.stat_result:
    if replace:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
    os.symlink(target, name, dir_fd=parent)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def write_large(
    objects: ObjectDatabase, folders: Folders, entry: Entry, *, replace: bool, threads: int
) -> os.stat_result:
    """Write one file of many chunks: other threads read and decompress while this one hashes and writes."""
    with ThreadPoolExecutor(threads) as pool:
        return _write(folders, entry, _content_ahead(objects, entry, pool, threads), replace=replace)


def _chunks(objects: ObjectDatabase, ids: list[bytes]) -> list[Buffer]:
    """Return verified chunks, in the order of *ids*, without copying them."""
    found = dict(objects.stream(Kind.CHUNK, ids))
    return [found[chunk_id] for chunk_id in ids]


def _content_ahead(objects: ObjectDatabase, entry: Entry, pool: ThreadPoolExecutor, threads: int) -> Iterator[Buffer]:
    """Yield what `_content` does, a few groups of chunks ahead; memory is bounded by the window."""
    chunks = [item.id for item in chunks_of(objects, entry.blob or b"", entry.size)]
    groups = iter([chunks[start : start + _GROUP] for start in range(0, len(chunks), _GROUP)])
    hasher = blake3()
    window = deque(pool.submit(_chunks, objects, group) for group in islice(groups, threads + 1))
    while window:
        parts = window.popleft().result()
        window.extend(pool.submit(_chunks, objects, group) for group in islice(groups, 1))
        for data in parts:
            hasher.update(data)
            yield data
    if hasher.digest() != entry.digest:
        raise ObjectMismatchError(entry.blob or b"", quote_path(entry.path))
