"""Writing objects: deduplicated, into packs, sealed with an index segment of their own.

Nothing written is part of the repository before a log entry names the sealed packs and the
segment. A writer that is dropped leaves temporary files only, which `discard` removes.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.errors import InvalidInputError, StorageError
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.frame import FrameHeader
from dsvc.odb.pack import PackWriter, SealedPack, pack_key
from dsvc.odb.segment import Segment, build_segment, merge_segments, segment_key
from dsvc.storage.backend import Backend, LocalFiles

__all__ = ["DatabaseWriter", "PackSet", "Sealed", "index_packs", "plan_merge", "store_segment"]

Buffer = bytes | bytearray | memoryview

_GROWTH: Final = 4


class PackSet:
    """Packs of one content that are filled one after another. Not safe to share between threads.

    It knows the ids that it holds, so an object is written once; what is elsewhere already is
    the caller's question.
    """

    def __init__(self, temporary: Callable[[], Path], generation: int, *, metadata: bool = False) -> None:
        self._temporary = temporary
        self._generation = generation
        self._metadata = metadata
        self._writer: PackWriter | None = None
        self._sealed: list[SealedPack] = []
        self._ids: set[bytes] = set()

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._ids

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Append an object that is not here yet."""
        writer = self._open()
        writer.add(kind, object_id, data)
        self._ids.add(object_id)
        if writer.is_full:
            self._seal()

    def add_frame(
        self, header: FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Append a verified frame of another pack as it is."""
        writer = self._open()
        writer.add_frame(header, payload, kinds, lengths, ids)
        self._ids.update(ids)
        if writer.is_full:
            self._seal()

    def _open(self) -> PackWriter:
        if self._writer is None:
            self._writer = PackWriter(self._temporary(), metadata=self._metadata)
        return self._writer

    def _seal(self) -> None:
        if self._writer is not None:
            self._sealed.append(self._writer.seal(self._generation))
            self._writer = None

    def finish(self) -> list[SealedPack]:
        """Seal the last pack and return them all."""
        self._seal()
        return self._sealed

    def discard(self) -> None:
        """Remove all files."""
        if self._writer is not None:
            self._writer.discard()
        for pack in self._sealed:
            pack.path.unlink(missing_ok=True)


class Sealed(msgspec.Struct, frozen=True):
    """What a transaction has to name so that the objects are part of the repository.

    *segment* indexes *packs*; if *merged* is not None, it holds that and all of *replaces*, and
    can be named instead while all of those are live. *stored* and *raw* are the bytes of the
    new packs and of the objects in them.
    """

    packs: list[str] = []
    segment: Segment | None = None
    merged: Segment | None = None
    replaces: list[str] = []
    objects: int = 0
    stored: int = 0
    raw: int = 0


class DatabaseWriter:
    """Adds objects to a database whose backend has files. Not safe to share between threads."""

    def __init__(self, database: ObjectDatabase, backend: Backend, *, generation: int) -> None:
        self._database = database
        self._backend = backend
        if not isinstance(backend, LocalFiles):
            message = "packs are built in files, and this store has none"
            raise InvalidInputError(message)
        self._files = backend
        self._generation = generation
        self._data = PackSet(self._files.temporary, generation)
        self._metadata = PackSet(self._files.temporary, generation, metadata=True)
        self._adopted: list[SealedPack] = []

    def write(self, kind: int, data: Buffer) -> ObjectId:
        """Store an object unless it is there, and return its id.

        Raises:
            StorageError: The disk failed; all that was not sealed is given up.
        """
        object_id = hash_object(kind, data)
        packs = self._data if kind == Kind.CHUNK else self._metadata
        if object_id not in packs and object_id not in self._database:
            try:
                packs.add(kind, object_id, data)
            except StorageError:
                self.discard()
                raise
        return object_id

    def take(self, packs: Iterable[SealedPack]) -> None:
        """Count packs that were sealed elsewhere among what is written here."""
        self._adopted.extend(packs)

    def seal(self) -> Sealed:
        """Make all that was written durable, and readable through the database.

        Packs come before the index segment, so that a crash leaves nothing that points nowhere.

        Raises:
            StorageError: The disk failed; all that was not sealed is given up.
        """
        try:
            packs = [*self._data.finish(), *self._metadata.finish(), *self._adopted]
            if not packs:
                return Sealed()
            # Two workers may have made the same pack: one takes the place of the other.
            for pack in packs:
                self._files.adopt(pack.path, pack_key(pack.name))
            packs = list({pack.name: pack for pack in packs}.values())
            sealed = index_packs(self._database, self._backend, packs, generation=self._generation)
        except StorageError:
            self.discard()
            raise
        self._reset()
        return sealed

    def _reset(self) -> None:
        self._data = PackSet(self._files.temporary, self._generation)
        self._metadata = PackSet(self._files.temporary, self._generation, metadata=True)
        self._adopted = []

    def discard(self) -> None:
        """Give up: remove the files of what was not sealed."""
        self._data.discard()
        self._metadata.discard()
        for pack in self._adopted:
            pack.path.unlink(missing_ok=True)


def index_packs(database: ObjectDatabase, backend: Backend, packs: Sequence[SealedPack], *, generation: int) -> Sealed:
    """Store an index segment of *packs*, which are in *backend*, and make their objects readable through *database*.

    It is merged with those of the database that have become too small to stand alone.
    """

    def name(data: bytes) -> Segment:
        return Segment(f"{blake3(data).hexdigest()}.{generation}", data)

    segment = name(build_segment(packs))
    replaces = [old for old in plan_merge([*database.segments, segment]) if old is not segment]
    merged = name(merge_segments([*replaces, segment])) if replaces else None
    store_segment(backend, merged or segment)
    database.attach([pack.name for pack in packs], [merged or segment])
    return Sealed(
        packs=[pack.name for pack in packs],
        segment=segment,
        merged=merged,
        replaces=[old.name for old in replaces],
        objects=sum(len(pack.footer.kinds) for pack in packs),
        stored=sum(pack.length for pack in packs),
        raw=sum(pack.raw_length for pack in packs),
    )


def store_segment(backend: Backend, segment: Segment) -> None:
    """Make *segment* durable."""
    backend.write(segment_key(segment.name), segment.data)


def plan_merge(segments: Iterable[Segment]) -> list[Segment]:
    """Return which of *segments* to merge so that sizes stay geometric, or nothing.

    Each segment stays at least four times as large as all smaller ones together; so about
    log4 of the objects are live, and an object is rewritten as often.
    """
    ordered = sorted(segments, key=lambda segment: (len(segment), segment.name))
    total = 0
    merge = 0
    for index, segment in enumerate(ordered):
        if index and len(segment) < _GROWTH * total:
            merge = index + 1
        total += len(segment)
    return ordered[:merge]
