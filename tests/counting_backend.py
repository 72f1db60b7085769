"""A backend that counts what is asked of another one: requests are what a bucket lets one wait and pay for."""

from collections import Counter
from collections.abc import Iterator, Sequence

from dsvc.storage.backend import Backend

__all__ = ["CountingBackend"]

Buffer = bytes | bytearray | memoryview


class CountingBackend:
    """*trips* are calls that a caller waits for one after another; *asked* what they are made of, by (verb, key).

    *ranges* are those that were read, as (key, offset, length).
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.trips = 0
        self.asked: list[tuple[str, str]] = []
        self.ranges: list[tuple[str, int, int]] = []

    def clear(self) -> None:
        self.trips = 0
        self.asked.clear()
        self.ranges.clear()

    def verbs(self, prefix: str = "") -> Counter[str]:
        return Counter(verb for verb, key in self.asked if key.startswith(prefix))

    def _note(self, verb: str, *keys: str) -> None:
        self.trips += 1
        self.asked.extend((verb, key) for key in keys)

    def read(self, key: str) -> bytes:
        self._note("read", key)
        return self.backend.read(key)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._note("read", *keys)
        return self.backend.read_many(keys)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self._note("range", *[key] * len(ranges))
        self.ranges.extend((key, offset, length) for offset, length in ranges)
        return self.backend.read_ranges(key, ranges)

    def size(self, key: str) -> int:
        self._note("size", key)
        return self.backend.size(key)

    def write(self, key: str, value: Buffer) -> None:
        self._note("write", key)
        self.backend.write(key, value)

    def create(self, key: str, value: Buffer) -> None:
        self._note("create", key)
        self.backend.create(key, value)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._note("list", prefix)
        return self.backend.list(prefix)

    def delete(self, key: str) -> None:
        self._note("delete", key)
        self.backend.delete(key)
