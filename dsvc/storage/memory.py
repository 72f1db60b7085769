"""A backend in this process's memory, for tests and `memory://`."""

from collections.abc import Iterator, Sequence
from threading import Lock

from dsvc.errors import StorageError
from dsvc.storage.backend import KeyExistsError, KeyNotFoundError, check_key, check_prefix

__all__ = ["MemoryBackend"]

Buffer = bytes | bytearray | memoryview


class MemoryBackend:
    """A dictionary behind the Backend protocol."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._lock = Lock()

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        try:
            return self._values[check_key(key)]
        except KeyError:
            raise KeyNotFoundError(key) from None

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        return [self._values.get(check_key(key)) for key in keys]

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        value = self.read(key)
        parts = [value[offset : offset + length] for offset, length in ranges]
        if any(len(part) != length for part, (_, length) in zip(parts, ranges, strict=True)):
            message = f"{key} is shorter than expected"
            raise StorageError(message)
        return parts

    def size(self, key: str) -> int:
        """Return the length of the value of *key*."""
        return len(self.read(key))

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*."""
        with self._lock:
            self._values[check_key(key)] = bytes(value)

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there."""
        with self._lock:
            if check_key(key) in self._values:
                raise KeyExistsError(key)
            self._values[key] = bytes(value)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that start with *prefix*."""
        check_prefix(prefix)
        with self._lock:
            found = [(key, len(value)) for key, value in self._values.items() if key.startswith(prefix)]
        yield from found

    def delete(self, key: str) -> None:
        """Remove *key*."""
        with self._lock:
            self._values.pop(check_key(key), None)
