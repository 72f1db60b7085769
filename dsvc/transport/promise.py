"""Promises: what is not here and a promisor remote has comes when somebody needs it, and is kept.

A lazy clone has all history and metadata, a shallow one what is newest of it, and both of the data what was needed so
far. Where an object is, the index of the remote tells, which is at hand; only if it is not in there, or not where it
says, the remote is asked for a newer one. Whole packs come as they are where nearly all of one is needed, else the
frames with what is needed, whole: what was sent once is never asked for again.
"""

import os
from array import array
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Lock
from typing import Final, NamedTuple

from blake3 import blake3

from dsvc.errors import BusyError, CorruptionError, DsvcError, NoSpaceError, StorageError
from dsvc.history.store import CollectedError, Store
from dsvc.model.ids import Kind, ObjectMismatchError, hash_object
from dsvc.odb import frame
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import ObjectNotFoundError, OutOfReachError
from dsvc.odb.pack import DATA_PACK_SIZE, MalformedPackError, pack_key
from dsvc.odb.pack_reader import open_pack
from dsvc.odb.receive import PackReceiver
from dsvc.odb.segment import Segment
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import KeyNotFoundError, LocalFiles, interrupt
from dsvc.transport.lacking import LackingRemoteError, clone_of
from dsvc.transport.metadata import bring_index
from dsvc.transport.position import known_state
from dsvc.transport.remote import NoStoreError, Remote, RemoteDamagedError

__all__ = ["Promise", "PromisorRemote"]

Buffer = bytes | bytearray | memoryview

_ATTEMPTS: Final = 3
# Ids that are looked up together; of files of ordinary size, some 16 GB.
_WINDOW: Final = 1 << 16
# What an interruption may cost.
_STEP_BYTES: Final = 256 * 1024 * 1024
_REQUEST_BYTES: Final = 4 * 1024 * 1024
_REQUEST_OBJECTS: Final = 1 << 16
_AT_ONCE: Final = 8
# Each takes some megabytes, and a processor to verify it.
_PACKS_AT_ONCE: Final = 4
# Reading over what is not needed costs less than another request.
_MERGE_GAP: Final = 64 * 1024
# Smaller packs are put together, or a store would come to have as many as there were pushes. Of a folder, a pack comes
# by a link, and that is cheaper.
_SMALL_PACK: Final = DATA_PACK_SIZE // 4
_SMALL_PACK_NEAR: Final = 1024 * 1024
_WORTH_TELLING: Final = 4 * 1024 * 1024
_NEARLY_ALL: Final = 0.9
_AN_OBJECT: Final = "an object"


class _Frame(NamedTuple):
    """A frame that is needed: where it is in *pack*, and the *rows* of *segment* that point into it."""

    pack: str
    offset: int
    stored_length: int
    raw_length: int
    codec: int
    segment: Segment
    rows: Sequence[int]

    @property
    def length(self) -> int:
        return frame.HEADER_LENGTH + self.stored_length


class _Selection(NamedTuple):
    """What to bring from *database*: *wanted* bytes of each frame, by segment and number; it has all but the *rest*."""

    database: ObjectDatabase
    object_ids: list[bytes]
    wanted: list[dict[int, int]]
    rest: list[bytes]


class _Opened(NamedTuple):
    """A frame that came, verified down to the hash of every object; of these, columns: there may be many thousand."""

    header: frame.FrameHeader
    payload: Buffer
    ids: list[bytes]
    kinds: bytes
    places: "array[int]"
    lengths: "array[int]"
    is_complete: bool


class PromisorRemote:
    """A remote that has promised what is not here, and its index as far as it is known."""

    def __init__(self, remote: Remote) -> None:
        self.remote: Final = remote
        self._database: ObjectDatabase | None = None
        self._is_fresh = False

    @property
    def database(self) -> ObjectDatabase:
        """What the remote had when it was looked at last.

        Raises:
            OutOfReachError: That is not known, and it cannot be asked.
        """
        if self._database is None:
            state = None if self.remote.folder is None else known_state(self.remote.folder)
            if state is None:
                return self._look()
            try:
                self._database = ObjectDatabase(self.remote.backend, packs=state.packs, segments=state.segments)
            except (StorageError, KeyNotFoundError):
                # The copy of the index is not whole, and what it lacks was replaced there, or is out of reach.
                return self._look()
        return self._database

    def expire(self) -> None:
        """Let the next `refresh` look again."""
        self._is_fresh = False

    def refresh(self) -> bool:
        """Look at the remote itself, unless that was done just now; tell whether it was not.

        Raises:
            OutOfReachError: It cannot be asked.
        """
        was_fresh = self._is_fresh
        if not was_fresh:
            self._look()
        return not was_fresh

    def _look(self) -> ObjectDatabase:
        try:
            store = self.remote.open()
            bring_index(store)
        except (StorageError, NoStoreError) as error:
            raise OutOfReachError(_AN_OBJECT, self.remote.name, str(error)) from error
        with suppress(StorageError):
            # On a read-only disk, it is learnt anew each time.
            self.remote.remember()
        self._database, self._is_fresh = store.objects, True
        return store.objects


