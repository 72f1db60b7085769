"""Object ids: BLAKE3 of an object's bytes, in a domain of its own for each kind.

A chunk's id is the plain hash of its bytes, so that `b3sum` prints it. Every other kind
hashes in BLAKE3's derive-key mode: bytes of one kind can never pass for another.
"""

from enum import IntEnum
from typing import Final

from blake3 import blake3

from dsvc.errors import CorruptionError, InvalidInputError

__all__ = ["EMPTY_DIGEST", "ID_LENGTH", "Kind", "ObjectId", "ObjectMismatchError", "WrongKindError", "hash_object"]

ID_LENGTH: Final = 32

Buffer = bytes | bytearray | memoryview


class Kind(IntEnum):
    """The kinds of object. The numbers are part of the pack format."""

    CHUNK = 0
    BLOB = 1
    PAGE = 2
    COMMIT = 3
    TAG = 4
    EXTENSION = 5


_CONTEXTS: Final = {
    Kind.BLOB: "dsvc 2026 blob",
    Kind.PAGE: "dsvc 2026 page",
    Kind.COMMIT: "dsvc 2026 commit",
    Kind.TAG: "dsvc 2026 tag",
    Kind.EXTENSION: "dsvc 2026 extension",
}


# A subclass of bytes, because a set look-up takes 81 ns where a dataclass takes 265.
class ObjectId(bytes):
    """32 bytes that name an object by its content."""

    __slots__ = ()

    @classmethod
    def from_hex(cls, text: str) -> "ObjectId":
        """Read 64 hexadecimal digits.

        Raises:
            InvalidInputError: *text* is anything else.
        """
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(value) != ID_LENGTH or len(text) != 2 * ID_LENGTH:
            message = f"not an object id: {text!r}"
            raise InvalidInputError(message)
        return cls(value)

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"ObjectId({self.hex()})"

    @property
    def short(self) -> str:
        """The first ten digits, for people."""
        return self[:5].hex()


class ObjectMismatchError(CorruptionError):
    """An object's bytes do not hash to its id."""

    def __init__(self, object_id: bytes, where: str) -> None:
        super().__init__(f"object {object_id.hex()} is damaged in {where}")
        self.object_id = object_id
        self.where = where


class WrongKindError(CorruptionError):
    """An object is there, and is of another kind than what names it says."""

    def __init__(self, object_id: bytes, kind: int, found: int) -> None:
        names = {one.value: one.name.lower() for one in Kind}
        should, does = (names.get(number, f"kind {number}") for number in (kind, found))
        super().__init__(f"object {object_id.hex()} should be a {should}, and the index says {does}")
        self.object_id = object_id


def hash_object(kind: int, data: Buffer) -> ObjectId:
    """Return the id of an object of *kind* whose encoded bytes are *data*."""
    if kind == Kind.CHUNK:
        return ObjectId(blake3(data).digest())
    return ObjectId(blake3(data, derive_key_context=_CONTEXTS[Kind(kind)]).digest())


EMPTY_DIGEST: Final = hash_object(Kind.CHUNK, b"")
