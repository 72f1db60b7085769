"""Writing files from objects.

The unit of work is a function from a batch of entries to their fingerprints, with nothing shared, as
in `ingest`. A file appears at a name where nothing is, or replaces another in one step; each
byte was verified against the id that the commit reaches, and a file of several chunks against its digest.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.history.store import Store
from dsvc.log.log import Log
from dsvc.model.blob import BlobItem
from dsvc.model.ids import Kind, ObjectMismatchError
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import chunks_of
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.worktree.folders import Folders, temporary_name
from dsvc.worktree.scan import Found, found_from_stat

__all__ = [
    "ItemBatch",
    "MaterialiseJob",
    "StoredObjects",
    "Written",
    "arrived_objects",
    "give_name",
    "materialise_batch",
    "object_database",
    "stored_objects",
    "write_items",
    "write_large",
]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Entry])

_TEMPORARY: Final = b".dsvc/tmp"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS: Final = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))
# IOV_MAX; only a list of chunks that dsvc would not have cut is longer.
_MOST_AT_ONCE: Final = 1024
# About 5 MiB of chunks: one read of a pack, and little memory.
_GROUP: Final = 16

Buffer = bytes | bytearray | memoryview


class StoredObjects(msgspec.Struct, frozen=True):
    """Where objects are: a *store* in a folder, and what is live there; those that are *nearer* are read from there.

    What has *arrived* just now was verified by nobody.
    """

    store: str
    packs: tuple[str, ...]
    segments: tuple[str, ...]
    nearer: "StoredObjects | None" = None
    arrived: bool = False


class MaterialiseJob(msgspec.Struct, frozen=True):
    """What every batch of one checkout has in common; small, and fit to be sent to another process."""

    root: bytes
    objects: StoredObjects


class ItemBatch:
    """Entries to be written by one worker at one go, each with whether something at its path is to be replaced."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[tuple[Entry, bool]]) -> None:
        self.items = items

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Encoded: a tenth of the time that another process takes to be sent each entry by itself.
        entries, flags = zip(*self.items, strict=True)
        return _items_of, (_encoder.encode(entries), bytes(flags))


def _items_of(entries: bytes, flags: bytes) -> ItemBatch:
    return ItemBatch(list(zip(_decoder.decode(entries), map(bool, flags), strict=True)))


class Written(msgspec.Struct, frozen=True):
    """What became of a batch: a fingerprint for each entry, in order, and the youngest change in ns.

    The fingerprint is empty where nothing was written, because the content was not here.
    """

    fingerprints: list[bytes]
    changed: list[int]


def stored_objects(store: Store, nearer: StoredObjects | None = None) -> StoredObjects:
    """Return what is live in *store*, a folder of this machine."""
    state = store.state()
    packs, segments = tuple(sorted(state.packs)), tuple(sorted(state.segments))
    return StoredObjects(os.fspath(store.files.root), packs, segments, nearer)


def arrived_objects(objects: ObjectDatabase) -> StoredObjects | None:
    """Return what has arrived for *objects* and was verified by nobody, None if there is nothing."""
    nearer = objects.nearer
    if nearer is None or not nearer.arrived or not isinstance(nearer.backend, LocalBackend):
        return None
    segments = tuple(segment.name for segment in nearer.segments)
    return StoredObjects(os.fspath(nearer.backend.root), tuple(sorted(nearer.packs)), segments, arrived=True)


@lru_cache(maxsize=1)
def object_database(stored: StoredObjects) -> ObjectDatabase:
    """Return the database of what is *stored*: opened once, before processes are forked."""
    database = _open(stored)
    if stored.nearer is not None:
        database.nearer = _open(stored.nearer)
    return database


def _open(stored: StoredObjects) -> ObjectDatabase:
    backend = LocalBackend(Path(stored.store))
    objects = ObjectDatabase(backend, packs=stored.packs, segments=stored.segments, arrived=stored.arrived)
    if stored.arrived:
        return objects
    log = Log(backend)

    def refresh() -> None:
        state = log.head()
        objects.update(state.packs, state.segments)

    objects.refresh = refresh
    return objects


def materialise_batch(job: MaterialiseJob, batch: ItemBatch) -> Written:
    """Write the files of *batch*; the flag tells that something may be at the path, to be replaced.

    From where the content is not here, nothing is written: another process may have pruned it a moment ago, and remotes
    are not known here.

    Raises:
        CorruptionError: An object is damaged; that file is not written.
        StorageError: The system refuses.
    """
    written = Written([b""] * len(batch.items), [0] * len(batch.items))
    with contextlib.suppress(ObjectNotFoundError):
        for number, found in write_items(object_database(job.objects), job.root, batch.items):
            written.fingerprints[number], written.changed[number] = found.fingerprint, found.changed
    return written


