"""Reading the files of one `add` while they are still being found.

Each file is given as soon as the scan meets it, and is not looked at before it is read; full batches
are read at once, by other processes where there are several, so that scanning, reading and taking
note go on side by side and a million files are never held in memory. Nothing is staged here: that is
one step at the end.
"""

import os
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from dsvc.history.extensions import read_extensions, write_extension
from dsvc.history.store import Store
from dsvc.model.ids import Kind
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import chunks_of
from dsvc.odb.pack import SealedPack
from dsvc.odb.writer import DatabaseWriter
from dsvc.progress import Progress
from dsvc.worktree.ingest import (
    BATCH_FILES,
    LARGE_FILE,
    BatchResult,
    IngestJob,
    discard_batch,
    ingest_batch,
    make_entry,
    prepare,
    unpack_entries,
)
from dsvc.worktree.large_file import LargeFileReader
from dsvc.worktree.scan import Found
from dsvc.worktree.stat_cache import Row, StatCache, pack_row
from dsvc.worktree.stat_runs import Run, pack_runs
from dsvc.worktree.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from dsvc.worktree.stage import Edit

__all__ = ["Addition", "Source"]

# How many batches may be under way: the scan runs ahead, so that the end is in sight, but not without bound.
_AHEAD: Final = 32


class Source(msgspec.Struct, frozen=True):
    """The folder *root* that files are read from, and the *cache* that takes note of what they look like.

    Only what is older than *checked* on the clock of its filesystem, which is *device*, is noted: what is younger
    when it is read could change again unseen.
    """

    root: bytes
    cache: StatCache
    checked: int
    device: int


_Running = tuple[list[bytes], "Future[BatchResult]"]


