"""From one store to another: which packs, frames and objects are sent, and sending them.

A pack of which all is missing there goes as it is, under its own name. Else a frame goes as it is if
at least half of it is missing and nothing in it is foreign to what is sent; of all others, only the
missing objects go, compressed together anew. So nothing that no version has, such as a file that was
staged once and taken back, ever leaves its store.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import msgspec

from dsvc.errors import CorruptionError
from dsvc.model.ids import ID_LENGTH, Kind
from dsvc.odb import frame
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.marks import WANTED
from dsvc.odb.pack import DATA_PACK_SIZE, METADATA_PACK_SIZE, SealedPack
from dsvc.odb.pack_reader import StoredPack, check_frame, frame_bytes, open_pack
from dsvc.odb.receive import PackReceiver
from dsvc.odb.scratch import zeros
from dsvc.odb.writer import PackMaker, Sealed
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend, KeyNotFoundError, interrupt
from dsvc.transport.closure import Closure, MissingObjectError

__all__ = ["Arrive", "Bring", "Plan", "Sent", "make_packs", "make_plan", "requests_for", "send"]

# What a push asks besides: the store, its last entry and the next one, a segment, the entry, and its session.
_FIXED_REQUESTS: Final = 7
# To look what is at the address, and to make a store there.
_NEW_STORE_REQUESTS: Final = 4

# Smaller packs and frames are put together, or a store of many small pushes would have as many files.
_SMALL_PACK: Final = 4
_SMALL_FRAME: Final = 256 * 1024
# As many as a few frames hold; where each one is takes ten times as much as its id.
_OBJECTS_AT_ONCE: Final = 1 << 16
# What is told of so many takes 20 MB on its way from one process to another.
_FEW_OBJECTS: Final = 1 << 18

Arrive = Callable[[Backend, StoredPack], bool]
"""Takes a pack without a look at what is in it, if it can: each object in it will be read, and verified, later."""

Bring = Callable[[Iterable[bytes], Progress], list[bytes]]
"""Lets chunks be in the target, and returns those that cannot be had; as that of a promise does."""


class Plan(msgspec.Struct):
    """What has to go: *whole* packs with their lengths, *frames* of others by number, and *objects* by kind.

    Of these, the ids follow each other in the order of storage.
    *count* objects of *raw* bytes, about *stored* bytes as packed; *relied* are packs of the
    target that hold what is not sent. About *brought* of the stored bytes have come already, and *arrived* are in packs
    that are still to be verified. *anew* is how many bytes, as packed, go into new packs, of data (0) and of
    metadata (1).
    """

    whole: dict[str, int] = {}
    frames: dict[str, Sequence[int]] = {}
    objects: dict[int, bytearray] = {}
    relied: frozenset[str] = frozenset()
    count: int = 0
    raw: int = 0
    stored: int = 0
    brought: int = 0
    arrived: int = 0
    anew: dict[int, int] = {}

    @property
    def packs(self) -> int:
        """About how many packs there will be on the other side."""
        return len(self.whole) + sum(-(-size // _pack_size(content)) for content, size in self.anew.items())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is missing there."""
        return not self.count


def requests_for(packs: int, *, is_store: bool) -> int:
    """Return about how many requests it takes to send *packs* packs, and to make a store if none *is_store*."""
    return packs + _FIXED_REQUESTS + (0 if is_store else _NEW_STORE_REQUESTS)


def _pack_size(content: int) -> int:
    return METADATA_PACK_SIZE if content else DATA_PACK_SIZE


class Sent(msgspec.Struct, frozen=True):
    """What was sent: *sealed* is for the log, *bytes* those that travelled, which a second attempt saves."""

    sealed: Sealed
    bytes: int


def make_plan(
    closure: Closure,
    backend: Backend,
    bring: Bring | None = None,
    progress: Progress = NO_PROGRESS,
    arrive: Arrive | None = None,
) -> Plan:
    """Plan to send what *closure* marks as wanted, from packs in *backend*; let data be brought first, where that goes.

    Packs of wanted data that *arrive* are not sent.

    Raises:
        CorruptionError: A pack is missing or damaged.
    """
    wanted = _Wanted(closure)
    plan = Plan(count=closure.marks.count(WANTED), raw=wanted.raw, stored=wanted.stored)
    if bring is not None:
        _bring_data(closure, bring, progress)
        wanted = _Wanted(closure)
        plan.brought = plan.stored - wanted.stored
    plan.relied = frozenset(closure.relied)
    # Names, and not what was read of them: a footer takes as much as an index of its pack.
    small: dict[int, list[str]] = defaultdict(list)
    anew: set[tuple[str, int]] = set()
    for name in sorted(wanted.packs):
        pack = _open(backend, name)
        frames = wanted.of(name)
        verdicts = list(_verdicts(closure, backend, pack, frames))
        if not all(verdicts):
            _take_frames(plan, anew, pack, frames, verdicts)
            continue
        plan.whole[name] = pack.length
        if pack.length * _SMALL_PACK < _pack_size(pack.footer.content):
            small[pack.footer.content].append(name)
    for names in small.values():
        for name in names if len(names) > 1 else ():
            del plan.whole[name]
            pack = _open(backend, name)
            large = [record.header.raw_length >= _SMALL_FRAME for record in pack.footer.frames]
            _take_frames(plan, anew, pack, {record.offset: 1 for record in pack.footer.frames}, large)
    plan.objects = _objects_of(closure, anew)
    if arrive is not None:
        for name in list(plan.whole):
            pack = _open(backend, name)
            if _is_wanted(closure, pack) and arrive(backend, pack):
                plan.arrived += plan.whole.pop(name)
    return plan


