"""Making a bundle: a backend that appends what it is given to a file, and goes on with one that was left unfinished.

Packs are written as they come, and all else at the end. So a file that was left holds packs and nothing else; each
that is whole is kept, and whoever stores it again finds it there.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Final, Self

from blake3 import blake3

from dsvc.errors import AlreadyExistsError, BusyError, CorruptionError, InvalidInputError
from dsvc.model.paths import quote_path
from dsvc.storage.backend import KeyExistsError, KeyNotFoundError, check_key, check_prefix
from dsvc.storage.bundle import (
    END_LENGTH,
    Item,
    Volume,
    bundle_file,
    encode_end,
    encode_header,
    encode_item,
    read_items,
    read_part,
    volume_name,
)
from dsvc.storage.local import storage_error, sync_file, sync_folder

__all__ = ["BundleBeingMadeError", "BundleExistsError", "BundleWriter", "ValueTooLargeError"]

Buffer = bytes | bytearray | memoryview

_PACKS: Final = "packs/"
_HINT: Final = "log/hint"


class BundleExistsError(AlreadyExistsError):
    """What should be written is there already."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{quote_path(os.fsencode(path))} is there already")
        self.path = path


class BundleBeingMadeError(BusyError):
    """Another process is making the same bundle."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another process is writing {quote_path(os.fsencode(path))}")
        self.path = path


class ValueTooLargeError(InvalidInputError):
    """A value that fits into no volume."""

    def __init__(self, key: str, length: int, volume: int) -> None:
        super().__init__(f"{key} takes {length:,} bytes, and does not fit into a volume of {volume:,}")
        self.length = length


class BundleWriter:
    """The bundle *path*, to become whole with `finish`; in volumes of at most *split* bytes, if that is given.

    Its id is *bundle*, unless it goes on with a file `PATH.part`, which is left when a block is left before the end.
    Safe to use from several threads. What was written can be read back.

    Raises:
        BundleExistsError: There is something, without *replace*.
        BundleBeingMadeError: Another process is at it.
        StorageError: It cannot be written.
    """

    def __init__(self, path: Path, bundle: bytes, *, split: int | None = None, replace: bool = False) -> None:
        for taken in (path, volume_name(path, 1)):
            if os.path.lexists(taken) and (taken.is_dir() or not replace):
                raise BundleExistsError(taken)
        self._path = path
        self._split = split
        self._lock = RLock()
        self._small: dict[str, bytes] = {}
        self._items: dict[str, tuple[Path, Item]] = {}
        # The volumes that are full, and the one that is written: its number, what it holds, and how long it is.
        self._full: list[Path] = []
        self._bundle = bundle
        self._count = self._length = 0
        self._heads = blake3()
        self._descriptor = -1
        with self._writing():
            self._locked = self._take_lock()
            try:
                self._resume()
            except BaseException:
                self._close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0 and not self._items:
            # There is nothing to go on from.
            with suppress(OSError):
                self._part(1).unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        for descriptor in {self._descriptor, self._locked} - {-1}:
            with suppress(OSError):
                os.close(descriptor)
        self._descriptor = self._locked = -1

    def _part(self, number: int) -> Path:
        name = self._path if self._split is None else volume_name(self._path, number)
        return name.with_name(f"{name.name}.part")

    def _take_lock(self) -> int:
        """Return the first volume's file, open and held as long as it is."""
        part = self._part(1)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have finished, and this file have another name by now.
            if os.path.samestat(os.fstat(descriptor), part.stat()):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        raise BundleBeingMadeError(part)

    def _resume(self) -> None:
        """Keep what is whole of the files that were left, and cut off the rest."""
        number = 1
        while (volume := self._left(number)) is not None:
            self._bundle = volume.bundle
            whole = list(self._whole_packs(volume))
            if volume.is_last is not False or len(whole) < len(volume.items):
                self._start(number, whole, keep=True)
                break
            self._items.update({item.key: (volume.path, item) for item in whole})
            self._full.append(volume.path)
            number += 1
        else:
            self._start(number, [], keep=False)
        self._remove_from(number + 1)

    def _left(self, number: int) -> Volume | None:
        part = self._part(number)
        with suppress(CorruptionError):
            if part.exists():
                volume = read_items(part)
                if volume.number == number and (number == 1 or volume.bundle == self._bundle):
                    return volume
        return None

    def _whole_packs(self, volume: Volume) -> Iterator[Item]:
        descriptor = os.open(volume.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for item in volume.items:
                is_pack = item.key.startswith(_PACKS) and item.key not in self._items
                if not is_pack or blake3(read_part(descriptor, item, 0, item.length)).digest() != item.digest:
                    return
                yield item
        finally:
            os.close(descriptor)

    def _start(self, number: int, items: Sequence[Item], *, keep: bool) -> None:
        """Write to volume *number* from now on, behind *items*, which are in it already."""
        part = self._part(number)
        if self._descriptor not in (-1, self._locked):
            os.close(self._descriptor)
        self._descriptor = self._locked if number == 1 else os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        header = encode_header(self._bundle, number)
        self._heads, self._count = blake3(header), len(items)
        self._length = len(header)
        for item in items:
            self._heads.update(encode_item(item.key, item.length, item.digest))
            self._length = item.offset + item.length
            self._items[item.key] = part, item
        os.ftruncate(self._descriptor, self._length if keep else 0)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if not keep:
            self._write(header)

    def _remove_from(self, number: int) -> None:
        if self._split is not None:
            while (part := self._part(number)).exists():
                part.unlink()
                number += 1

    def _write(self, *parts: Buffer) -> None:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _make_room(self, what: str, length: int) -> None:
        """Go on in the next volume, if there is no room for *length* bytes more in this one."""
        if self._split is None or self._length + length + END_LENGTH <= self._split:
            return
        if self._count:
            self._end(is_last=False)
            self._full.append(self._part(len(self._full) + 1))
            self._start(len(self._full) + 1, [], keep=False)
        if self._length + length + END_LENGTH > self._split:
            raise ValueTooLargeError(what, length, self._split)

    def _append(self, key: str, value: Buffer) -> None:
        length = memoryview(value).nbytes
        digest = blake3(value).digest()
        head = encode_item(key, length, digest)
        self._make_room(key, len(head) + length)
        try:
            self._write(head, value)
        except OSError:
            # Whoever goes on finds it whole up to here.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._length)
            raise
        self._heads.update(head)
        item = Item(key, self._length + len(head), length, digest)
        self._items[key] = self._part(len(self._full) + 1), item
        self._length = item.offset + length
        self._count += 1

    def _end(self, *, is_last: bool) -> None:
        self._write(encode_end(self._heads, self._count, is_last=is_last))
        sync_file(self._descriptor)

    def finish(self) -> list[Path]:
        """Write all that is left, make it durable and give it its name; return the files."""
        with self._lock, self._writing():
            self._small.pop(_HINT, None)
            # Whoever has the last volume knows all that is not data.
            heads = sum(len(encode_item(key, 0, b"")) for key in self._small)
            self._make_room("the index", heads + sum(map(len, self._small.values())))
            for key in sorted(self._small, key=_order):
                self._append(key, self._small[key])
            self._end(is_last=True)
            parts = [*self._full, self._part(len(self._full) + 1)]
            several = len(parts) > 1
            names = [volume_name(self._path, number) if several else self._path for number in range(1, len(parts) + 1)]
            for part, name in zip(parts, names, strict=True):
                part.replace(name)
            self._remove_old(names)
            sync_folder(self._path.parent)
        self._close()
        return names

    def _remove_old(self, names: Sequence[Path]) -> None:
        """Remove what is left of a bundle of that name which had another number of volumes."""
        old = [self._path] if len(names) > 1 else []
        number = len(names) + 1 if len(names) > 1 else 1
        while bundle_file(volume_name(self._path, number)) == volume_name(self._path, number):
            old.append(volume_name(self._path, number))
            number += 1
        for path in old:
            path.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        value = self.read_many([key])[0]
        if value is None:
            raise KeyNotFoundError(key)
        return value

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> bytes | None:
        with self._lock:
            if check_key(key) in self._small:
                return self._small[key]
            found = self._items.get(key)
        return None if found is None else self.read_ranges(key, [(0, found[1].length)])[0]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        with self._lock:
            if key in self._small:
                return [self._small[key][offset : offset + length] for offset, length in ranges]
            if key not in self._items:
                raise KeyNotFoundError(key)
            path, item = self._items[key]
        with self._writing():
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return [read_part(descriptor, item, offset, length) for offset, length in ranges]
            finally:
                os.close(descriptor)

    def size(self, key: str) -> int:
        """Return the length of the value of *key*."""
        with self._lock:
            if key in self._small:
                return len(self._small[key])
            if key in self._items:
                return self._items[key][1].length
        raise KeyNotFoundError(key)

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*; a pack that is there already is the same, as it is called by its hash."""
        with self._lock:
            if not check_key(key).startswith(_PACKS):
                self._small[key] = bytes(value)
            elif key not in self._items:
                with self._writing():
                    self._append(key, value)

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there."""
        with self._lock:
            if key in self._small or key in self._items:
                raise KeyExistsError(key)
            self.write(key, value)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that start with *prefix*."""
        check_prefix(prefix)
        with self._lock:
            found = [(key, self.size(key)) for key in (*self._small, *self._items) if key.startswith(prefix)]
        yield from found

    def delete(self, key: str) -> None:
        """Remove *key*, if it was not written yet."""
        with self._lock:
            self._small.pop(check_key(key), None)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, f"write {quote_path(os.fsencode(self._path))}") from error


def _order(key: str) -> tuple[bool, str]:
    # The log comes last, as it names all else.
    return key.startswith("log/"), key
