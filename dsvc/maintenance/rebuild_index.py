"""Making the index anew from the packs, which hold all that it says."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.store import Store
from dsvc.log.entry import Transaction
from dsvc.log.state import State
from dsvc.maintenance.check_index import load_segments
from dsvc.maintenance.check_packs import CheckedPack, check_packs
from dsvc.maintenance.findings import Finding
from dsvc.model.blob import Blob
from dsvc.model.codec import MalformedObjectError, Record, decode
from dsvc.model.commit import Commit, Tag
from dsvc.model.ids import Kind, hash_object
from dsvc.model.tree import InnerPage, LeafPage
from dsvc.odb.frame import FrameHeader
from dsvc.odb.pack import FrameRecord, PackFooter, SealedPack
from dsvc.odb.pack_reader import StoredPack, scan_frames
from dsvc.odb.segment import Location, Segment
from dsvc.odb.segment_writer import SegmentBuilder
from dsvc.odb.writer import store_segment
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import LocalFiles

__all__ = ["Rebuilt", "rebuild_index"]

_METADATA: Final[tuple[tuple[Kind, type[Record]], ...]] = (
    (Kind.COMMIT, Commit),
    (Kind.TAG, Tag),
    (Kind.BLOB, Blob),
    (Kind.PAGE, LeafPage),
    (Kind.PAGE, InnerPage),
)

# Of a frame, by pack and offset, where its objects are.
_Rows = Mapping[tuple[str, int], list[tuple[Location, bytes]]]


class Rebuilt(msgspec.Struct, frozen=True):
    """The new index: *objects* in *packs*; *findings* are what could not be indexed, because it is damaged."""

    packs: int
    objects: int
    replaced: int
    findings: list[Finding]


def rebuild_index(store: Store, *, threads: int = 1, progress: Progress = NO_PROGRESS) -> Rebuilt:
    """Replace all index segments of *store* by one that is made from its live packs.

    Every object is hashed for it. Of a pack whose footer is damaged, what the old index knows, and what
    stands alone in its frame, is found again.

    Raises:
        LogContendedError: Others changed the store again and again meanwhile.
    """
    state = store.log.head()
    old, _ = load_segments(store.backend, state.segments_by_age)
    rows: _Rows | None = None
    index = SegmentBuilder(
        state.last_sweep, store.backend.temporary().parent if isinstance(store.backend, LocalFiles) else None
    )
    findings: list[Finding] = []
    progress.start("read packs", files=len(state.packs))

    def done(_: CheckedPack) -> None:
        progress.advance(files=1)

    for checked in check_packs(store.backend, list(state.packs), full=True, threads=threads, done=done):
        findings.extend(checked.findings)
        if checked.pack is not None:
            index.add(_sealed(checked.pack, checked.ids))
            continue
        rows = rows if rows is not None else _rows_by_frame(old)
        try:
            index.add(_salvage(store, checked.name, rows))
        except (CorruptionError, NotFoundError):
            continue
    progress.finish()
    segment = index.finish()
    # Also if there is one of this name: its file may be what is damaged.
    store_segment(store.backend, segment)
    replaced = _publish(store, state, segment)
    return Rebuilt(len(index.packs), len(segment), replaced, findings)


def _publish(store: Store, base: State, segment: Segment) -> int:
    """Let *segment* stand for all that were live in *base*; return how many those were."""
    replaced = [name for name in base.segments if name != segment.name]

    def build(state: State) -> Transaction | None:
        # What others added meanwhile stays; what they merged is in their segment.
        drop = [name for name in replaced if name in state.segments]
        add = [] if segment.name in state.segments or not len(segment) else [segment.name]
        return Transaction(add_index=add, drop_index=drop) if add or drop else None

    context = store.context
    store.log.commit(build, actor=context.actor, time=context.now()[0], command=context.command, nonce=context.nonce)
    return len(replaced)


def _sealed(pack: StoredPack, ids_by_frame: Mapping[int, bytes]) -> SealedPack:
    """Return *pack* with only those frames that *ids_by_frame* has: the sound ones."""
    kinds, lengths, frames, ids = bytearray(), array("I"), [], []
    for number, frame_ids in sorted(ids_by_frame.items()):
        first, end = pack.first[number], pack.first[number + 1]
        frames.append(pack.footer.frames[number])
        kinds += pack.footer.kinds[first:end]
        lengths.extend(pack.footer.lengths[first:end])
        ids.append(frame_ids)
    footer = PackFooter(pack.footer.content, frames, bytes(kinds), lengths, None)
    return SealedPack(pack.name, Path(), pack.length, pack.raw_length, footer, b"".join(ids))


def _rows_by_frame(segments: Sequence[Segment]) -> _Rows:
    found: dict[tuple[str, int], list[tuple[Location, bytes]]] = defaultdict(list)
    for segment in segments:
        for row in range(len(segment)):
            location = segment.location(row)
            found[location.pack, location.offset].append((location, segment.id_of(row)))
    return found


def _salvage(store: Store, name: str, rows: _Rows) -> SealedPack:
    """Return what can be told of a pack whose footer is damaged."""
    frames: list[FrameRecord] = []
    kinds, lengths, ids = bytearray(), array("I"), []
    for offset, header, raw in scan_frames(store.backend, name):
        objects = _split(memoryview(raw), header, rows.get((name, offset), ()))
        if not objects:
            continue
        frames.append(FrameRecord(offset, header))
        for kind, length, object_id in objects:
            kinds.append(kind)
            lengths.append(length)
            ids.append(object_id)
    footer = PackFooter(0, frames, bytes(kinds), lengths, None)
    return SealedPack(name, Path(), 0, sum(lengths), footer, b"".join(ids))


def _split(
    raw: memoryview, header: FrameHeader, known: Sequence[tuple[Location, bytes]]
) -> list[tuple[int, int, bytes]]:
    """Return (kind, length, id) of the objects in a frame, in order and all of them, or nothing."""
    if header.count == 1 and not known:
        kind = _kind_of(bytes(raw))
        return [(kind, len(raw), bytes(hash_object(kind, raw)))]
    objects, position = [], 0
    for location, object_id in sorted(known):
        data = raw[location.place : location.place + location.length]
        if location.place == position and hash_object(location.kind, data) == object_id:
            objects.append((location.kind, location.length, object_id))
            position += location.length
    return objects if position == len(raw) and len(objects) == header.count else []


def _kind_of(raw: bytes) -> Kind:
    """Return what an object of its own frame is: metadata says so by its form, and all else is a chunk."""
    for kind, record in _METADATA:
        try:
            decode(record, raw)
        except MalformedObjectError:
            continue
        return kind
    return Kind.CHUNK