def _is_wanted(closure: Closure, pack: StoredPack) -> bool:
    """Tell whether each object that *pack* says to hold is wanted, and is data; the index may say something else."""
    ids = pack.footer.ids
    if ids is None or pack.footer.content:
        return False
    return all(closure.marks.is_marked(object_id, WANTED) for object_id in _split(ids))


def _bring_data(closure: Closure, bring: Bring, progress: Progress) -> None:
    """Let the wanted data come now; it is relied on then, as what was there before.

    Raises:
        MissingObjectError: Some of it cannot be had.
    """
    for object_id in bring((object_id for _, _, object_id in _wanted_chunks(closure)), progress):
        raise MissingObjectError(object_id)
    for number, row, object_id in _wanted_chunks(closure):
        place = closure.target.locate(object_id)
        if place is not None:
            closure.relied.add(place.pack)
            closure.marks.flags[number][row] &= ~WANTED


def _wanted_chunks(closure: Closure) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number of the segment, row, id) of the wanted data, in the order of storage."""
    for number, segment in enumerate(closure.marks.segments):
        flags = closure.marks.flags[number]
        for row in segment.by_frame(partial(_rows_of, flags)):
            object_id, kind, *_ = segment.object_at(row)
            if kind == Kind.CHUNK:
                yield number, row, object_id


def _open(backend: Backend, name: str) -> StoredPack:
    try:
        return open_pack(backend, name)
    except KeyNotFoundError:
        message = f"pack {name} is missing"
        raise CorruptionError(message) from None


class _Wanted:
    """How many raw bytes of each frame are wanted."""

    def __init__(self, closure: Closure) -> None:
        marks = closure.marks
        self.packs: Final[set[str]] = set()
        self.stored = self.raw = 0
        self._sizes = [(segment, zeros(segment.frame_count, "Q")) for segment in marks.segments]
        for (segment, sizes), flags in zip(self._sizes, marks.flags, strict=True):
            for frame_number, length, flag in zip(segment.frame_numbers(), segment.lengths(), flags, strict=True):
                if flag & WANTED:
                    sizes[frame_number] += length
            for (pack, _, stored, raw, _), size in zip(segment.frame_rows(), sizes, strict=True):
                if size:
                    self.stored += stored * size // max(1, raw)
                    self.raw += size
                    self.packs.add(segment.packs[pack])

    def of(self, pack: str) -> dict[int, int]:
        """Return by offset of which frames of *pack* something is wanted, and how much."""
        frames: dict[int, int] = {}
        for segment, sizes in self._sizes:
            for number in segment.frames_of(pack):
                if sizes[number]:
                    offset = segment.frame_row(number)[1]
                    frames[offset] = frames.get(offset, 0) + sizes[number]
        return frames


def _verdicts(closure: Closure, backend: Backend, pack: StoredPack, wanted: dict[int, int]) -> Iterator[bool]:
    """Yield for each frame of *pack* whether it may go as it is."""
    for number, record in enumerate(pack.footer.frames):
        size = wanted.get(record.offset, 0)
        if size == record.header.raw_length:
            yield True
        else:
            yield 2 * size >= record.header.raw_length and _is_native(closure, backend, pack, number)


def _is_native(closure: Closure, backend: Backend, pack: StoredPack, number: int) -> bool:
    """Tell whether every object of a frame is wanted or there anyway."""
    ids, _ = check_frame(pack, number, frame_bytes(backend, pack, number))
    return all(closure.marks.is_marked(object_id, WANTED) or object_id in closure.target for object_id in _split(ids))


def _split(ids: bytes) -> list[bytes]:
    return [ids[start : start + ID_LENGTH] for start in range(0, len(ids), ID_LENGTH)]


def _take_frames(
    plan: Plan, anew: set[tuple[str, int]], pack: StoredPack, wanted: dict[int, int], verdicts: list[bool]
) -> None:
    numbers = array("I", [number for number, as_it_is in enumerate(verdicts) if as_it_is])
    if numbers:
        plan.frames[pack.name] = numbers
    content = pack.footer.content
    for record, as_it_is in zip(pack.footer.frames, verdicts, strict=True):
        size = record.header.raw_length if as_it_is else wanted.get(record.offset, 0)
        if size:
            stored = record.header.stored_length * size // max(1, record.header.raw_length)
            plan.anew[content] = plan.anew.get(content, 0) + stored
    anew.update(
        (pack.name, record.offset)
        for record, as_it_is in zip(pack.footer.frames, verdicts, strict=True)
        if not as_it_is and wanted.get(record.offset)
    )


def _objects_of(closure: Closure, anew: set[tuple[str, int]]) -> dict[int, bytearray]:
    """Return the wanted objects in the frames *anew*, by kind."""
    objects: dict[int, bytearray] = defaultdict(bytearray)
    marks = closure.marks
    for segment, flags in zip(marks.segments, marks.flags, strict=True) if anew else ():
        chosen = bytes((segment.packs[pack], offset) in anew for pack, offset, *_ in segment.frame_rows())
        for row in segment.by_frame(partial(_rows_of, flags, segment.frame_numbers(), chosen)):
            object_id, kind, *_ = segment.object_at(row)
            objects[kind] += object_id
    return dict(objects)


def _rows_of(flags: Sequence[int], frames: Sequence[int] = (), chosen: bytes = b"") -> Iterator[int]:
    """Yield the rows that are wanted; with *frames*, of which each row points into one, those in frames *chosen*."""
    for row, flag in enumerate(flags):
        if flag & WANTED and (not frames or chosen[frames[row]]):
            yield row


def make_packs(
    plan: Plan, source: ObjectDatabase, origin: Backend, *, temporary: Callable[[], Path], generation: int
) -> list[SealedPack] | None:
    """Return packs of the frames and objects in *plan*, in files that *temporary* names; None if there are many.

    Those are better made while others are sent.

    Raises:
        CorruptionError: Something is not what its id says.
    """
    if plan.count > _FEW_OBJECTS or plan.stored - sum(plan.whole.values()) > DATA_PACK_SIZE:
        return None
    maker = PackMaker(temporary, generation, distinct=True)
    try:
        _send_frames(plan.frames, origin, maker, NO_PROGRESS)
        _send_objects(plan.objects, source, maker, NO_PROGRESS)
        return maker.finish()
    except BaseException:
        maker.discard()
        raise


def send(
    plan: Plan,
    source: ObjectDatabase,
    origin: Backend,
    receiver: PackReceiver,
    *,
    threads: int = 1,
    link: bool = False,
    made: Callable[[], list[SealedPack] | None] = lambda: None,
    progress: Progress = NO_PROGRESS,
) -> Sent:
    """Bring what *plan* names from *source*, whose packs are in *origin*, to *receiver*.

    *made* may return packs that were made of its frames and objects, whose files go from where they are.

    Raises:
        CorruptionError: Something is not what its id says; it is not brought.
    """
    known, failed = {name: Event() for name in plan.whole}, Event()

    def copy(name: str) -> int:
        try:
            if failed.is_set():
                return 0
            pack = _open(origin, name)
            sent = receiver.copy(origin, pack, link=link, verified=known[name].set)
        except BaseException:
            failed.set()
            raise
        finally:
            known[name].set()
        progress.advance(size=pack.length)
        return sent

    try:
        # Hashing, decompressing, reading and writing all release the interpreter.
        with ThreadPoolExecutor(threads) as receiver.pool:
            try:
                copies = [
                    receiver.pool.submit(copy, pack) for pack in sorted(plan.whole, key=lambda name: -plan.whole[name])
                ]
                packs = made()
                if packs is None:
                    sent = _send_frames(plan.frames, origin, receiver, progress)
                    sent += _send_objects(plan.objects, source, receiver, progress)
                else:
                    receiver.take(packs)
                    sent = sum(pack.length for pack in packs)
                    progress.advance(size=sent)
                for each in known.values():
                    each.wait()
                sealed = receiver.finish(lambda: [each.result() for each in copies])
            except BaseException:
                # Leaving the pool waits for its threads, and they may wait for a network.
                receiver.pool.shutdown(wait=False, cancel_futures=True)
                interrupt(origin, receiver.backend)
                raise
    except BaseException:
        receiver.discard()
        raise
    return Sent(sealed, sent + sum(each.result() for each in copies))


def _send_frames(
    frames: Mapping[str, Sequence[int]],
    origin: Backend,
    receiver: PackReceiver | PackMaker,
    progress: Progress,
) -> int:
    sent = 0
    for name, numbers in frames.items():
        pack = _open(origin, name)
        for number in numbers:
            data = frame_bytes(origin, pack, number)
            ids, _ = check_frame(pack, number, data)
            first, end = pack.first[number], pack.first[number + 1]
            receiver.add_frame(
                pack.footer.frames[number].header,
                data[frame.HEADER_LENGTH :],
                pack.footer.kinds[first:end],
                pack.footer.lengths[first:end],
                _split(ids),
            )
            sent += len(data)
            progress.advance(size=len(data))
    return sent


def _send_objects(
    objects: Mapping[int, bytearray], source: ObjectDatabase, receiver: PackReceiver | PackMaker, progress: Progress
) -> int:
    sent = 0
    for kind, ids in objects.items():
        for start in range(0, len(ids), ID_LENGTH * _OBJECTS_AT_ONCE):
            some = _split(bytes(ids[start : start + ID_LENGTH * _OBJECTS_AT_ONCE]))
            for object_id, data in source.stream(kind, some):
                receiver.add(kind, object_id, data)
                sent += len(data)
                progress.advance(size=len(data))
    return sent
