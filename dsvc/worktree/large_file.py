"""Reading one large file with several threads.

This thread reads and cuts, one hashes the whole, the others hash, compress and pack the chunks, each
into packs of its own. Buffers go round: memory is bounded, and no page is touched for the first time
twice (fresh buffers halve the speed).

Where the file was stored before, its old chunks are expected first: a chunk that begins at a cut
point and whose bytes hash to the old id is the chunk that cutting would find, because where a
chunk ends depends on its own bytes only. Hashing is three times as fast as cutting.
"""

import os
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final

from blake3 import blake3

from dsvc.chunking.fastcdc import MAX_CHUNK, Cutter
from dsvc.model.blob import BlobItem
from dsvc.model.ids import Kind
from dsvc.model.paths import quote_path
from dsvc.odb.blob_writer import BlobBuilder
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import SealedPack
from dsvc.odb.writer import PackSet
from dsvc.progress import Progress
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.worktree.ingest import FileChangingError
from dsvc.worktree.scan import Found, found_from_stat

__all__ = ["LargeFileReader"]

_BUFFER: Final = 8 * 1024 * 1024
_ATTEMPTS: Final = 3
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class _Piece:
    """Part of a file in a buffer: whole chunks that end at *ends*, whose ids may be known already.

    The bytes from *fresh* to *filled* are new in this piece; what is before was in the last one.
    """

    __slots__ = ("buffer", "ends", "filled", "fresh", "hasher", "ids", "users")

    def __init__(self, buffer: bytearray, fresh: int, filled: int, hasher: blake3) -> None:
        self.buffer = buffer
        self.fresh = fresh
        self.filled = filled
        self.hasher = hasher
        self.ends: list[int] = []
        self.ids: list[bytes | None] = []
        self.users = 2


class LargeFileReader:
    """Reads files one after another into packs; `finish` ends its threads and seals the packs."""

    def __init__(self, backend: LocalBackend, known: ObjectDatabase, generation: int, *, threads: int) -> None:
        self._known = None if known.is_empty else known
        self._claimed: set[bytes] = set()
        self._lock = Lock()
        self._to_hash: SimpleQueue[_Piece | None] = SimpleQueue()
        self._to_pack: SimpleQueue[_Piece | None] = SimpleQueue()
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        self._failure: BaseException | None = None
        self._buffers = threads + 2
        for _ in range(self._buffers):
            self._free.put(bytearray(_BUFFER + MAX_CHUNK))
        self._sets = [PackSet(backend.temporary, generation) for _ in range(threads)]
        self._hasher = Thread(target=self._hash, daemon=True)
        self._packers = [Thread(target=self._pack, args=(packs,), daemon=True) for packs in self._sets]
        for thread in (self._hasher, *self._packers):
            thread.start()

    def read(
        self, root: bytes, found: Found, progress: Progress, expected: Sequence[BlobItem] = ()
    ) -> tuple[Found, bytes, list[bytes]]:
        """Store the content of a file; return what it looks like, its digest and its encoded blobs.

        *expected* are the chunks that it had when it was stored last.

        Raises:
            FileChangingError: It was written to each time it was read.
            StorageError: It cannot be read.
        """
        path = os.path.join(root, found.path)
        for _ in range(_ATTEMPTS):
            try:
                descriptor = os.open(path, _FLAGS)
                try:
                    before = found_from_stat(found.path, os.fstat(descriptor))
                    size, digest, builder = self._read_all(descriptor, before.size, progress, expected)
                    after = found_from_stat(found.path, os.fstat(descriptor))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise storage_error(error, f"read {quote_path(found.path)}") from error
            if before.fingerprint == after.fingerprint and size == after.size:
                return after, digest, builder.finish() if builder.count > 1 else []
        raise FileChangingError(found.path)

    def _read_all(
        self, descriptor: int, length: int, progress: Progress, expected: Sequence[BlobItem]
    ) -> tuple[int, bytes, BlobBuilder]:
        # At most one byte more than it should have: somebody may write as fast as we read.
        hasher = blake3()
        cutting = _Cutting(expected)
        pieces: list[_Piece] = []
        size = carried = 0
        buffer = self._buffer()
        final = False
        while not final:
            filled = _fill(descriptor, buffer, carried, length + 1 - size)
            final = filled < _BUFFER
            size += filled - carried
            progress.advance(size=filled - carried)
            piece = _Piece(buffer, carried, filled, hasher)
            self._to_hash.put(piece)
            for end, chunk_id in cutting.cut(memoryview(buffer)[:filled], final=final):
                piece.ends.append(end)
                piece.ids.append(chunk_id)
            pieces.append(piece)
            if not final:
                following = self._buffer()
                carried = filled - piece.ends[-1]
                following[:carried] = memoryview(buffer)[piece.ends[-1] : filled]
                buffer = following
            self._to_pack.put(piece)
        self._drain()
        return size, hasher.digest(), _blob_of(pieces)

    def _buffer(self) -> bytearray:
        buffer = self._free.get()
        if self._failure is not None:
            raise self._failure
        return buffer

    def _drain(self) -> None:
        """Wait until every piece is hashed and packed: then all buffers are free."""
        for buffer in [self._free.get() for _ in range(self._buffers)]:
            self._free.put(buffer)
        if self._failure is not None:
            raise self._failure

    def _done(self, piece: _Piece) -> None:
        with self._lock:
            piece.users -= 1
            is_free = not piece.users
        if is_free:
            self._free.put(piece.buffer)

    def _hash(self) -> None:
        while (piece := self._to_hash.get()) is not None:
            piece.hasher.update(memoryview(piece.buffer)[piece.fresh : piece.filled])
            self._done(piece)

    def _pack(self, packs: PackSet) -> None:
        while (piece := self._to_pack.get()) is not None:
            try:
                if self._failure is None:
                    self._pack_piece(packs, piece)
            except BaseException as error:  # noqa: BLE001 -- raised again where somebody can act
                self._failure = error
            self._done(piece)

    def _pack_piece(self, packs: PackSet, piece: _Piece) -> None:
        view = memoryview(piece.buffer)
        start = 0
        for number, end in enumerate(piece.ends):
            chunk = view[start:end]
            chunk_id = piece.ids[number]
            if chunk_id is None:
                chunk_id = piece.ids[number] = blake3(chunk).digest()
            with self._lock:
                is_new = chunk_id not in self._claimed and (self._known is None or chunk_id not in self._known)
                self._claimed.add(chunk_id)
            if is_new:
                packs.add(Kind.CHUNK, chunk_id, chunk)
            start = end

    def finish(self) -> list[SealedPack]:
        """End the threads and return the packs."""
        self._stop()
        return [pack for packs in self._sets for pack in packs.finish()]

    def discard(self) -> None:
        """End the threads and remove the packs."""
        self._stop()
        for packs in self._sets:
            packs.discard()

    def _stop(self) -> None:
        self._to_hash.put(None)
        for _ in self._packers:
            self._to_pack.put(None)
        for thread in (self._hasher, *self._packers):
            thread.join()
        self._packers = []


