"""Writing objects: deduplicated, into packs, sealed with an index segment of their own.

Nothing written is part of the repository before a log entry names the sealed packs and the
segment. A writer that is dropped leaves temporary files only, which `discard` removes.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError, StorageError
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.frame import FrameHeader
from dsvc.odb.pack import PackWriter, SealedPack, pack_key
from dsvc.odb.segment import Segment, segment_key
from dsvc.odb.segment_writer import SegmentBuilder, merge_segments
from dsvc.storage.backend import Backend, LocalFiles

__all__ = [
    "DatabaseWriter",
    "PackMaker",
    "PackSet",
    "Sealed",
    "make_index",
    "plan_merge",
    "store_index",
    "store_segment",
]

Buffer = bytes | bytearray | memoryview

_GROWTH: Final = 4


class PackSet:
    """Packs of one content that are filled one after another. Not safe to share between threads.

    It knows the ids that it holds, so an object is written once; what is elsewhere already is
    the caller's question. Of what comes in whole frames, or is *distinct* anyway, it remembers nothing: in a set, an id
    takes a hundred bytes.
    """

    def __init__(
        self, temporary: Callable[[], Path], generation: int, *, metadata: bool = False, distinct: bool = False
    ) -> None:
        self._temporary = temporary
        self._generation = generation
        self._metadata = metadata
        self._writer: PackWriter | None = None
        self._sealed: list[SealedPack] = []
        self._ids: set[bytes] = set()
        self._is_distinct = distinct

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._ids

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Append an object that is not here yet."""
        writer = self._open()
        writer.add(kind, object_id, data)
        if not self._is_distinct:
            self._ids.add(object_id)
        if writer.is_full:
            self.seal()

    def add_frame(
        self, header: FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Append a verified frame of another pack as it is."""
        writer = self._open()
        writer.add_frame(header, payload, kinds, lengths, ids)
        if writer.is_full:
            self.seal()

    def _open(self) -> PackWriter:
        if self._writer is None:
            self._writer = PackWriter(self._temporary(), metadata=self._metadata)
        return self._writer

    def seal(self) -> None:
        """Make what was added a finished pack, full or not."""
        if self._writer is not None:
            self._sealed.append(self._writer.seal(self._generation))
            self._writer = None

    def take_sealed(self) -> list[SealedPack]:
        """Return the packs that are finished, which are the caller's from now on."""
        sealed, self._sealed = self._sealed, []
        return sealed

    def finish(self) -> list[SealedPack]:
        """Finish the last pack and return all that were not taken."""
        self.seal()
        return self._sealed

    def discard(self) -> None:
        """Remove all files that were not taken."""
        if self._writer is not None:
            self._writer.discard()
        for pack in self._sealed:
            pack.path.unlink(missing_ok=True)


class PackMaker:
    """Packs that are filled one after another, data and metadata apart. Not safe to share between threads.

    The caller has verified what it adds. An object is written once, unless all are *distinct* anyway.
    """

    def __init__(self, temporary: Callable[[], Path], generation: int, *, distinct: bool = False) -> None:
        self._data = PackSet(temporary, generation, distinct=distinct)
        self._metadata = PackSet(temporary, generation, metadata=True, distinct=distinct)

    def holds(self, kind: int, object_id: bytes) -> bool:
        """Tell whether *object_id*, of *kind*, was added."""
        return object_id in (self._data if kind == Kind.CHUNK else self._metadata)

    def add(self, kind: int, object_id: bytes, data: Buffer) -> None:
        """Append an object; several come to be in one frame."""
        packs = self._data if kind == Kind.CHUNK else self._metadata
        if object_id not in packs:
            packs.add(kind, object_id, data)

    def add_frame(
        self, header: FrameHeader, payload: Buffer, kinds: bytes, lengths: Sequence[int], ids: Sequence[bytes]
    ) -> None:
        """Append a frame of another pack as it is."""
        packs = self._data if kinds[0] == Kind.CHUNK else self._metadata
        packs.add_frame(header, payload, kinds, lengths, ids)

    def take_sealed(self) -> list[SealedPack]:
        """Return the packs that are finished, which are the caller's from now on."""
        return self._data.take_sealed() + self._metadata.take_sealed()

    def finish(self) -> list[SealedPack]:
        """Finish the last packs and return all that were not taken yet."""
        self._data.seal()
        self._metadata.seal()
        return self.take_sealed()

    def discard(self) -> None:
        """Remove all files that were not taken."""
        self._data.discard()
        self._metadata.discard()


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
        self._reset()

    def write(self, kind: int, data: Buffer) -> ObjectId:
        """Store an object unless it is there, and return its id.

        Raises:
            StorageError: The disk failed; all that was not sealed is given up.
        """
        object_id = hash_object(kind, data)
        if not self._maker.holds(kind, object_id) and object_id not in self._database:
            try:
                self._maker.add(kind, object_id, data)
                self.take(self._maker.take_sealed())
            except StorageError:
                self.discard()
                raise
        return object_id

    def take(self, packs: Iterable[SealedPack]) -> None:
        """Count packs that were sealed elsewhere among what is written here."""
        for pack in packs:
            self._paths.append((pack.path, pack.name))
            self._index.add(pack)

    def seal(self) -> Sealed:
        """Make all that was written durable, and readable through the database.

        Packs come before the index segment, so that a crash leaves nothing that points nowhere.

        Raises:
            StorageError: The disk failed; all that was not sealed is given up.
        """
        try:
            self.take(self._maker.finish())
            # Two workers may have made the same pack: one takes the place of the other.
            for path, name in self._paths:
                self._files.adopt(path, pack_key(name))
            sealed = make_index(self._database, self._index)
            store_index(self._database, self._backend, sealed)
        except StorageError:
            self.discard()
            raise
        self._reset()
        return sealed

    def _reset(self) -> None:
        self._maker = PackMaker(self._files.temporary, self._generation)
        self._index = SegmentBuilder(self._generation, self._files.temporary().parent)
        self._paths: list[tuple[Path, str]] = []

    def discard(self) -> None:
        """Give up: remove the files of what was not sealed."""
        self._maker.discard()
        for path, _ in self._paths:
            path.unlink(missing_ok=True)


def make_index(database: ObjectDatabase, index: SegmentBuilder) -> Sealed:
    """Return an index segment of all packs in *index*, still to be stored; if there are none, nothing.

    It is merged with those of the *database* that have become too small to stand alone.
    """
    if not index.packs:
        return Sealed()
    segment = index.finish()
    replaces = [old for old in plan_merge([*database.segments, segment]) if old is not segment]
    merged = merge_segments([*replaces, segment], index.generation, index.folder) if replaces else None
    return Sealed(
        packs=index.packs,
        segment=segment,
        merged=merged,
        replaces=[old.name for old in replaces],
        objects=index.objects,
        stored=index.stored,
        raw=index.raw,
    )


def store_index(database: ObjectDatabase, backend: Backend, sealed: Sealed) -> None:
    """Make the segment of *sealed*, whose packs are in *backend*, durable, and readable through the *database*."""
    segment = sealed.merged or sealed.segment
    if segment is not None:
        store_segment(backend, segment)
        database.attach(sealed.packs, [segment])


def store_segment(backend: Backend, segment: Segment) -> None:
    """Make *segment* durable."""
    key = segment_key(segment.name)
    if isinstance(backend, LocalFiles):
        backend.write_pieces(key, segment.pieces())
    else:
        backend.write(key, segment.data)
        segment.forget()


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
