"""Reading files into packs: read, cut, hash, look up, compress, pack.

The unit of work is a function from a batch of files to (sealed packs, results), with nothing
shared: it runs in this process, in a pool, or on a cluster through any Executor, unchanged.
Files of many chunks are worth several threads each and go through `large_file` instead.
Nothing here is part of the repository before a transaction names the packs.
"""

import errno
import mmap
import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.chunking.fastcdc import MIN_CHUNK, Cutter
from dsvc.errors import BusyError
from dsvc.model.ids import Kind, hash_object
from dsvc.model.paths import quote_path
from dsvc.model.tree import EMPTY_FOLDER_DIGEST, Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import SealedPack
from dsvc.odb.writer import PackSet
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.worktree.scan import Found, UnsupportedFileError, fingerprint, found_from_stat
from dsvc.worktree.stat_cache import Row, pack_row
from dsvc.worktree.stat_runs import Run, pack_runs

__all__ = [
    "BATCH_FILES",
    "LARGE_FILE",
    "BatchResult",
    "FileChangingError",
    "IngestJob",
    "discard_batch",
    "ingest_batch",
    "make_entry",
    "prepare",
    "unpack_entries",
]

LARGE_FILE: Final = 16 * 1024 * 1024
BATCH_FILES: Final = 4096
_BATCH_BYTES: Final = 64 * 1024 * 1024
_HEAD: Final = 256 * 1024
_ATTEMPTS: Final = 3
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
# What systems say of a symlink that is not to be followed.
_IS_LINK: Final = (errno.ELOOP, errno.EMLINK)
_TYPE: Final = 0o170000
_REGULAR: Final = stat.S_IFREG