def _fill(descriptor: int, buffer: bytearray, start: int, most: int) -> int:
    """Read *most* bytes into *buffer* from *start* on; return how far it is filled: wholly, but at the end."""
    view = memoryview(buffer)[: min(_BUFFER, start + most)]
    filled = start
    while filled < len(view):
        count = os.readv(descriptor, [view[filled:]])
        if not count:
            break
        filled += count
    return filled


def _blob_of(pieces: Sequence[_Piece]) -> BlobBuilder:
    builder = BlobBuilder()
    for piece in pieces:
        start = 0
        for chunk_id, end in zip(piece.ids, piece.ends, strict=True):
            builder.add(chunk_id or b"", end - start)
            start = end
    return builder


class _Cutting:
    """Cuts one file, piece by piece, along its old chunks while they hold."""

    def __init__(self, expected: Sequence[BlobItem]) -> None:
        # The last one ended with the file, not where its bytes said.
        self._expected = list(expected[:-1])
        self._places = {item.id: place for place, item in enumerate(self._expected)}
        self._next = 0
        self._cutter = Cutter()

    def cut(self, data: memoryview, *, final: bool) -> Iterator[tuple[int, bytes | None]]:
        """Yield (end, id if known) of the chunks that are wholly in *data*, which starts at a cut point."""
        if not self._expected:
            for end in self._cutter.cut(data, final=final):
                yield end, None
            return
        start = 0
        while start < len(data):
            chunk_id = self._old_chunk(data, start)
            if chunk_id is None:
                found = self._new_chunk(data, start, final=final)
                if found is None:
                    return
                start, chunk_id = found
            else:
                start += self._expected[self._next - 1].length
            yield start, chunk_id

    def _old_chunk(self, data: memoryview, start: int) -> bytes | None:
        """Return the id of the chunk that is expected at *start*, if it is there."""
        if self._next >= len(self._expected):
            return None
        item = self._expected[self._next]
        if start + item.length > len(data) or blake3(data[start : start + item.length]).digest() != item.id:
            return None
        self._next += 1
        return item.id

    def _new_chunk(self, data: memoryview, start: int, *, final: bool) -> tuple[int, bytes] | None:
        """Return the end and id of the chunk at *start*, None if it may reach beyond *data*."""
        length = self._cutter.first(data[start:])
        if start + length == len(data) and not final:
            return None
        chunk_id = blake3(data[start : start + length]).digest()
        # What was inserted or removed shifts the rest: from a known chunk on, the old ones are expected again.
        self._next = self._places.get(chunk_id, self._next - 1) + 1
        return start + length, chunk_id
