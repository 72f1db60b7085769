"""A backend with a copy at hand of what was read from it before: a remote's index, far away, is asked for once.

Only values that never change are kept, so nothing in the copy is ever out of date, and a copy that is
lost or incomplete costs time and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from blake3 import blake3

from dsvc.errors import CorruptionError
from dsvc.storage.backend import Backend, KeyNotFoundError, Metered, Streaming, interrupt
from dsvc.storage.local import LocalBackend

__all__ = ["MirroredBackend"]

Buffer = bytes | bytearray | memoryview

_AT_ONCE: Final = 8


class MirroredBackend:
    """*origin*, with a *copy* of values that never change: those whose keys it *keeps*, and those it was told to fetch.

    *digest* returns the BLAKE3 that a value must have, in hex, or None if nobody knows: what is damaged is not kept.
    What is written goes to the origin first, and a key is in the copy only once its value is whole.
    """

    def __init__(
        self,
        origin: Backend,
        copy: LocalBackend,
        keeps: Callable[[str], bool],
        digest: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.origin: Final = origin
        self.copy: Final = copy
        self._keeps = keeps
        self._digest = digest

    def _kept(self, key: str) -> bytes | None:
        return self.copy.read_many([key])[0] if self._keeps(key) else None

    def _keep(self, key: str, pieces: Iterable[Buffer]) -> None:
        self.copy.write_pieces(key, self._checked(key, pieces))

    def _checked(self, key: str, pieces: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield *pieces*.

        Raises:
            CorruptionError: In the end: they are not what they were.
        """
        expected, hasher = self._digest(key), blake3()
        for piece in pieces:
            if expected is not None:
                hasher.update(piece)
            yield piece
        if expected is not None and hasher.hexdigest() != expected:
            message = f"{key} is damaged"
            raise CorruptionError(message)

    def file(self, key: str) -> Path:
        """Return a file that holds the value of *key*, which never changes.

        Raises:
            KeyNotFoundError: Nothing is there.
        """
        path = self.copy.path(key)
        if not path.is_file():
            origin = self.origin
            self._keep(key, origin.pieces(key) if isinstance(origin, Streaming) else [origin.read(key)])
        return path

    def fetch(self, keys: Sequence[str]) -> None:
        """Bring the values of *keys*, which never change, into the copy, several at once.

        Raises:
            KeyNotFoundError: One of them is not there.
        """
        missing = [key for key in keys if not self.copy.path(key).is_file()]
        if missing:
            with ThreadPoolExecutor(min(_AT_ONCE, len(missing))) as pool:
                try:
                    list(pool.map(self.file, missing))
                except BaseException:
                    # Leaving the pool waits for its threads, and they may wait for a network.
                    interrupt(self.origin)
                    raise

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        value = self._kept(key)
        if value is None:
            value = self.origin.read(key)
            if self._keeps(key):
                self._keep(key, [value])
        return value

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        found = {key: self._kept(key) for key in keys}
        missing = [key for key, value in found.items() if value is None]
        for key, value in zip(missing, self.origin.read_many(missing) if missing else (), strict=True):
            found[key] = value
            if value is not None and self._keeps(key):
                self._keep(key, [value])
        return [found[key] for key in keys]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        try:
            return self.copy.read_ranges(key, ranges)
        except KeyNotFoundError:
            return self.origin.read_ranges(key, ranges)

    def size(self, key: str) -> int:
        """Return the length of the value of *key* there, never that of the copy: who asks relies on the answer."""
        return self.origin.size(key)

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*, durably."""
        self.origin.write(key, value)
        if self._keeps(key):
            self._keep(key, [value])

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there, durably."""
        self.origin.create(key, value)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that are there and start with *prefix*."""
        return self.origin.list(prefix)

    def delete(self, key: str) -> None:
        """Remove *key*, there and from the copy."""
        self.origin.delete(key)
        self.copy.delete(key)

    @property
    def requests(self) -> int:
        """How many requests were made there, 0 where nobody counts."""
        return self.origin.requests if isinstance(self.origin, Metered) else 0

    def interrupt(self) -> None:
        """Let no other thread wait for the origin."""
        interrupt(self.origin)
