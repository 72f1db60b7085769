"""Reading the files of one `add` while they are still being found.

Each file is given as soon as the scan meets it; full batches are read at once, by other processes
where there are several, so that scanning, reading and taking note go on side by side and a million files
are never held in memory. Nothing is staged here: that is one step at the end.
"""

import os
from collections import deque
from collections.abc import Iterator
from struct import Struct
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from dsvc.model.ids import Kind
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import chunks_of
from dsvc.odb.pack import SealedPack
from dsvc.odb.writer import DatabaseWriter
from dsvc.progress import Progress
from dsvc.worktree.ingest import (
    LARGE_FILE,
    Batch,
    BatchResult,
    IngestJob,
    discard_batch,
    ingest_batch,
    make_entry,
    prepare,
)
from dsvc.worktree.large_file import LargeFileReader
from dsvc.worktree.scan import Found
from dsvc.worktree.stat_cache import pack_row
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from dsvc.worktree.stage import Edit

__all__ = ["Addition"]

# How many batches may be under way: the scan runs ahead, so that the end is in sight, but not without bound.
_AHEAD: Final = 32

_DIGEST: Final = Struct("32s")

_Running = tuple[list[Found], "Future[BatchResult]"]


class Addition:
    """The files of one `add`. Leaving the block gives up whatever was not staged by then."""

    def __init__(self, worktree: Worktree, writer: DatabaseWriter, workers: Workers, progress: Progress) -> None:
        self.edits: list[Edit] = []
        self.known = 0
        self.files = 0
        self.size = 0
        self.raw = 0
        self.stored = 0
        self._worktree = worktree
        self._writer = writer
        self._workers = workers
        self._progress = progress
        self._staged: dict[bytes, Entry] = {}
        self._large: list[Found] = []
        self._batch = Batch()
        self._running: deque[_Running] = deque()
        self._pool: Executor | None = None
        worktree.tidy()
        # What is younger than this when it is read could change again unseen.
        self._checked = worktree.clock()
        state = worktree.store.log.head()
        self._job = IngestJob(
            worktree.root_bytes,
            os.fspath(worktree.store.files.root),
            tuple(sorted(state.packs)),
            tuple(sorted(state.segments)),
            state.last_sweep,
        )

    def __enter__(self) -> Self:
        self._worktree.stat_cache.forget_gathered()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            _, future = self._running.popleft()
            if not future.cancel() and future.exception() is None:
                discard_batch(future.result())
        if self._pool is not None:
            self._pool.shutdown()
        if error is not None:
            self._writer.discard()
        self._worktree.stat_cache.forget_gathered()

    def append(self, found: Found, staged: Entry | None) -> None:
        """Read *found* now or soon; *staged* is its entry so far."""
        if staged is not None:
            self._staged[found.path] = staged
        if found.kind > EntryKind.SYMLINK:
            self._take([(found, make_entry(found))])
        elif found.size >= LARGE_FILE:
            self._large.append(found)
        elif self._batch.append(found):
            self._submit()

    def _submit(self) -> None:
        batch, self._batch = self._batch, Batch()
        if self._pool is None:
            prepare(self._job)
            if self._workers.pool is None or self._workers.jobs < 2:
                self._finish_batch(batch.files, ingest_batch(self._job, batch))
                return
            self._pool = self._workers.pool(self._workers.jobs)
        self._running.append((batch.files, self._pool.submit(ingest_batch, self._job, batch)))
        while self._running and (len(self._running) >= _AHEAD or self._running[0][1].done()):
            self._collect()

    def _collect(self) -> None:
        files, future = self._running[0]
        result = future.result()
        self._running.popleft()
        self._finish_batch(files, result)

    def finish(self) -> None:
        """Read what is left, and wait until all is stored in packs."""
        if self._batch.files:
            if self._pool is None:
                prepare(self._job)
                self._finish_batch(self._batch.files, ingest_batch(self._job, self._batch))
            else:
                self._submit()
        while self._running:
            self._collect()
        if self._large:
            self._read_large()

    def _finish_batch(self, files: list[Found], result: BatchResult) -> None:
        self._adopt(result.packs)
        self._progress.advance(files=len(files), size=sum([found.size for found in files]))
        if result.blobs or result.changed or result.gone:
            self._take(list(self._entries(files, result)))
            return
        # The rule, and nothing called for each file: this thread is what the others wait for.
        digests = _DIGEST.iter_unpack(result.digests)
        self._take(
            [
                (found, Entry(found.path, found.kind, found.size, digest))
                for found, (digest,) in zip(files, digests, strict=True)
            ]
        )

    def _adopt(self, packs: list[SealedPack]) -> None:
        self._writer.take(packs)
        self.raw += sum(pack.raw_length for pack in packs)
        self.stored += sum(pack.length for pack in packs)

    def _entries(self, files: list[Found], result: BatchResult) -> Iterator[tuple[Found, Entry]]:
        digests, blobs, changed = result.digests, result.blobs, result.changed
        gone = set(result.gone)
        for place, scanned in enumerate(files):
            if place in gone:
                # It was there when its folder was read.
                if scanned.path in self._staged:
                    self._edit(scanned.path, None)
                continue
            found = changed.get(place, scanned) if changed else scanned
            blob = self._write_blobs(blobs[place]) if place in blobs else None
            digest = digests[32 * place : 32 * place + 32]
            yield found, Entry(found.path, found.kind, found.size, digest, blob)

    def _write_blobs(self, blobs: list[bytes]) -> bytes | None:
        blob_id: bytes | None = None
        for data in blobs:
            blob_id = bytes(self._writer.write(Kind.BLOB, data))
        return blob_id

    def _take(self, entries: list[tuple[Found, Entry]]) -> None:
        """Count, stage and note files that were read."""
        self.files += len(entries)
        self.size += sum([entry.size for _, entry in entries])
        if self._staged:
            for _, entry in entries:
                if self._staged.get(entry.path) != entry:
                    self._edit(entry.path, entry)
        else:
            self.edits += [(entry.path, entry) for _, entry in entries]
        checked = self._checked
        self._worktree.stat_cache.gather(
            [pack_row(entry, found.fingerprint if found.changed < checked else b"") for found, entry in entries]
        )

    def _edit(self, path: bytes, entry: Entry | None) -> None:
        self.edits.append((path, entry))
        self.known += path in self._staged

    def _read_large(self) -> None:
        store = self._worktree.store
        reader = LargeFileReader(store.files, store.objects, self._job.generation, threads=self._workers.jobs)
        try:
            for scanned in self._large:
                staged = self._staged.get(scanned.path)
                expected = (
                    list(chunks_of(store.objects, staged.blob, staged.size))
                    if staged is not None and staged.blob is not None
                    else []
                )
                found, digest, blobs = reader.read(self._worktree.root_bytes, scanned, self._progress, expected)
                self._progress.advance(files=1)
                entry = Entry(found.path, found.kind, found.size, digest, self._write_blobs(blobs))
                self._take([(found, entry)])
            self._adopt(reader.finish())
        except BaseException:
            reader.discard()
            raise

    def remove(self, path: bytes) -> None:
        """Remove the staged *path*."""
        self.edits.append((path, None))
        self.known += 1