class Addition:
    """The files of one `add`. Leaving the block gives up whatever was not staged by then.

    *rows* are for the stat cache, besides those that it has gathered, and instead of them at the same paths.
    """

    def __init__(
        self, store: Store, source: Source, writer: DatabaseWriter, workers: Workers, progress: Progress
    ) -> None:
        self.edits: list[Edit] = []
        self.rows: list[Row] = []
        self.known = 0
        self.files = 0
        self.size = 0
        self.raw = 0
        self.stored = 0
        self._store = store
        self._source = source
        self._writer = writer
        self._workers = workers
        self._progress = progress
        self._staged: dict[bytes, Entry] = {}
        self._large: list[Found] = []
        self._batch: list[bytes] = []
        self._running: deque[_Running] = deque()
        self._pool: Executor | None = None
        state = store.log.head()
        self._job = IngestJob(
            source.root,
            os.fspath(store.files.root),
            tuple(sorted(state.packs)),
            tuple(sorted(state.segments)),
            state.last_sweep,
            source.checked,
            source.device,
        )

    def __enter__(self) -> Self:
        self._source.cache.forget_gathered()
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
        self._source.cache.forget_gathered()

    def append(self, found: Found, staged: Entry | None) -> None:
        """Read *found* now or soon; *staged* is its entry so far."""
        if staged is not None:
            self._staged[found.path] = staged
        if found.kind > EntryKind.SYMLINK:
            self._take_one(found, make_entry(found))
        elif found.size >= LARGE_FILE:
            self._large.append(found)
        else:
            self._batch.append(found.path)
            if len(self._batch) >= BATCH_FILES:
                batch, self._batch = self._batch, []
                self._submit(batch)

    def _submit(self, batch: list[bytes]) -> None:
        if self._pool is None and self._workers.pool is not None and self._workers.jobs > 1:
            prepare(self._job)
            self._pool = self._workers.pool(self._workers.jobs)
        if self._pool is None:
            self._read(batch)
        else:
            self._running.append((batch, self._pool.submit(ingest_batch, self._job, batch)))
        while self._running and (len(self._running) >= _AHEAD or self._running[0][1].done()):
            self._collect()

    def _read(self, batch: list[bytes]) -> None:
        # In this process: other ones are not worth starting for a few small files.
        prepare(self._job)
        self._finish_batch(batch, ingest_batch(self._job, batch))

    def _collect(self) -> None:
        batch, future = self._running[0]
        result = future.result()
        self._running.popleft()
        self._finish_batch(batch, result)

    def finish(self) -> None:
        """Read what is left, and wait until all is stored in packs."""
        if self._batch and self._pool is None:
            batch, self._batch = self._batch, []
            self._read(batch)
        while self._batch or self._running:
            if self._batch:
                # What was too much at once is for all of them.
                batch, self._batch = self._batch, []
                share = -(-len(batch) // self._workers.jobs)
                for start in range(0, len(batch), share):
                    self._submit(batch[start : start + share])
            else:
                self._collect()
        if self._pool is not None:
            # What follows takes the most memory, and has no work for them.
            self._pool.shutdown()
            self._pool = None
        if self._large:
            self._read_large()

    def _finish_batch(self, batch: list[bytes], result: BatchResult) -> None:
        self._adopt(result.packs)
        # What would have been too much at once.
        self._batch += batch[result.done :]
        for data in result.blobs:
            self._writer.write(Kind.BLOB, data)
        self._large += result.large
        for path in result.gone:
            # It was there when its folder was read.
            if path in self._staged:
                self._edit(path, None)
        entries = unpack_entries(result.entries)
        size = sum([entry.size for entry in entries])
        self._progress.advance(files=result.done - len(result.large), size=size)
        self._take(entries, size, result.rows)

    def _adopt(self, packs: list[SealedPack]) -> None:
        self._writer.take(packs)
        self.raw += sum(pack.raw_length for pack in packs)
        self.stored += sum(pack.length for pack in packs)

    def _write_blobs(self, blobs: list[bytes]) -> bytes | None:
        blob_id: bytes | None = None
        for data in blobs:
            blob_id = bytes(self._writer.write(Kind.BLOB, data))
        return blob_id

    def _take(self, entries: list[Entry], size: int, rows: list[Run]) -> None:
        """Count, stage and note files that were read."""
        self.files += len(entries)
        self.size += size
        if self._staged:
            for entry in entries:
                old = self._staged.get(entry.path)
                kept = entry if old is None or old.extension is None else self._extended(entry, old)
                if old != kept:
                    self._edit(entry.path, kept)
        else:
            self.edits += [(entry.path, entry) for entry in entries]
        self._source.cache.gather(rows)

    def _extended(self, entry: Entry, old: Entry) -> Entry:
        """Return *entry* with what people said of *old*, which was at its path."""
        extension = old.extension
        if old.kind == EntryKind.EXTERNAL:
            (said,) = read_extensions(self._store.objects, [old])
            extension = write_extension(self._writer, None, said.metadata)
        extended = msgspec.structs.replace(entry, extension=extension)
        self.rows.append(pack_row(extended, b""))
        return extended

    def _take_one(self, found: Found, entry: Entry) -> None:
        row = pack_row(entry, found.fingerprint if found.changed < self._source.checked else b"")
        self._take([entry], entry.size, pack_runs([row]))

    def _edit(self, path: bytes, entry: Entry | None) -> None:
        self.edits.append((path, entry))
        self.known += path in self._staged

    def _read_large(self) -> None:
        store = self._store
        self._progress.expect(
            files=self.files + len(self._large), size=self.size + sum(found.size for found in self._large)
        )
        reader = LargeFileReader(store.files, store.objects, self._job.generation, threads=self._workers.jobs)
        try:
            for scanned in self._large:
                staged = self._staged.get(scanned.path)
                expected = (
                    list(chunks_of(store.objects, staged.blob, staged.size))
                    if staged is not None and staged.blob is not None
                    else []
                )
                found, digest, blobs = reader.read(self._source.root, scanned, self._progress, expected)
                self._progress.advance(files=1)
                entry = Entry(found.path, found.kind, found.size, digest, self._write_blobs(blobs))
                self._take_one(found, entry)
            self._adopt(reader.finish())
        except BaseException:
            reader.discard()
            raise

    def remove(self, path: bytes) -> None:
        """Remove the staged *path*."""
        self.edits.append((path, None))
        self.known += 1
