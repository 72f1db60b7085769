"""A value as a file to read, without a copy of it: what HTTP libraries are given in place of bytes.

Given bytes, they hand the whole of them to the socket at once, which copies what it cannot send yet.
"""

import io

__all__ = ["ValueReader"]

Buffer = bytes | bytearray | memoryview


class ValueReader(io.RawIOBase):
    """*value* from its first byte to its last, and again from wherever it is told."""

    def __init__(self, value: Buffer) -> None:
        super().__init__()
        self._view = memoryview(value).cast("B")
        self._position = 0

    def __len__(self) -> int:
        return len(self._view)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read again."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to *offset*, and return where that is."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = min(max(0, start + offset), len(self._view))
        return self._position

    def tell(self) -> int:
        """Return where it is."""
        return self._position

    def readinto(self, target: object, /) -> int:
        """Fill *target* as far as there are bytes, and return how many there were."""
        room = memoryview(target).cast("B")  # type: ignore[arg-type]  # any buffer that can be written
        part = self._view[self._position : self._position + len(room)]
        room[: len(part)] = part
        self._position += len(part)
        return len(part)
