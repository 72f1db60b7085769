"""A number for each of very many objects or frames: where they are many, in a file that has no name.

So the system may have the memory back when it needs it, however large a store is.
"""

import mmap
import struct
from typing import Final

from dsvc.storage.local import storage_error

__all__ = ["zeros"]

_IN_MEMORY: Final = 4 * 1024 * 1024
_PIECE: Final = 1024 * 1024


def zeros(count: int, code: str = "B") -> "memoryview[int]":
    """Return *count* numbers, 0 each, of the type that `struct` calls *code*.

    Raises:
        StorageError: No file can be made, or the disk is full.
    """
    size = count * struct.calcsize(code)
    if size <= _IN_MEMORY:
        return memoryview(bytearray(size)).cast(code)  # type: ignore[call-overload,no-any-return]
    # Most commands never get here.
    from tempfile import TemporaryFile

    try:
        with TemporaryFile(buffering=0) as file:
            # Written and not only made longer: on a full disk, a page that is not there yet would end the process.
            for start in range(0, size, _PIECE):
                file.write(bytes(min(_PIECE, size - start)))
            return memoryview(mmap.mmap(file.fileno(), size)).cast(code)  # type: ignore[call-overload,no-any-return]
    except OSError as error:
        raise storage_error(error, "write a temporary file") from error
