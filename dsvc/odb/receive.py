"""Receiving: packs, frames and objects of another database, made part of this one.

Nothing that arrives is believed before it was hashed. A pack that comes whole keeps its name, so what
arrived before an interruption is found again by it, and is not sent twice.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, cast

from dsvc.model.ids import Kind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.frame import FrameHeader
from dsvc.odb.pack import SealedPack, pack_key
from dsvc.odb.pack_reader import StoredPack, open_pack, verified_pieces
from dsvc.odb.writer import PackSet, Sealed, index_packs
from dsvc.storage.backend import Backend, KeyNotFoundError, LocalFiles
from dsvc.storage.local import storage_error, sync_file

__all__ = ["PackReceiver"]

Buffer = bytes | bytearray | memoryview


class PackReceiver:
    """Brings objects into *database* and its *backend*, as generation *generation*.

    *temporary* names new files for packs on their way. `copy` may be called from several
    threads; the other methods may not. What was received is part of the store once the log names what
    `finish` returns.
    """

    def __init__(
        self, database: ObjectDatabase, backend: Backend, temporary: Callable[[], Path], *, generation: int
    ) -> None:
        self._database = database
        self.backend: Final = backend
        self._files = _local_files(backend)
        self._temporary = self._files.temporary if self._files else temporary
        self._generation = generation
        self._data = PackSet(self._temporary, generation)
        self._metadata = PackSet(self._temporary, generation, metadata=True)
        self._copied: list[SealedPack] = []
        self._lock = Lock()

    def copy(self, source: Backend, pack: StoredPack, *, link: bool = False) -> int:
        """Bring *pack* whole; return how many bytes had to be sent, 0 if it is there already.

        With *link*, its file is shared instead of copied where the system can.

        Raises:
            MalformedPackError: It is damaged, and nothing of it is kept.
        """
        name = f"{pack.name.partition('.')[0]}.{self._generation}"
        there = self._present(name, pack.length)
        if there is not None:
            ids, sent = there, 0
        elif self._files is None:
            ids, sent = self._upload(source, pack, name), pack.length
        else:
            ids, sent = self._write(self._files, source, pack, name, link=link), pack.length
        sealed = SealedPack(name, Path(), pack.length, pack.raw_length, pack.footer, ids)
        with self._lock:
            self._copied.append(sealed)
        return sent

    def _present(self, name: str, length: int) -> bytes | None:
        """Return the ids of the objects in the pack *name* if it arrived before."""
        try:
            if self.backend.size(pack_key(name)) != length:
                return None
            pack = open_pack(self.backend, name)
            return pack.footer.ids or b"".join(piece.ids for piece in verified_pieces(self.backend, pack))
        except KeyNotFoundError:
            return None

    def _upload(self, source: Backend, pack: StoredPack, name: str) -> bytes:
        # Filled piece by piece: put together afterwards, each thread would hold the pack twice.
        value, ids = bytearray(pack.head), []
        for piece in verified_pieces(source, pack):
            value += piece.data
            ids.append(piece.ids)
        value += pack.tail
        self.backend.write(pack_key(name), value)
        return b"".join(ids)

    def _write(self, files: LocalFiles, source: Backend, pack: StoredPack, name: str, *, link: bool) -> bytes:
        path = files.temporary()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if link and _link(source, pack, path):
                ids = b"".join(piece.ids for piece in verified_pieces(source, pack))
            else:
                ids = _copy(source, pack, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        files.adopt(path, pack_key(name))
        return ids

    def add_frame(
        self, header: FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Bring one frame as it is, which the caller has verified."""
        packs = self._data if kinds[0] == Kind.CHUNK else self._metadata
        packs.add_frame(header, payload, kinds, lengths, ids)

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Bring one object, which the caller has verified; several come to be in one frame."""
        packs = self._data if kind == Kind.CHUNK else self._metadata
        if object_id not in packs:
            packs.add(kind, object_id, data)

    def finish(self) -> Sealed:
        """Make all of it durable, and readable through the database."""
        made = [*self._data.finish(), *self._metadata.finish()]
        for pack in made:
            self._store(pack)
        packs = list({pack.name: pack for pack in (*self._copied, *made)}.values())
        if not packs:
            return Sealed()
        return index_packs(self._database, self.backend, packs, generation=self._generation)

    def _store(self, pack: SealedPack) -> None:
        key = pack_key(pack.name)
        if self._files is not None:
            self._files.adopt(pack.path, key)
            return
        try:
            self.backend.write(key, pack.path.read_bytes())
        finally:
            pack.path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Give up: remove the files of what is not whole. Whole packs stay, to be found by the next attempt."""
        self._data.discard()
        self._metadata.discard()


def _local_files(backend: Backend) -> LocalFiles | None:
    return cast("LocalFiles", backend) if hasattr(backend, "adopt") else None


def _link(source: Backend, pack: StoredPack, path: Path) -> bool:
    files = _local_files(source)
    if files is None:
        return False
    # Another filesystem, another owner, or a filesystem without links: then it is copied.
    with suppress(OSError):
        path.hardlink_to(files.path(pack_key(pack.name)))
        return True
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
