"""The changes of a checkout: gone through several times, and too many to be kept as objects when there are millions."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from dsvc.history.diff import Change
from dsvc.model.tree import Entry
from dsvc.storage.local import storage_error
from dsvc.storage.temporary import temporary_name

__all__ = ["Moves"]

# As objects, these take 22 MB.
_IN_MEMORY: Final = 1 << 16
_BATCH: Final = 4096

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[tuple[Entry | None, Entry | None]])


class Moves:
    """Changes, in the order in which they came; where they are many, in a file of *folder* that has no name."""

    def __init__(self, folder: Path, changes: Iterable[Change]) -> None:
        self._path = folder / temporary_name()
        self._descriptor = -1
        self._places: list[tuple[int, int]] = []
        stream = iter(changes)
        self._first = list(islice(stream, _IN_MEMORY))
        self._count = len(self._first)
        end = 0
        try:
            while batch := list(islice(stream, _BATCH)):
                packed = _encoder.encode(batch)
                self._write(packed)
                self._places.append((end, len(packed)))
                end += len(packed)
                self._count += len(batch)
        except OSError as error:
            raise storage_error(error, f"write {self._path}") from error

    def _write(self, packed: bytes) -> None:
        if self._descriptor < 0:
            self._path.parent.mkdir(exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._path.unlink()
        view = memoryview(packed)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Change]:
        yield from self._first
        for place in self._places:
            yield from self._read(*place)

    def __reversed__(self) -> Iterator[Change]:
        for place in reversed(self._places):
            yield from reversed(self._read(*place))
        yield from reversed(self._first)

    def _read(self, start: int, length: int) -> list[Change]:
        try:
            packed = os.pread(self._descriptor, length, start)
        except OSError as error:
            raise storage_error(error, f"read {self._path}") from error
        return [Change(*each) for each in _decoder.decode(packed)]
