"""Reading files into packs: read, cut, hash, look up, compress, pack.

The unit of work is a function from a batch of files to (sealed packs, results), with nothing
shared: it runs in this process, in a pool, or on a cluster through any Executor, unchanged.
Files of many chunks are worth several threads each and go through `large_file` instead.
Nothing here is part of the repository before a transaction names the packs.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.chunking.fastcdc import MIN_CHUNK, Cutter
from dsvc.errors import BusyError
from dsvc.model.ids import Kind
from dsvc.model.paths import quote_path
from dsvc.model.tree import EMPTY_FOLDER_DIGEST, Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import SealedPack
from dsvc.odb.writer import PackSet
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.worktree.scan import Found, UnsupportedFileError, fingerprint, found_from_stat

__all__ = [
    "LARGE_FILE",
    "Batch",
    "BatchResult",
    "FileChangingError",
    "IngestJob",
    "discard_batch",
    "ingest_batch",
    "make_entry",
    "prepare",
]

LARGE_FILE: Final = 16 * 1024 * 1024
_BATCH_FILES: Final = 4096
_BATCH_BYTES: Final = 64 * 1024 * 1024
_ATTEMPTS: Final = 3
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class FileChangingError(BusyError):
    """A file was written to each time it was read."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} changes while it is read")
        self.path = path


class IngestJob(msgspec.Struct, frozen=True):
    """What every batch of one `add` has in common; small, and fit to be sent to another process."""

    root: bytes
    store: str
    packs: tuple[str, ...]
    segments: tuple[str, ...]
    generation: int


class BatchResult(msgspec.Struct):
    """What became of a batch: digests (32 bytes each) in its order, and what is not the rule.

    *blobs* holds the encoded blobs by the file's place in the batch, outermost last; *changed* what a
    file that had changed since the scan looks like now. *gone* are the places of files that are no more.
    """

    digests: bytes = b""
    blobs: dict[int, list[bytes]] = {}
    changed: dict[int, Found] = {}
    gone: list[int] = []
    packs: list[SealedPack] = []


@lru_cache(maxsize=1)
def _known_objects(job: IngestJob) -> ObjectDatabase:
    backend = LocalBackend(Path(job.store))
    return ObjectDatabase(backend, packs=job.packs, segments=job.segments)


def prepare(job: IngestJob) -> None:
    """Open the index before processes are forked that would each open it."""
    _known_objects(job)


class Batch:
    """Files to be read by one worker at one go, of bounded count and bytes."""

    __slots__ = ("_size", "files")

    def __init__(self, files: Sequence[Found] = ()) -> None:
        self.files = list(files)
        self._size = 0

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # As columns: a fifth of the time that another process takes to be sent each file by itself.
        return _batch_of, (list(zip(*self.files, strict=True)),)

    def append(self, found: Found) -> bool:
        """Add a file; tell whether it is time to read them."""
        self.files.append(found)
        self._size += found.size
        return len(self.files) >= _BATCH_FILES or self._size >= _BATCH_BYTES


def _batch_of(columns: Sequence[Sequence[object]]) -> Batch:
    return Batch(list(map(Found._make, zip(*columns, strict=True))))


def ingest_batch(job: IngestJob, batch: Batch) -> BatchResult:
    """Store the content of the files and symlinks of *batch*.

    Raises:
        FileChangingError: A file was written to each time it was read.
        StorageError: A file cannot be read, or a pack not be written.
    """
    known = _known_objects(job)
    backend = LocalBackend(Path(job.store))
    packs = PackSet(backend.temporary, job.generation)
    try:
        return _Batch(job, known, packs).run(batch.files)
    except BaseException:
        packs.discard()
        raise


class _Batch:
    """One run of `ingest_batch`."""

    def __init__(self, job: IngestJob, known: ObjectDatabase, packs: PackSet) -> None:
        self._prefix = os.path.join(job.root, b"")
        self._known = None if known.is_empty else known
        self._packs = packs
        self._cutter = Cutter()
        self._result = BatchResult()

    def run(self, batch: Sequence[Found]) -> BatchResult:
        result = self._result
        digests: list[bytes] = []
        for place, found in enumerate(batch):
            content = self._read(place, found)
            digest = b""
            if content is not None:
                digest = blake3(content).digest()
                size = len(content)
                if size > MIN_CHUNK:
                    self._store_chunks(place, content, digest)
                elif size:
                    self._store(digest, content)
            digests.append(digest or bytes(32))
        result.digests = b"".join(digests)
        result.packs = self._packs.finish()
        return result

    def _store(self, chunk_id: bytes, data: bytes | memoryview) -> None:
        packs = self._packs
        if chunk_id not in packs and (self._known is None or chunk_id not in self._known):
            packs.add(Kind.CHUNK, chunk_id, data)

    def _store_chunks(self, place: int, content: bytes, digest: bytes) -> None:
        ends = self._cutter.cut(content, final=True)
        if len(ends) == 1:
            self._store(digest, content)
            return
        view = memoryview(content)
        builder = BlobBuilder()
        start = 0
        for end in ends:
            chunk = view[start:end]
            chunk_id = blake3(chunk).digest()
            self._store(chunk_id, chunk)
            builder.add(chunk_id, end - start)
            start = end
        self._result.blobs[place] = builder.finish()

    def _read(self, place: int, found: Found) -> bytes | None:
        """Return content that was the file's whole content at one moment, None if it is gone."""
        path = self._prefix + found.path
        try:
            content, status = _read_once(path, found)
            if len(content) == found.size and fingerprint(status) == found.fingerprint:
                return content
            return self._read_again(place, path, found_from_stat(found.path, status))
        except FileNotFoundError:
            self._result.gone.append(place)
            return None
        except OSError as error:
            raise storage_error(error, f"read {quote_path(found.path)}") from error

    def _read_again(self, place: int, path: bytes, found: Found) -> bytes:
        """Read a file that is not what it was: it counts once it stays the same for a whole reading."""
        for _ in range(_ATTEMPTS):
            if not found.is_content or found.size >= 4 * LARGE_FILE:
                break
            content, status = _read_once(path, found)
            now = found_from_stat(found.path, status)
            if len(content) == now.size and now.fingerprint == found.fingerprint:
                self._result.changed[place] = now
                return content
            found = now
        raise FileChangingError(found.path)


def _read_once(path: bytes, found: Found) -> tuple[bytes, os.stat_result]:
    """Return content of at most one byte more than expected, and the stat after it was read."""
    if found.kind == EntryKind.SYMLINK:
        return os.readlink(path), os.lstat(path)
    descriptor = os.open(path, _FLAGS)
    try:
        content = os.read(descriptor, found.size + 1)
        if len(content) < found.size:
            # A signal may cut a read short.
            while part := os.read(descriptor, found.size + 1 - len(content)):
                content += part
        return content, os.fstat(descriptor)
    finally:
        os.close(descriptor)


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
