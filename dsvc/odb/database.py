"""The object database: objects by id, in the packs and index segments that are live.

It reads, and verifies all that it reads; writing goes through `dsvc.odb.writer`. It knows no refs:
which packs and segments are live is told to it, by whoever knows the log.
"""

import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from threading import Lock
from typing import Final

from dsvc.errors import CorruptionError, StorageError
from dsvc.model.ids import Kind, ObjectId, ObjectMismatchError, WrongKindError, hash_object
from dsvc.odb import frame
from dsvc.odb.objects import ObjectNotFoundError, Promisor
from dsvc.odb.pack import pack_key
from dsvc.odb.segment import Location, Segment, segment_key
from dsvc.storage.backend import Backend, KeyNotFoundError, LocalFiles, ReadableFiles
from dsvc.storage.local import storage_error

__all__ = ["MissingPackError", "ObjectDatabase", "load_segment"]

Buffer = bytes | bytearray | memoryview

# Neighbouring ranges are read together where the gap costs less than another request.
_MERGE_GAP: Final = 64 * 1024
_BATCH_BYTES: Final = 8 * 1024 * 1024
# Of a file, a frame at a time: what is still in the cache of the processor is hashed and written some 10 % faster.
_LOCAL_BATCH_BYTES: Final = 1024 * 1024
_CACHED_FRAMES: Final = 16


class MissingPackError(CorruptionError):
    """A pack that is live is not there."""

    def __init__(self, pack: str) -> None:
        super().__init__(f"pack {pack} is missing")
        self.pack = pack