class FileChangingError(BusyError):
    """A file was written to each time it was read."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} changes while it is read")
        self.path = path


class IngestJob(msgspec.Struct, frozen=True):
    """What every batch of one `add` has in common; small, and fit to be sent to another process.

    *checked* is a moment before anything was read, on the clock of the filesystem *device*.
    """

    root: bytes
    store: str
    packs: tuple[str, ...]
    segments: tuple[str, ...]
    generation: int
    checked: int
    device: int


class BatchResult(msgspec.Struct):
    """What became of the first *done* paths of a batch; the others would have made it too large.

    *entries* and *rows* are packed, so that for each file nothing is done in the one process that
    all others wait for. *blobs* are encoded ones to be stored. *large* files were left alone, and
    *gone* are paths where nothing is any more.
    """

    done: int = 0
    entries: bytes = b""
    rows: list[Run] = []
    blobs: list[bytes] = []
    large: list[Found] = []
    gone: list[bytes] = []
    packs: list[SealedPack] = []


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Entry])


def unpack_entries(packed: bytes) -> list[Entry]:
    """Return the entries of a BatchResult."""
    return _decoder.decode(packed)


@lru_cache(maxsize=1)
def _known_objects(job: IngestJob) -> ObjectDatabase:
    backend = LocalBackend(Path(job.store))
    return ObjectDatabase(backend, packs=job.packs, segments=job.segments)


def prepare(job: IngestJob) -> None:
    """Open the index before processes are forked that would each open it."""
    _known_objects(job)


def ingest_batch(job: IngestJob, paths: Sequence[bytes]) -> BatchResult:
    """Store the content of the files and symlinks at *paths*.

    Raises:
        FileChangingError: A file was written to each time it was read.
        StorageError: A file cannot be read, or a pack not be written.
    """
    known = _known_objects(job)
    backend = LocalBackend(Path(job.store))
    packs = PackSet(backend.temporary, job.generation)
    try:
        return _Batch(job, known, packs).run(paths)
    except BaseException:
        packs.discard()
        raise


class _Batch:
    """One run of `ingest_batch`."""

    def __init__(self, job: IngestJob, known: ObjectDatabase, packs: PackSet) -> None:
        self._prefix = os.path.join(job.root, b"")
        self._checked = job.checked
        self._device = job.device
        self._known = None if known.is_empty else known
        self._packs = packs
        self._cutter = Cutter()
        self._result = BatchResult()
        # Used again for each file; of a large one, only what is written to takes memory.
        self._buffer = memoryview(mmap.mmap(-1, LARGE_FILE))
        self._head = self._buffer[:_HEAD]
        self._entries: list[Entry] = []
        self._rows: list[Row] = []

    def run(self, paths: Sequence[bytes]) -> BatchResult:
        result = self._result
        size = 0
        for path in paths:
            try:
                size += self._take(path)
            except FileNotFoundError:
                result.gone.append(path)
            except OSError as error:
                raise storage_error(error, f"read {quote_path(path)}") from error
            result.done += 1
            if size >= _BATCH_BYTES:
                break
        result.entries = _encoder.encode(self._entries)
        # What was too much for another batch comes behind later paths.
        self._rows.sort()
        result.rows = pack_runs(self._rows)
        result.packs = self._packs.finish()
        return result

    def _take(self, path: bytes) -> int:
        """Store what is at *path* and return its size."""
        try:
            descriptor = os.open(self._prefix + path, _FLAGS)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            return self._take_link(path)
        try:
            length = os.readv(descriptor, [self._head])
            if length == _HEAD:
                length = self._read_rest(descriptor)
            status = os.fstat(descriptor)
            mode = status.st_mode
            # Nobody wrote to it since before it was read, so it was the same all the time. What is mounted
            # in the worktree may have another clock, and proves nothing.
            if (
                length == status.st_size < LARGE_FILE
                and status.st_mtime_ns < self._checked > status.st_ctime_ns
                and status.st_dev == self._device
                and mode & _TYPE == _REGULAR
            ):
                kind = EntryKind.EXECUTABLE if mode & 0o100 else EntryKind.FILE
                self._store(path, kind, self._buffer[:length], fingerprint(status))
                return length
            return self._read_again(path, descriptor, status)
        finally:
            os.close(descriptor)

    def _read_again(self, path: bytes, descriptor: int, status: os.stat_result) -> int:
        """Read a file that may just be written to: it counts once it stays the same for a whole reading."""
        for _ in range(_ATTEMPTS):
            found = found_from_stat(path, status)
            if not found.is_content:
                break
            if found.size >= LARGE_FILE:
                self._result.large.append(found)
                return 0
            length = self._read(descriptor, found.size + 1)
            status = os.fstat(descriptor)
            if length == found.size and fingerprint(status) == found.fingerprint:
                print_ = found.fingerprint if found.changed < self._checked else b""
                self._store(path, found.kind, self._buffer[:length], print_)
                return length
        raise FileChangingError(path)

    def _read_rest(self, descriptor: int) -> int:
        """Read what is behind the head of a file, unless it is a large one; return the length of what was read."""
        size = os.fstat(descriptor).st_size
        return _HEAD if size >= LARGE_FILE else self._read(descriptor, size + 1, _HEAD)

    def _read(self, descriptor: int, most: int, length: int = 0) -> int:
        """Read a file up to *most* bytes, of which *length* are there; return how many there were."""
        # A signal may cut a read short.
        while length < most and (count := os.preadv(descriptor, [self._buffer[length:most]], length)):
            length += count
        return length

    def _take_link(self, path: bytes) -> int:
        absolute = self._prefix + path
        for _ in range(_ATTEMPTS):
            found = found_from_stat(path, os.lstat(absolute))
            if not found.is_content:
                break
            target = os.readlink(absolute)
            if fingerprint(os.lstat(absolute)) == found.fingerprint:
                self._store(path, found.kind, target, found.fingerprint if found.changed < self._checked else b"")
                return len(target)
        raise FileChangingError(path)

    def _store(self, path: bytes, kind: int, content: bytes | memoryview, print_: bytes) -> None:
        size = len(content)
        digest = blake3(content).digest()
        blob = None
        if size > MIN_CHUNK:
            blob = self._store_chunks(content, digest)
        elif size:
            self._store_chunk(digest, content)
        entry = Entry(path, kind, size, digest, blob)
        self._entries.append(entry)
        self._rows.append(pack_row(entry, print_))

    def _store_chunk(self, chunk_id: bytes, data: bytes | memoryview) -> None:
        packs = self._packs
        if chunk_id not in packs and (self._known is None or chunk_id not in self._known):
            packs.add(Kind.CHUNK, chunk_id, data)

    def _store_chunks(self, content: bytes | memoryview, digest: bytes) -> bytes | None:
        """Store content that may be of several chunks, and return the id of its blob if it is."""
        ends = self._cutter.cut(content, final=True)
        if len(ends) == 1:
            self._store_chunk(digest, content)
            return None
        view = memoryview(content)
        builder = BlobBuilder()
        start = 0
        for end in ends:
            chunk = view[start:end]
            chunk_id = blake3(chunk).digest()
            self._store_chunk(chunk_id, chunk)
            builder.add(chunk_id, end - start)
            start = end
        blobs = builder.finish()
        self._result.blobs += blobs
        return bytes(hash_object(Kind.BLOB, blobs[-1]))


def discard_batch(result: BatchResult) -> None:
    """Remove the packs of a batch that nobody will name."""
    for pack in result.packs:
        pack.path.unlink(missing_ok=True)


def make_entry(found: Found) -> Entry:
    """Return the entry of an empty folder.

    Raises:
        UnsupportedFileError: It is none.
    """
    if found.kind != EntryKind.FOLDER:
        raise UnsupportedFileError(found.path, found.mode)
    return Entry(found.path, EntryKind.FOLDER, 0, EMPTY_FOLDER_DIGEST)
