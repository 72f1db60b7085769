"""A bundle: the values of a store in one file, or in several volumes of it, to be carried to where no network is.

The form is that of dsvc-format(5). Whoever reads one finds a backend like any other, that nobody can write to.
"""

import json
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from blake3 import blake3

from dsvc.errors import CorruptionError, InvalidInputError, NotFoundError, RefusedError, StorageError
from dsvc.model.paths import quote_path
from dsvc.storage.backend import KeyNotFoundError, check_key, check_prefix
from dsvc.storage.local import storage_error

__all__ = [
    "END_LENGTH",
    "MANIFEST",
    "BundleBackend",
    "Item",
    "MalformedBundleError",
    "Volume",
    "VolumeMissingError",
    "WriteToBundleError",
    "bundle_file",
    "encode_end",
    "encode_header",
    "encode_item",
    "read_items",
    "read_part",
    "volume_name",
]

Buffer = bytes | bytearray | memoryview

_VERSION: Final = 1
_MAGIC: Final = b"DSVCBNDL"
_ITEM_MAGIC: Final = b"DSVCITEM"
_LAST: Final = b"DSVCLAST"
_MORE: Final = b"DSVCMORE"
_HEADER: Final = struct.Struct("<8sHHI32s")
_ITEM: Final = struct.Struct("<8sHHIQ32s")
_END: Final = struct.Struct("<8sII32s")
END_LENGTH: Final = _END.size
_MOST_KEY: Final = 1024
_VOLUME: Final = re.compile(r"(.+)\.([0-9]{3,})")
MANIFEST: Final = "bundle.json"


class MalformedBundleError(CorruptionError):
    """A file that is no whole bundle."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the bundle {quote_path(os.fsencode(path))} is damaged: {reason}")
        self.path = path


class VolumeMissingError(NotFoundError):
    """Not all volumes of a bundle are here."""

    def __init__(self, path: Path, numbers: Sequence[int], *, last: bool) -> None:
        named = [f"volume {number}" for number in numbers] + (["the last volume"] if last else [])
        super().__init__(f"of the bundle {quote_path(os.fsencode(path))}, {' and '.join(named)} is not here")
        self.path = path


class WriteToBundleError(RefusedError):
    """A bundle never changes."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{quote_path(os.fsencode(path))} is a bundle, which nothing is added to")


class Item(NamedTuple):
    """One value: its key, where it is in the file, its length, and its hash."""

    key: str
    offset: int
    length: int
    digest: bytes


class Volume(NamedTuple):
    """What one file of a bundle holds; *is_last* is None where it is not whole, and *end* where that begins."""

    path: Path
    bundle: bytes
    number: int
    items: list[Item]
    is_last: bool | None
    end: int


def encode_header(bundle: bytes, number: int) -> bytes:
    """Return the first bytes of volume *number* of the bundle with the id *bundle*."""
    return _HEADER.pack(_MAGIC, _VERSION, 0, number, bundle)


def encode_item(key: str, length: int, digest: bytes) -> bytes:
    """Return what comes before the value of *key*."""
    name = key.encode()
    return _ITEM.pack(_ITEM_MAGIC, len(name), 0, 0, length, digest) + name


def encode_end(heads: "blake3", items: int, *, is_last: bool) -> bytes:
    """Return the last bytes of a volume with so many *items*, where *heads* has hashed all that is no value."""
    return _END.pack(_LAST if is_last else _MORE, items, 0, heads.digest())


def volume_name(path: Path, number: int) -> Path:
    """Return what volume *number* of the bundle *path* is called, where it has several."""
    return path.with_name(f"{path.name}.{number:03}")


def bundle_file(path: Path) -> Path | None:
    """Return the file of the bundle that is meant by *path*: itself, or its first volume; None if it is none."""
    for candidate in (path, volume_name(path, 1)):
        try:
            with candidate.open("rb") as file:
                if file.read(len(_MAGIC)) == _MAGIC:
                    return candidate
        except OSError:
            continue
    return None


