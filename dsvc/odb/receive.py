"""Receiving: packs, frames and objects of another database, made part of this one.

Nothing that arrives is believed before it was hashed. A pack that comes whole keeps its name, so what
arrived before an interruption is found again by it, and is not sent twice.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from dsvc.odb.database import ObjectDatabase
from dsvc.odb.frame import FrameHeader
from dsvc.odb.pack import SealedPack, of_generation, pack_key
from dsvc.odb.pack_reader import StoredPack, open_pack, verified_pieces
from dsvc.odb.segment_writer import SegmentBuilder
from dsvc.odb.writer import PackMaker, Sealed, make_index, store_index
from dsvc.storage.backend import Backend, KeyNotFoundError, LocalFiles
from dsvc.storage.local import link_for_all, storage_error, sync_file

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["PackReceiver"]

Buffer = bytes | bytearray | memoryview


class PackReceiver:
    """Brings objects into *database* and its *backend*, as generation *generation*.

    *temporary* names new files for packs on their way. `copy` may be called from several
    threads; the other methods may not. What was received is part of the store once the log names what
    `finish` returns. Whether a pack that is copied arrived before is looked for, unless all *is_new*; whether an object
    that is added was added before, unless they are *distinct*.

    What is made here is stored by the `pool`, if there is one, as soon as a pack is full.
    """

    def __init__(
        self,
        database: ObjectDatabase,
        backend: Backend,
        temporary: Callable[[], Path],
        *,
        generation: int,
        is_new: bool = False,
        distinct: bool = False,
    ) -> None:
        self._database = database
        self.backend: Final = backend
        self.pool: Executor | None = None
        self._files = _local_files(backend)
        self._generation = generation
        self._is_new = is_new
        temporary = self._files.temporary if self._files else temporary
        self._maker = PackMaker(temporary, generation, distinct=distinct)
        self._index = SegmentBuilder(generation, temporary().parent)
        self._made: list[Path] = []
        self._storing: list[Future[None]] = []
        self._lock = Lock()

    def copy(
        self, source: Backend, pack: StoredPack, *, link: bool = False, verified: Callable[[], object] = lambda: None
    ) -> int:
        """Bring *pack* whole; return how many bytes had to be sent, 0 if it is there already.

        With *link*, its file is shared instead of copied where the system can. *verified* is called as soon as its
        objects are known, before it is durable.

        Raises:
            MalformedPackError: It is damaged, and nothing of it is kept.
        """
        name = of_generation(pack.name, self._generation)
        store: Callable[[], None] | None = None
        ids = None if self._is_new else self._present(name, pack.length)
        if ids is None:
            ids, store = self._take(source, pack, pack_key(name), link=link)
        with self._lock:
            self._index.add(SealedPack(name, Path(), pack.length, pack.raw_length, pack.footer, ids))
        verified()
        if store is None:
            return 0
        store()
        return pack.length

    def _take(self, source: Backend, pack: StoredPack, key: str, *, link: bool) -> tuple[bytes, Callable[[], None]]:
        """Return the ids of the objects in *pack*, which is sound, and what makes it durable as *key*."""
        files = self._files
        if files is not None:
            path, ids = self._write(files, source, pack, link=link)
            return ids, lambda: files.adopt(path, key)
        # Filled piece by piece, and not let grow: each thread would hold more than the pack.
        value, found, end = bytearray(pack.length), [], len(pack.head)
        value[:end] = pack.head
        for piece in verified_pieces(source, pack):
            value[end : end + len(piece.data)] = piece.data
            end += len(piece.data)
            found.append(piece.ids)
        value[end:] = pack.tail
        return b"".join(found), lambda: self.backend.write(key, value)

    def _present(self, name: str, length: int) -> bytes | None:
        """Return the ids of the objects in the pack *name* if it arrived before."""
        try:
            if self.backend.size(pack_key(name)) != length:
                return None
            pack = open_pack(self.backend, name)
            return pack.footer.ids or b"".join(piece.ids for piece in verified_pieces(self.backend, pack))
        except KeyNotFoundError:
            return None

    def _write(self, files: LocalFiles, source: Backend, pack: StoredPack, *, link: bool) -> tuple[Path, bytes]:
        path = files.temporary()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if link and _link(source, pack, path):
                return path, b"".join(piece.ids for piece in verified_pieces(source, pack))
            return path, _copy(source, pack, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def add_frame(
        self, header: FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Bring one frame as it is, which the caller has verified."""
        self._maker.add_frame(header, payload, kinds, lengths, ids)
        self.take(self._maker.take_sealed())

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Bring one object, which the caller has verified; several come to be in one frame."""
        self._maker.add(kind, object_id, data)
        self.take(self._maker.take_sealed())

    def take(self, packs: Sequence[SealedPack]) -> None:
        """Bring *packs*, whose files go from where they are."""
        for pack in packs:
            self._made.append(pack.path)
            with self._lock:
                self._index.add(pack)
            if self.pool is None:
                self._store(pack.name, pack.path)
            else:
                self._storing.append(self.pool.submit(self._store, pack.name, pack.path))

    def finish(self, copied: Callable[[], object] = lambda: None) -> Sealed:
        """Make all of it durable, and readable through the database.

        *copied* returns when what is copied by other threads is durable. Packs come before the index that points into
        them, which is made meanwhile.
        """
        self.take(self._maker.finish())
        sealed = make_index(self._database, self._index)
        copied()
        for storing in self._storing:
            storing.result()
        store_index(self._database, self.backend, sealed)
        return sealed

    def _store(self, name: str, path: Path) -> None:
        key = pack_key(name)
        if self._files is not None:
            self._files.adopt(path, key)
            return
        try:
            value = path.read_bytes()
        except OSError as error:
            raise storage_error(error, f"read {path}") from error
        self.backend.write(key, value)
        path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give up: remove the files of what is not whole. Whole packs stay, to be found by the next attempt."""
        self._maker.discard()
        for path in self._made:
            path.unlink(missing_ok=True)


def _local_files(backend: Backend) -> LocalFiles | None:
    return cast("LocalFiles", backend) if hasattr(backend, "adopt") else None


def _link(source: Backend, pack: StoredPack, path: Path) -> bool:
    files = _local_files(source)
    if files is None:
        return False
    # Another filesystem, another owner, or a filesystem without links: then it is copied.
    with suppress(OSError):
        return link_for_all(files.path(pack_key(pack.name)), path)
    return False


def _copy(source: Backend, pack: StoredPack, path: Path) -> bytes:
    ids = []
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            _write_all(descriptor, pack.head)
            for piece in verified_pieces(source, pack):
                _write_all(descriptor, piece.data)
                ids.append(piece.ids)
            _write_all(descriptor, pack.tail)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, f"write {path}") from error
    return b"".join(ids)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