class Promise:
    """What *remotes* have promised to the store *local*. Safe to use from several threads.

    With *link*, whole packs are shared with a remote on the same filesystem. With *exact*, no commit comes along that
    was not asked for: the history here would seem to be longer than it was to be.
    """

    def __init__(self, local: Store, remotes: Sequence[Remote], *, link: bool = True, exact: bool = False) -> None:
        self.remotes: Final = [PromisorRemote(remote) for remote in remotes]
        self._local = local
        self._link = link
        self._exact = exact
        self._lock = Lock()

    def bring(self, object_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
        """Store those of *object_ids* here that are promised and not here; return what is not here then.

        Raises:
            RemoteDamagedError: What came is not what its id says; nothing of it was stored.
            OutOfReachError: Who has promised one cannot be reached.
        """
        is_writable = os.access(self._local.files.root, os.W_OK)
        remaining, missing = iter(object_ids), list[bytes]()
        with self._lock:
            for holder in self.remotes:
                holder.expire()
            while window := list(islice(remaining, _WINDOW)):
                lacking = self._missing(window)
                # A repository on a read-only disk: what is needed is read from where it is, each time.
                missing += self._bring_window(lacking, progress) if lacking and is_writable else lacking
        return missing

    def _missing(self, object_ids: Iterable[bytes]) -> list[bytes]:
        here = self._local.objects
        return [object_id for object_id in dict.fromkeys(object_ids) if object_id not in here]

    def _bring_window(self, missing: list[bytes], progress: Progress) -> list[bytes]:
        # Another process may have brought them meanwhile.
        packs = self._local.objects.packs
        self._local.state()
        if self._local.objects.packs != packs:
            missing = self._missing(missing)
        for _ in range(_ATTEMPTS):
            try:
                return self._bring_missing(missing, progress)
            except CollectedError:
                missing = self._missing(missing)
            except BusyError:
                # What came is at hand for this process, and will come again for the next one.
                break
        return self._missing(missing)

    def _bring_missing(self, missing: list[bytes], progress: Progress) -> list[bytes]:
        """Bring *missing* from whoever has it; return what nobody has."""
        unreachable: OutOfReachError | None = None
        for holder in self.remotes:
            if not missing:
                break
            try:
                missing = self._bring_from(holder, missing, progress)
            except OutOfReachError as error:
                # Of several, the one that would be asked first.
                unreachable = unreachable or error
                missing = self._missing(missing)
        if missing and unreachable is None:
            unreachable = self._lacking()
        if missing and unreachable is not None:
            raise unreachable.about(_named(missing))
        return missing

    def _lacking(self) -> LackingRemoteError | None:
        """Return the error of the first remote that is itself a clone which may lack what it has promised."""
        clones = ((holder.remote.name, clone_of(holder.remote.origin)) for holder in self.remotes)
        return next((LackingRemoteError(_AN_OBJECT, name, clone) for name, clone in clones if clone), None)

    def unpromised(self, object_ids: Iterable[bytes]) -> list[bytes]:
        """Return those of *object_ids* that are neither here nor in any of the remotes.

        Raises:
            OutOfReachError: One that may have them cannot be asked.
        """
        with self._lock:
            missing = self._missing(object_ids)
            for holder in self.remotes:
                holder.expire()
                if missing and any(object_id not in holder.database for object_id in missing):
                    holder.refresh()
                missing = [object_id for object_id in missing if object_id not in holder.database]
        return missing

    def _bring_from(self, holder: PromisorRemote, missing: list[bytes], progress: Progress) -> list[bytes]:
        """Bring what *holder* has of *missing*; return the rest."""
        while True:
            selection = _select(holder.database, missing)
            if selection.rest and holder.refresh():
                continue
            if len(selection.rest) == len(missing):
                return missing
            try:
                transfer = _Transfer(self._local, holder, link=self._link, exact=self._exact, progress=progress)
                transfer.bring(selection)
            except _MovedError as error:
                if not holder.refresh():
                    raise RemoteDamagedError(holder.remote.name, error) from error
                missing = self._missing(missing)
            except CorruptionError as error:
                raise RemoteDamagedError(holder.remote.name, error) from error
            else:
                return selection.rest

    def stream(self, kind: int, object_ids: Sequence[bytes]) -> Iterator[tuple[bytes, Buffer]]:
        """Yield (id, verified bytes) of *object_ids* from where they are, and store nothing.

        Raises:
            ObjectNotFoundError: Nobody has promised one of them.
            RemoteDamagedError: What came is not what its id says.
            OutOfReachError: Who has promised one cannot be reached.
        """
        missing = list(object_ids)
        for holder in self.remotes:
            if missing and any(object_id not in holder.database for object_id in missing):
                holder.refresh()
            database = holder.database
            there = [object_id for object_id in missing if object_id in database]
            try:
                yield from database.stream(kind, there)
            except CorruptionError as error:
                raise RemoteDamagedError(holder.remote.name, error) from error
            except StorageError as error:
                raise OutOfReachError(_named(there), holder.remote.name, str(error)) from error
            missing = [object_id for object_id in missing if object_id not in database]
        if missing:
            raise ObjectNotFoundError(missing[0])


def _named(object_ids: Sequence[bytes]) -> str:
    more = f" and {len(object_ids) - 1:,} more" if len(object_ids) > 1 else ""
    return f"object {object_ids[0].hex()}{more}"


class _MovedError(CorruptionError):
    """A pack is no longer where the index says: perhaps that is an old one."""


class _Transfer:
    """One transfer from a promisor remote into the store *local*."""

    def __init__(self, local: Store, holder: PromisorRemote, *, link: bool, exact: bool, progress: Progress) -> None:
        self._local = local
        self._holder = holder
        self._backend = holder.remote.backend
        self._link = link
        self._exact = exact
        self._progress = progress
        self._receiver = self._new_receiver()
        self._received = 0

    def _new_receiver(self) -> PackReceiver:
        local = self._local
        generation = local.log.head().last_sweep
        return PackReceiver(local.objects, local.backend, local.files.temporary, generation=generation)

    def bring(self, selection: _Selection) -> None:
        """Bring what was selected.

        Raises:
            CorruptionError: Something is not what the index says.
            OutOfReachError: The remote cannot be reached.
        """
        small = _SMALL_PACK_NEAR if isinstance(self._backend, LocalFiles) else _SMALL_PACK
        packs, frames = _choose(selection, small, may_be_whole=not self._exact)
        size = sum(packs.values()) + sum(one.length for one in frames)
        if size > _WORTH_TELLING:
            self._local.tidy()
            self._progress.start("fetch data", size=size)
        try:
            self._bring_packs(list(packs))
            self._bring_frames(frames, frozenset(selection.object_ids) if self._exact else None)
            self._keep(selection)
        except CorruptionError:
            self._receiver.discard()
            # What was attached to be read goes again.
            self._local.state()
            raise
        except KeyNotFoundError as error:
            self._receiver.discard()
            message = f"{error.key} is missing"
            raise _MovedError(message) from error
        except (BusyError, CollectedError, NoSpaceError):
            self._receiver.discard()
            raise
        except BaseException as error:
            # What has arrived is not asked for again.
            with suppress(DsvcError):
                self._keep()
            if isinstance(error, StorageError):
                raise OutOfReachError(_named(selection.object_ids), self._holder.remote.name, str(error)) from error
            raise
        if size > _WORTH_TELLING:
            self._progress.finish()

    def _bring_packs(self, names: Sequence[str]) -> None:
        def copy(name: str) -> None:
            pack = open_pack(self._backend, name)
            self._receiver.copy(self._backend, pack, link=self._link)
            self._progress.advance(size=pack.length)

        with ThreadPoolExecutor(_PACKS_AT_ONCE) as pool, self._interruptible():
            for first in range(0, len(names), _PACKS_AT_ONCE):
                list(pool.map(copy, names[first : first + _PACKS_AT_ONCE]))
                if len(names) > first + _PACKS_AT_ONCE:
                    self._keep()

    def _bring_frames(self, frames: list[_Frame], commits: Collection[bytes] | None) -> None:
        """Bring *frames*; of the commits in them, if that is not None, *commits* only."""
        requests = _requests(sorted(frames, key=lambda one: (one.pack, one.offset)))
        if len(frames) == 1:
            self._take(self._read(next(requests)), commits)
            return
        waiting: deque[Future[list[_Opened]]] = deque()
        with ThreadPoolExecutor(_AT_ONCE) as pool, self._interruptible():
            try:
                while True:
                    waiting.extend(pool.submit(self._read, one) for one in islice(requests, _AT_ONCE - len(waiting)))
                    if not waiting:
                        return
                    self._take(waiting.popleft().result(), commits)
            finally:
                for future in waiting:
                    future.cancel()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let no thread wait for the network when somebody wants this to end."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            interrupt(self._holder.remote.origin)
            raise

    def _read(self, group: Sequence[_Frame]) -> list[_Opened]:
        """Read neighbouring frames of one pack at one go, and verify them."""
        start, last = group[0].offset, group[-1]
        key = pack_key(last.pack)
        try:
            view = memoryview(self._backend.read_ranges(key, [(start, last.offset + last.length - start)])[0])
        except KeyNotFoundError:
            raise
        except StorageError as error:
            if self._backend.size(key) >= last.offset + last.length:
                raise
            message = f"pack {last.pack} is shorter than the index says"
            raise CorruptionError(message) from error
        return [_open(one, view[one.offset - start : one.offset - start + one.length]) for one in group]

    def _take(self, opened: list[_Opened], commits: Collection[bytes] | None) -> None:
        here = self._local.objects
        for one in opened:
            wanted = [
                number
                for number, (object_id, kind) in enumerate(zip(one.ids, one.kinds, strict=True))
                if commits is None or kind != Kind.COMMIT or object_id in commits
            ]
            missing = [number for number in wanted if one.ids[number] not in here]
            size = sum(one.lengths[number] for number in missing)
            if one.is_complete and len(wanted) == len(one.ids) and 2 * size >= one.header.raw_length:
                self._receiver.add_frame(one.header, one.payload, one.kinds, one.lengths, one.ids)
            elif missing:
                # Once more: to keep it until here would take several times what came.
                raw = memoryview(frame.decompress(one.header, one.payload))
                for number in missing:
                    place = one.places[number]
                    data = raw[place : place + one.lengths[number]]
                    self._receiver.add(one.kinds[number], one.ids[number], data)
            size = frame.HEADER_LENGTH + len(one.payload)
            self._progress.advance(size=size)
            self._received += size
            if self._received >= _STEP_BYTES:
                self._keep()

    def _keep(self, selection: _Selection | None = None) -> None:
        """Make what has arrived part of the store; if a *selection* is given, all of it has to be here then.

        Raises:
            CorruptionError: The index promised what was not there.
        """
        receiver, self._receiver, self._received = self._receiver, self._new_receiver(), 0
        sealed = receiver.finish()
        if selection is not None:
            here, elsewhere = self._local.objects, set(selection.rest)
            for object_id in selection.object_ids:
                if object_id not in here and object_id not in elsewhere:
                    message = f"object {object_id.hex()} is not where the index says"
                    raise CorruptionError(message)
        if sealed.segment is not None:
            self._local.publish(lambda _: [], [sealed])


def _select(database: ObjectDatabase, object_ids: list[bytes]) -> _Selection:
    segments, live = database.segments, database.packs
    wanted: list[dict[int, int]] = [{} for _ in segments]
    rest: list[bytes] = []
    for object_id in object_ids:
        for segment, its_frames in zip(segments, wanted, strict=True):
            row = segment.find(object_id)
            if row >= 0 and segment.pack_of(row) in live:
                number = segment.frame_of(row)
                its_frames[number] = its_frames.get(number, 0) + segment.length_of(row)
                break
        else:
            rest.append(object_id)
    return _Selection(database, object_ids, wanted, rest)


def _choose(selection: _Selection, small: int, *, may_be_whole: bool) -> tuple[dict[str, int], list[_Frame]]:
    """Return which packs to bring whole, with how many bytes they hold, and which frames of others.

    Of two packs that are shorter than *small* bytes, neither comes whole.
    """
    database, wanted = selection.database, selection.wanted
    total = sum(sum(its_frames.values()) for its_frames in wanted)
    # For a file or two, nobody looks through all frames that there are.
    whole = _whole_packs(database, wanted, small) if may_be_whole and total >= _SMALL_PACK_NEAR else {}
    return whole, list(_frames(database, wanted, whole))


def _whole_packs(database: ObjectDatabase, wanted: list[dict[int, int]], small: int) -> dict[str, int]:
    """Return the packs of which nearly all is wanted, and how long their frames are."""
    needed: dict[str, int] = defaultdict(int)
    for segment, its_frames in zip(database.segments, wanted, strict=True):
        for number, size in its_frames.items():
            needed[segment.pack_at(segment.frame_row(number)[0])] += size
    whole: dict[str, int] = {}
    for name, size in needed.items():
        frames = {segment.frame_row(number)[1:4] for segment in database.segments for number in segment.frames_of(name)}
        if size >= _NEARLY_ALL * sum(raw for _, _, raw in frames):
            whole[name] = sum(stored for _, stored, _ in frames)
    large = {name: stored for name, stored in whole.items() if stored >= small}
    return whole if len(whole) - len(large) == 1 else large


def _frames(database: ObjectDatabase, wanted: list[dict[int, int]], whole: Iterable[str]) -> Iterator[_Frame]:
    taken = set(whole)
    for segment, its_frames in zip(database.segments, wanted, strict=True):
        chosen = [number for number in its_frames if segment.pack_at(segment.frame_row(number)[0]) not in taken]
        pointing = segment.rows_of_frames(chosen)
        for number in chosen:
            pack, offset, stored, raw, codec = segment.frame_row(number)
            yield _Frame(segment.pack_at(pack), offset, stored, raw, codec, segment, pointing[number])


def _requests(frames: Iterable[_Frame]) -> Iterator[list[_Frame]]:
    """Join sorted frames whose gaps are small to requests of a few MiB."""
    group: list[_Frame] = []
    objects = 0
    for one in frames:
        if group:
            first, last = group[0], group[-1]
            gap = one.offset - last.offset - last.length
            is_much = one.offset + one.length - first.offset > _REQUEST_BYTES or objects > _REQUEST_OBJECTS
            if one.pack != last.pack or gap > _MERGE_GAP or is_much:
                yield group
                group, objects = [], 0
        group.append(one)
        objects += len(one.rows)
    if group:
        yield group


def _open(one: _Frame, data: memoryview) -> _Opened:
    """Verify the frame *one*, whose bytes are *data*.

    Raises:
        CorruptionError: It is not what the index says.
    """
    try:
        header, payload = frame.parse_header(data), data[frame.HEADER_LENGTH :]
        if (header.codec, header.raw_length, header.stored_length) != (one.codec, one.raw_length, one.stored_length):
            message = "another header than the index says"
            raise frame.MalformedFrameError(message)
        if frame.frame_checksum(header.prefix(), blake3(payload).digest()) != header.checksum:
            message = "its bytes do not match its checksum"
            raise frame.MalformedFrameError(message)
        raw = memoryview(frame.decompress(header, payload))
    except frame.MalformedFrameError as error:
        raise MalformedPackError(one.pack, f"the frame at {one.offset}: {error}") from error
    ids, kinds, places, lengths = list[bytes](), bytearray(), array("I"), array("I")
    end = 0
    for row in one.rows:
        object_id, kind, place, length = one.segment.object_at(row)
        content = raw[place : place + length]
        # No pack has both data and what describes it.
        is_stranger = bool(kinds) and (kind == Kind.CHUNK) is not (kinds[0] == Kind.CHUNK)
        if is_stranger or len(content) != length or hash_object(kind, content) != object_id:
            raise ObjectMismatchError(object_id, f"pack {one.pack}")
        # An object that is in another frame too has no row here, and leaves a gap.
        end = place + length if place == end else -1
        ids.append(object_id)
        kinds.append(kind)
        places.append(place)
        lengths.append(length)
    is_complete = end == header.raw_length and len(ids) == header.count
    return _Opened(header, payload, ids, bytes(kinds), places, lengths, is_complete)