def write_items(
    objects: ObjectDatabase, root: bytes, items: Sequence[tuple[Entry, bool]]
) -> Iterator[tuple[int, Found]]:
    """Write the files of *items* below *root*; yield the number and the looks of each.

    Raises:
        CorruptionError, StorageError: As `materialise_batch`.
        ObjectNotFoundError: The content of one is not here.
    """
    with Folders(root) as folders:
        for numbers, content in _contents(objects, items):
            for number in numbers:
                entry, replace = items[number]
                yield number, found_from_stat(entry.path, _write(folders, entry, [content], replace=replace))


class _Assembly:
    """A file of several chunks on its way: the *numbers* of its items, and the chunks that have come."""

    __slots__ = ("_expected", "_missing", "chunks", "numbers")

    def __init__(self, numbers: list[int], expected: list[BlobItem]) -> None:
        self.numbers = numbers
        self.chunks: list[Buffer] = [b""] * len(expected)
        self._expected = expected
        self._missing = len(expected)

    def put(self, place: int, data: Buffer) -> bool:
        """Take the chunk number *place*, and tell whether it was the last.

        Raises:
            ObjectMismatchError: It is of another length than the list of chunks says.
        """
        item = self._expected[place]
        if len(data) != item.length:
            raise ObjectMismatchError(item.id, "a list of chunks")
        self._missing -= 1
        # What has to wait is copied: a view would keep all of its frame, and memory is counted by what files hold.
        self.chunks[place] = bytes(data) if self._missing else data
        return not self._missing


def _contents(objects: ObjectDatabase, items: Sequence[tuple[Entry, bool]]) -> Iterator[tuple[list[int], list[Buffer]]]:
    """Yield (numbers of *items*, the chunks of the content that they share), verified, in the order of storage."""
    numbers_of: dict[bytes, list[int]] = {}
    for number, (entry, _) in enumerate(items):
        numbers_of.setdefault(entry.digest, []).append(number)
    places: dict[bytes, list[tuple[_Assembly, int]]] = {}
    for digest, numbers in list(numbers_of.items()):
        entry = items[numbers[0]][0]
        if entry.blob is not None:
            chunks = list(chunks_of(objects, entry.blob, entry.size))
            assembly = _Assembly(numbers_of.pop(digest), chunks)
            for place, item in enumerate(chunks):
                places.setdefault(item.id, []).append((assembly, place))
        elif entry.size == 0:
            yield numbers_of.pop(digest), []
    # The others are hashed as a part of their file.
    trusted = places.keys() - numbers_of.keys()
    for chunk_id, data in objects.stream(Kind.CHUNK, numbers_of.keys() | places.keys(), trusted=trusted):
        whole = numbers_of.get(chunk_id)
        if whole is not None:
            yield whole, [data]
        for assembly, place in places.pop(chunk_id, ()):
            if assembly.put(place, data):
                entry = items[assembly.numbers[0]][0]
                hasher = blake3()
                for chunk in assembly.chunks:
                    hasher.update(chunk)
                _check_content(objects, entry, hasher)
                yield assembly.numbers, assembly.chunks


def _check_content(
    objects: ObjectDatabase, entry: Entry, hasher: blake3, chunks: Sequence[bytes] | None = None
) -> None:
    """Check that *hasher*, which has seen the content of *entry*, agrees.

    Raises:
        CorruptionError: It does not: a chunk is damaged, else the list of *chunks* is wrong.
    """
    if hasher.digest() == entry.digest:
        return
    # It is hashed as a whole, and once; only now does it matter which chunk it was.
    if chunks is None:
        chunks = [item.id for item in chunks_of(objects, entry.blob or b"", entry.size)]
    for chunk_id in chunks:
        objects.read(Kind.CHUNK, chunk_id)
    raise ObjectMismatchError(entry.blob or entry.digest, quote_path(entry.path))


def _write(
    folders: Folders, entry: Entry, groups: Iterable[list[Buffer]], *, replace: bool, aside: bool = False
) -> os.stat_result:
    try:
        return _write_file(folders, entry, groups, replace=replace, aside=replace or aside)
    except OSError as error:
        raise storage_error(error, f"write {quote_path(entry.path)}") from error