def read_items(path: Path) -> Volume:
    """Read what is in the volume *path*, but for the values.

    Raises:
        MalformedBundleError: It is none, or of a newer format, or what is in it does not fit.
        StorageError: It cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _Reading(path, descriptor).volume()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, f"read {quote_path(os.fsencode(path))}") from error


class _Reading:
    """One walk over the heads of the items of a volume."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._heads = blake3()

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def volume(self) -> Volume:
        head = self._read(0, _HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(_MAGIC):
            raise MalformedBundleError(self._path, "it has no header")
        _, version, zero, number, bundle = _HEADER.unpack(head)
        if version != _VERSION:
            raise MalformedBundleError(self._path, f"its format is {version}, and this dsvc knows {_VERSION}")
        if zero or not number:
            raise MalformedBundleError(self._path, "its header")
        self._heads.update(head)
        items: list[Item] = []
        offset = _HEADER.size
        while True:
            head = self._read(offset, _ITEM.size)
            if head[:8] in (_LAST, _MORE) and len(head) >= _END.size:
                self._check_end(head[: _END.size], offset, len(items))
                return Volume(self._path, bundle, number, items, head[:8] == _LAST, offset)
            item = self._item(head, offset)
            if item is None:
                return Volume(self._path, bundle, number, items, None, offset)
            items.append(item)
            offset = item.offset + item.length

    def _item(self, head: bytes, offset: int) -> Item | None:
        """Return the item at *offset*, None where the file ends before it does."""
        if len(head) < _ITEM.size:
            return None
        magic, key_length, zero, more_zero, length, digest = _ITEM.unpack(head)
        if magic != _ITEM_MAGIC or zero or more_zero or not 0 < key_length <= _MOST_KEY:
            raise MalformedBundleError(self._path, f"what is at byte {offset} is no item")
        name = self._read(offset + _ITEM.size, key_length)
        start = offset + _ITEM.size + key_length
        if start + length > self._size:
            return None
        try:
            key = check_key(name.decode("ascii"))
        except (InvalidInputError, UnicodeDecodeError):
            raise MalformedBundleError(self._path, f"the key at byte {offset}") from None
        self._heads.update(head + name)
        return Item(key, start, length, digest)

    def _check_end(self, end: bytes, offset: int, items: int) -> None:
        _, count, zero, digest = _END.unpack(end)
        if (count, zero, digest) != (items, 0, self._heads.digest()) or offset + _END.size != self._size:
            raise MalformedBundleError(self._path, "its end does not fit what is before")


class BundleBackend:
    """The values in the *volumes* of one bundle, which is called *path*."""

    def __init__(self, path: Path, volumes: Sequence[Volume]) -> None:
        self.path: Final = path
        self.volumes: Final = volumes
        self._items: dict[str, tuple[Path, Item]] = {}
        for volume in volumes:
            if volume.bundle != volumes[0].bundle:
                raise MalformedBundleError(volume.path, "it belongs to another bundle than the volumes beside it")
            for item in volume.items:
                if item.key in self._items:
                    raise MalformedBundleError(volume.path, f"{item.key} is there twice")
                self._items[item.key] = volume.path, item

    @classmethod
    def open(cls, file: Path, *, partial: bool = False) -> Self:
        """Open the bundle that *file* is a volume of, with those beside it; if *partial*, some may be missing.

        Raises:
            MalformedBundleError: A volume is damaged, or not whole.
            VolumeMissingError: One is missing.
        """
        path, volumes = _volumes(read_items(file))
        for volume in volumes:
            if volume.is_last is None:
                raise MalformedBundleError(volume.path, "it is cut short")
        backend = cls(path, volumes)
        if not partial and not backend.is_complete:
            raise VolumeMissingError(path, backend.missing, last=not backend.has_last)
        return backend

    @property
    def has_last(self) -> bool:
        """Whether the volume is here that says what all of them are."""
        return any(volume.is_last for volume in self.volumes)

    @property
    def missing(self) -> list[int]:
        """The numbers of the volumes that are not here, up to the last one that is."""
        numbers = {volume.number for volume in self.volumes}
        return [number for number in range(1, max(numbers)) if number not in numbers]

    @property
    def is_complete(self) -> bool:
        """Whether all volumes are here."""
        return self.has_last and not self.missing

    @property
    def prerequisites(self) -> list[str]:
        """The commits, in hex, that whoever reads this must have, with all that they need.

        Raises:
            MalformedBundleError: It is not said as it must be.
        """
        try:
            manifest = json.loads(self.read(MANIFEST))
            found = manifest["prerequisites"]
            if manifest["v"] == _VERSION and all(re.fullmatch("[0-9a-f]{64}", one) for one in found):
                return list(found)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise MalformedBundleError(self.path, MANIFEST)

    def items(self) -> Iterator[Item]:
        """Yield all values, in the order in which they are stored."""
        for volume in self.volumes:
            yield from volume.items

    def check(self, key: str) -> None:
        """Check that the value of *key* is what it was when it was written.

        Raises:
            MalformedBundleError: It is not.
        """
        path, item = self._place(key)
        if blake3(self.read(key)).digest() != item.digest:
            raise MalformedBundleError(path, f"{key} is not what it was")

    def _place(self, key: str) -> tuple[Path, Item]:
        try:
            return self._items[check_key(key)]
        except KeyError:
            raise KeyNotFoundError(key) from None

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        return self.read_ranges(key, [(0, self._place(key)[1].length)])[0]

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        return [self.read(key) if check_key(key) in self._items else None for key in keys]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        path, item = self._place(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return [read_part(descriptor, item, offset, length) for offset, length in ranges]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, f"read {quote_path(os.fsencode(path))}") from error

    def size(self, key: str) -> int:
        """Return the length of the value of *key*."""
        return self._place(key)[1].length

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that start with *prefix*."""
        check_prefix(prefix)
        return ((key, item.length) for key, (_, item) in self._items.items() if key.startswith(prefix))

    def write(self, key: str, value: Buffer) -> None:
        """Refuse."""
        del key, value
        raise WriteToBundleError(self.path)

    def create(self, key: str, value: Buffer) -> None:
        """Refuse."""
        del key, value
        raise WriteToBundleError(self.path)

    def delete(self, key: str) -> None:
        """Refuse."""
        del key
        raise WriteToBundleError(self.path)


def read_part(descriptor: int, item: Item, offset: int, length: int) -> bytes:
    """Return *length* bytes from *offset* on of the value that is *item* of the open file *descriptor*.

    Raises:
        StorageError: They are not all there.
    """
    if offset < 0 or offset + length > item.length:
        message = f"{item.key} is shorter than expected"
        raise StorageError(message)
    parts: list[bytes] = []
    left = length
    # One read returns at most 2 GiB, and less where a signal comes between.
    while left:
        part = os.pread(descriptor, left, item.offset + offset + length - left)
        if not part:
            message = f"{item.key} is shorter than expected"
            raise StorageError(message)
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _volumes(known: Volume) -> tuple[Path, list[Volume]]:
    """Return what the bundle of the volume *known* is called, and all volumes of it that are beside that."""
    named = _VOLUME.fullmatch(known.path.name)
    if named is None or (known.number == 1 and known.is_last):
        return known.path, [known]
    path = known.path.with_name(named[1])
    found = sorted(one for one in path.parent.iterdir() if _is_volume(one, named[1]))
    volumes = [known if one == known.path else read_items(one) for one in found]
    return path, sorted(volumes, key=lambda volume: volume.number)


def _is_volume(path: Path, name: str) -> bool:
    found = _VOLUME.fullmatch(path.name)
    return found is not None and found[1] == name and bundle_file(path) == path