def load_segment(backend: Backend, name: str) -> Segment:
    """Open the segment *name*, mapped where the backend has files."""
    key = segment_key(name)
    if isinstance(backend, ReadableFiles):
        path = backend.file(key)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise KeyNotFoundError(key) from None
        except OSError as error:
            raise storage_error(error, f"read {path}") from error
        try:
            if os.fstat(descriptor).st_size:
                return Segment(name, mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(descriptor)
    return Segment(name, backend.read(key))


class ObjectDatabase:
    """Objects by id. Reading is safe from several threads.

    What is read and not here is asked of the *promisor*, if there is one; all else knows only what is here. Of what has
    *arrived* just now, and was read by nobody, each object is verified whatever its reader says.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        packs: Collection[str] = (),
        segments: Iterable[str] = (),
        promisor: Promisor | None = None,
        arrived: bool = False,
    ) -> None:
        self.backend: Final = backend
        self.arrived: Final = arrived
        self.promisor = promisor
        # Where what is in both is read from: for the database of a remote, that of the repository.
        self.nearer: ObjectDatabase | None = None
        # Called where a pack is gone, which another process may have pruned: it makes what is live now known.
        self.refresh: Callable[[], object] = lambda: None
        self._batch_bytes = _LOCAL_BATCH_BYTES if isinstance(backend, LocalFiles) else _BATCH_BYTES
        # Replaced and never changed, so that no reader meets half of a change.
        self._packs: frozenset[str] = frozenset()
        self._segments: dict[str, Segment] = {}
        self._frames: OrderedDict[tuple[str, int], Buffer] = OrderedDict()
        self._lock = Lock()
        self.update(packs, segments)

    @property
    def packs(self) -> frozenset[str]:
        """The live packs, by name."""
        return self._packs

    @property
    def segments(self) -> list[Segment]:
        """The live segments, largest first."""
        return list(self._segments.values())

    def update(self, packs: Collection[str], segments: Iterable[str]) -> None:
        """Make *packs* and *segments*, by name, the live ones."""
        names = list(segments)
        known = self._segments
        loaded = {name: known[name] if name in known else load_segment(self.backend, name) for name in names}
        # In between, a reader may find what is live no longer; it must not miss what is.
        live = frozenset(packs)
        self._packs |= live
        self._segments = dict(sorted(loaded.items(), key=lambda item: (-len(item[1]), item[0])))
        self._packs = live

    def attach(self, packs: Iterable[str], segments: Iterable[Segment]) -> None:
        """Add what was sealed just now, before the log names it."""
        self._packs = self._packs.union(packs)
        self._segments = {**self._segments, **{segment.name: segment for segment in segments}}

    def locate(self, object_id: bytes) -> Location | None:
        """Return where *object_id* is, or None; a row whose pack is not live does not count."""
        for segment in self._segments.values():
            row = segment.find(object_id)
            if row >= 0:
                location = segment.location(row)
                if location.pack in self._packs:
                    return location
        return None

    def __contains__(self, object_id: bytes) -> bool:
        for segment in self._segments.values():
            row = segment.find(object_id)
            if row >= 0 and segment.pack_of(row) in self._packs:
                return True
        return False

    @property
    def is_empty(self) -> bool:
        """Whether there is no object at all."""
        return not self._segments

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return the verified bytes of *object_id*.

        Raises:
            ObjectNotFoundError: It is not here.
            CorruptionError: Its bytes are damaged, or of another kind.
        """
        if self.nearer is not None and object_id in self.nearer:
            return self.nearer.read(kind, object_id)
        location = self.locate(object_id)
        if location is None and self.promisor is not None:
            self.promisor.bring([object_id])
            location = self.locate(object_id)
            if location is None:
                return bytes(next(self.promisor.stream(kind, [object_id]))[1])
        if location is None:
            raise ObjectNotFoundError(object_id)
        try:
            return bytes(self._read_located(kind, object_id, location))
        except MissingPackError:
            if not self._has_moved(location.pack):
                raise
        return self.read(kind, object_id)

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return the verified bytes of *object_ids*, in their order."""
        found = {bytes(object_id): bytes(data) for object_id, data in self.stream(kind, object_ids)}
        return [found[object_id] for object_id in object_ids]

    def stream(
        self, kind: int, object_ids: Iterable[bytes], *, trusted: Collection[bytes] = ()
    ) -> Iterator[tuple[bytes, Buffer]]:
        """Yield (id, verified bytes) of *object_ids* in the order of storage, each frame read once.

        The bytes may be a view that lives as long as the caller holds it. Those of *trusted* ids are what the index
        points to and no more: for who hashes them anyway, as part of something larger.
        """
        wanted = set(object_ids)
        if self.nearer is not None:
            near = [object_id for object_id in wanted if object_id in self.nearer]
            yield from self.nearer.stream(kind, near, trusted=trusted)
            wanted.difference_update(near)
        found = [(self.locate(object_id), object_id) for object_id in wanted]
        missing = [object_id for location, object_id in found if location is None]
        if missing:
            if self.promisor is None:
                raise ObjectNotFoundError(missing[0])
            self.promisor.bring(missing)
            found = [(self.locate(object_id), object_id) for object_id in wanted]
            missing = [object_id for location, object_id in found if location is None]
            if missing:
                yield from self.promisor.stream(kind, missing)
        located = [(location, object_id) for location, object_id in found if location is not None]
        located.sort()
        done = 0
        for batch in _batches(located, self._batch_bytes):
            try:
                frames = self._read_frames([location for location, _ in batch])
            except MissingPackError:
                if not self._has_moved(batch[0][0].pack):
                    raise
                yield from self.stream(kind, [object_id for _, object_id in located[done:]], trusted=trusted)
                return
            done += len(batch)
            for location, object_id in batch:
                data = _part(kind, object_id, location, frames[location.offset])
                if self.arrived or object_id not in trusted:
                    _verify(kind, object_id, location, data)
                yield object_id, data

    def _has_moved(self, pack: str) -> bool:
        """Tell whether *pack*, which is gone, is not live any more."""
        self.refresh()
        return pack not in self._packs

    def _read_located(self, kind: int, object_id: bytes, location: Location) -> Buffer:
        key = (location.pack, location.offset)
        with self._lock:
            raw = self._frames.get(key)
            if raw is not None:
                self._frames.move_to_end(key)
        if raw is None:
            raw = self._read_frames([location])[location.offset]
            with self._lock:
                self._frames[key] = raw
                while len(self._frames) > _CACHED_FRAMES:
                    self._frames.popitem(last=False)
        data = _part(kind, object_id, location, raw)
        _verify(kind, object_id, location, data)
        return data

    def _read_frames(self, locations: Sequence[Location]) -> dict[int, Buffer]:
        """Return the raw bytes of the frames of *locations*, all of one pack, by offset."""
        pack = locations[0].pack
        lengths = {location.offset: frame.HEADER_LENGTH + location.stored_length for location in locations}
        if max(lengths.values()) > frame.HEADER_LENGTH + frame.MAX_STORED_LENGTH:
            message = f"the index says that pack {pack} has a frame that is longer than frames may be"
            raise CorruptionError(message)
        ranges = _merged(sorted(lengths.items()))
        parts = self._read_ranges(pack, ranges)
        raws: dict[int, Buffer] = {}
        views = [(start, memoryview(part)) for (start, _), part in zip(ranges, parts, strict=True)]
        index = 0
        for offset, length in sorted(lengths.items()):
            while offset >= views[index][0] + len(views[index][1]):
                index += 1
            start, view = views[index]
            try:
                raws[offset] = _open_frame(view[offset - start : offset - start + length])
            except frame.MalformedFrameError as error:
                message = f"pack {pack} is damaged at byte {offset}: {error}"
                raise CorruptionError(message) from error
        return raws

    def _read_ranges(self, pack: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        key = pack_key(pack)
        try:
            return self.backend.read_ranges(key, ranges)
        except KeyNotFoundError as error:
            raise MissingPackError(pack) from error
        except StorageError as error:
            # Trying again heals the network, and not a pack that is cut short.
            end = max(offset + length for offset, length in ranges)
            if self.backend.size(key) >= end:
                raise
            message = f"pack {pack} is shorter than the index says"
            raise CorruptionError(message) from error

    def kind_of(self, object_id: bytes) -> Kind | None:
        """Return the kind of *object_id*, None if it is neither here nor nearer."""
        location = self.locate(object_id)
        if location is None:
            return None if self.nearer is None else self.nearer.kind_of(object_id)
        return _known_kind(object_id, location)

    def find_prefix(self, digits: str) -> dict[ObjectId, Kind]:
        """Return the ids that begin with the hexadecimal *digits*, and their kinds."""
        half = int(digits[-1], 16) if len(digits) % 2 else None
        prefix = bytes.fromhex(digits[: len(digits) // 2 * 2])
        packs = self._packs
        return {
            ObjectId(object_id): _known_kind(object_id, location)
            for segment in self._segments.values()
            for object_id, row in segment.starting_with(prefix, half)
            if (location := segment.location(row)).pack in packs
        }


def _known_kind(object_id: bytes, location: Location) -> Kind:
    try:
        return Kind(location.kind)
    except ValueError:
        message = f"the index says that object {object_id.hex()} is of kind {location.kind}, and there is none"
        raise CorruptionError(message) from None


def _part(kind: int, object_id: bytes, location: Location, raw: Buffer) -> memoryview:
    if location.kind != kind:
        raise WrongKindError(object_id, kind, location.kind)
    return memoryview(raw)[location.place : location.place + location.length]


def _verify(kind: int, object_id: bytes, location: Location, data: Buffer) -> None:
    if hash_object(kind, data) != object_id:
        raise ObjectMismatchError(object_id, f"pack {location.pack}")


def _open_frame(data: memoryview) -> Buffer:
    header = frame.parse_header(data)
    return frame.decompress(header, data[frame.HEADER_LENGTH :])


def _batches(located: list[tuple[Location, bytes]], most: int) -> Iterator[list[tuple[Location, bytes]]]:
    """Split a sorted list into runs of one pack and of about *most* bytes; a frame is never in two."""
    batch: list[tuple[Location, bytes]] = []
    size = 0
    last: tuple[str, int] | None = None
    for item in located:
        location = item[0]
        place = (location.pack, location.offset)
        if place != last:
            if batch and (batch[0][0].pack != location.pack or size >= most):
                yield batch
                batch, size = [], 0
            # What the index says was not checked yet: the larger one is believed.
            size += max(location.raw_length, location.stored_length)
            last = place
        batch.append(item)
    if batch:
        yield batch


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join sorted (offset, length) ranges whose gaps are small."""
    merged: list[tuple[int, int]] = []
    for offset, length in ranges:
        if merged:
            start, so_far = merged[-1]
            if offset - (start + so_far) <= _MERGE_GAP:
                merged[-1] = (start, max(so_far, offset + length - start))
                continue
        merged.append((offset, length))
    return merged
