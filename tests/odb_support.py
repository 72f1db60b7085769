"""What the tests of the object database share: packs of given objects, and backends that keep a record."""

from collections.abc import Sequence
from pathlib import Path

from blake3 import blake3
from hypothesis import strategies as st

from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.odb import frame
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import PackWriter, SealedPack, pack_key
from dsvc.odb.segment import Segment, segment_key
from dsvc.odb.segment_writer import build_segment
from dsvc.odb.writer import DatabaseWriter, PackMaker
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend

__all__ = [
    "RecordingBackend",
    "bytes_of",
    "chunk_id",
    "contents",
    "database_of",
    "make_pack",
    "memory_of",
    "named_segment",
    "noise",
    "open_writer",
    "store_pack",
]

# Small objects of all sorts: empty, equal, compressible and not.
contents = st.lists(
    st.binary(max_size=50) | st.builds(lambda data, times: data * times, st.binary(max_size=20), st.integers(1, 400)),
    min_size=1,
    max_size=12,
)


def noise(length: int, seed: int = 0) -> bytes:
    """Return bytes that do not shrink, the same for ever."""
    return blake3(seed.to_bytes(8, "little")).digest(length)


def make_pack(
    folder: Path, objects: Sequence[bytes], *, kind: int = Kind.CHUNK, generation: int = 0, name: str = "new"
) -> SealedPack:
    """Return a sealed pack of *objects*, its file in *folder*."""
    path = folder / name
    path.unlink(missing_ok=True)
    writer = PackWriter(path, metadata=kind != Kind.CHUNK)
    for data in objects:
        writer.add(kind, hash_object(kind, data), data)
    return writer.seal(generation)


def named_segment(data: bytes, generation: int = 0) -> Segment:
    """Return the segment of *data* under its right name."""
    return Segment(f"{blake3(data).hexdigest()}.{generation}", data)


def memory_of(packs: Sequence[SealedPack]) -> tuple[MemoryBackend, Segment]:
    """Return a backend that has *packs* and one segment of them."""
    backend = MemoryBackend()
    for pack in packs:
        backend.write(pack_key(pack.name), pack.path.read_bytes())
    segment = build_segment(packs)
    backend.write(segment_key(segment.name), segment.data)
    return backend, segment


def database_of(packs: Sequence[SealedPack]) -> tuple[ObjectDatabase, MemoryBackend]:
    """Return a database of *packs*, all of them live, and its backend."""
    backend, segment = memory_of(packs)
    return ObjectDatabase(backend, packs=[pack.name for pack in packs], segments=[segment.name]), backend


def bytes_of(backend: Backend, prefix: str) -> dict[str, bytes]:
    """Return the values of all keys that begin with *prefix*."""
    return {key: backend.read(key) for key, _ in backend.list(prefix)}


class RecordingBackend(LocalBackend):
    """A folder that keeps a record of what was read and stored, in order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stored: list[str] = []
        self.ranges: list[tuple[str, tuple[tuple[int, int], ...]]] = []

    def create(self, key: str, value: bytes | bytearray | memoryview) -> None:
        super().create(key, value)
        self.stored.append(key)

    def adopt(self, temporary: Path, key: str) -> None:
        super().adopt(temporary, key)
        self.stored.append(key)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.ranges.append((key, tuple(ranges)))
        return super().read_ranges(key, ranges)


def open_writer(backend: LocalBackend, generation: int = 0) -> tuple[ObjectDatabase, DatabaseWriter]:
    """Return an empty database over *backend*, and a writer for it."""
    database = ObjectDatabase(backend)
    return database, DatabaseWriter(database, backend, generation=generation)


def chunk_id(data: bytes) -> ObjectId:
    """Return the id of *data* as a chunk."""
    return hash_object(Kind.CHUNK, data)


def store_pack(backend: LocalBackend, datas: Sequence[bytes], ids: Sequence[bytes] | None = None) -> str:
    """Store a pack, three to a frame, whose footer says that *datas* have *ids*, which may be lies; return its name."""
    ids = ids or list(map(chunk_id, datas))
    maker = PackMaker(backend.temporary, 0)
    backend.temporary().parent.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(datas), 3):
        some = datas[first : first + 3]
        raw = b"".join(some)
        header = frame.FrameHeader(frame.RAW, len(raw), len(raw), len(some), b"")
        checksum = frame.frame_checksum(header.prefix(), blake3(raw).digest())
        header = frame.FrameHeader(frame.RAW, len(raw), len(raw), len(some), checksum)
        maker.add_frame(header, raw, bytes([Kind.CHUNK] * len(some)), list(map(len, some)), ids[first : first + 3])
    [pack] = maker.finish()
    backend.adopt(pack.path, pack_key(pack.name))
    return pack.name