def _write_file(
    folders: Folders, entry: Entry, groups: Iterable[list[Buffer]], *, replace: bool, aside: bool
) -> os.stat_result:
    folder, _, name = entry.path.rpartition(b"/")
    parent = folders.open(folder, make=True)
    if entry.kind == EntryKind.SYMLINK:
        return _write_symlink(parent, name, b"".join(chain.from_iterable(groups)), replace=replace)
    mode = 0o777 if entry.kind == EntryKind.EXECUTABLE else 0o666
    # A new name is written in place: what a crash leaves there is the beginning of the file, and known for it.
    target, target_folder = name, parent
    if aside:
        target, target_folder = temporary_name(), folders.open(_TEMPORARY, make=True)
        parent = folders.open(folder)
    descriptor = os.open(target, _NEW, mode, dir_fd=target_folder)
    try:
        try:
            length = sum([_write_group(descriptor, group) for group in groups])
            if length != entry.size:
                raise ObjectMismatchError(entry.blob or entry.digest, quote_path(entry.path))
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if aside:
            give_name(target_folder, target, parent, name, replace=replace)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except BaseException:
        # An interrupt may come when it has got its name already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target, dir_fd=target_folder)
        raise
    return status


def give_name(target_folder: int, target: bytes, parent: int, name: bytes, *, replace: bool) -> None:
    """Give a finished file its name in one step; without *replace* only if nothing has that name by now.

    Both folders are open descriptors.
    """
    if not replace:
        try:
            os.link(target, name, src_dir_fd=target_folder, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            # A filesystem without links. What appears between this look and the renaming is a race that it leaves us.
            if error.errno not in _NO_LINKS or os.access(name, os.F_OK, dir_fd=parent, follow_symlinks=False):
                raise
        else:
            os.unlink(target, dir_fd=target_folder)
            return
    os.rename(target, name, src_dir_fd=target_folder, dst_dir_fd=parent)


def _write_group(descriptor: int, group: list[Buffer]) -> int:
    total = sum(map(len, group))
    written = os.writev(descriptor, group[:_MOST_AT_ONCE]) if total else 0
    if written < total:
        # A signal, a limit of one call, or a disk that is full: the next one tells.
        rest = memoryview(b"".join(group))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return total


def _write_symlink(parent: int, name: bytes, target: bytes, *, replace: bool) -> os.stat_result:
    if replace:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
    os.symlink(target, name, dir_fd=parent)
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def write_large(
    objects: ObjectDatabase, folders: Folders, entry: Entry, *, replace: bool, aside: bool, threads: int
) -> os.stat_result:
    """Write one file of many chunks: other threads read, decompress and hash while this one writes.

    With *aside* it is made in the folder for temporary files, if that is on the same filesystem. It is then hashed
    once, as a whole: until all of it is right, it is at no path. Else each chunk is verified before it is written.
    """
    aside = aside and _is_near(folders, entry)
    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(1) as hashing:
        content = _Content(objects, entry, verify=not (replace or aside))
        groups = content.groups(readers, hashing, ahead=threads + 1)
        return _write(folders, entry, groups, replace=replace, aside=aside)


def _is_near(folders: Folders, entry: Entry) -> bool:
    devices = [
        os.fstat(folders.open(folder, make=True)).st_dev for folder in (_TEMPORARY, entry.path.rpartition(b"/")[0])
    ]
    return devices[0] == devices[1]


class _Content:
    """The content of one file of many chunks; without *verify*, the chunks are only hashed as parts of the whole."""

    def __init__(self, objects: ObjectDatabase, entry: Entry, *, verify: bool) -> None:
        self._objects = objects
        self._entry = entry
        self._verify = verify
        self._chunks = [item.id for item in chunks_of(objects, entry.blob or b"", entry.size)]

    def groups(self, readers: ThreadPoolExecutor, hashing: ThreadPoolExecutor, *, ahead: int) -> Iterator[list[Buffer]]:
        """Yield groups of chunks in order, the last one only if all of it is right; *ahead* bounds the memory."""
        hasher = blake3()
        starts = iter(range(0, len(self._chunks), _GROUP))
        window = deque(readers.submit(self._read, start) for start in islice(starts, ahead))
        while window:
            group = window.popleft().result()
            window.extend(readers.submit(self._read, start) for start in islice(starts, 1))
            hashed = hashing.submit(_hash_group, hasher, group)
            if not window:
                hashed.result()
                _check_content(self._objects, self._entry, hasher, self._chunks)
            yield group
            hashed.result()

    def _read(self, start: int) -> list[Buffer]:
        ids = self._chunks[start : start + _GROUP]
        found = dict(self._objects.stream(Kind.CHUNK, ids, trusted=() if self._verify else ids))
        return [found[chunk_id] for chunk_id in ids]


def _hash_group(hasher: blake3, group: list[Buffer]) -> None:
    for chunk in group:
        hasher.update(chunk)
