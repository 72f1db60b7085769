"""Reading and writing objects by id: the contracts that everything above the database is written to.

An object is bytes of a kind. Who reads or writes one does not know about packs, indexes or
remotes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Protocol, Self

from dsvc.errors import NotFoundError, StorageError
from dsvc.model.ids import ObjectId, hash_object
from dsvc.progress import NO_PROGRESS, Progress

__all__ = ["MemoryObjects", "ObjectNotFoundError", "ObjectReader", "ObjectWriter", "OutOfReachError", "Promisor"]


class ObjectNotFoundError(NotFoundError):
    """No object of that kind and id is here."""

    def __init__(self, object_id: bytes) -> None:
        super().__init__(f"object {object_id.hex()} is not here")
        self.object_id = object_id


class OutOfReachError(StorageError):
    """*what* is not here, and *remote*, which has it, cannot be reached for *reason*."""

    wording: ClassVar = "cannot read {what}, which {remote} has: {reason}"

    def __init__(self, what: str, remote: str, reason: str) -> None:
        super().__init__(self.wording.format(what=what, remote=remote, reason=reason))
        self.remote = remote
        self.reason = reason

    def about(self, what: str) -> Self:
        """Return the same error about *what*, as who asked for it would call that."""
        return type(self)(what, self.remote, self.reason)


class ObjectReader(Protocol):
    """Objects that can be read. What comes back is verified: it hashes to the id asked for."""

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return the bytes of the object *object_id* of *kind*.

        Raises:
            ObjectNotFoundError: It is not here.
            CorruptionError: Its bytes are not what they were.
        """

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return the bytes of each of *object_ids*, in their order, in as few requests as can be.

        Raises:
            ObjectNotFoundError: One of them is not here.
            CorruptionError: The bytes of one are not what they were.
        """


class ObjectWriter(Protocol):
    """Where new objects go. Writing the same bytes again changes nothing."""

    def write(self, kind: int, data: bytes) -> ObjectId:
        """Store *data* as an object of *kind* and return its id.

        It can be read, and is durable, only after the seal.
        """


class Promisor(Protocol):
    """Who has promised objects that are not here. Safe to use from several threads."""

    def bring(self, object_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
        """Store those of *object_ids* here that are promised and not here, so that they never have to come again.

        Returned is what is not here then: what nobody has promised, or what cannot be stored.

        Raises:
            CorruptionError: What came is not what its id says; nothing of it was stored.
            OutOfReachError: Who has promised one cannot be reached.
        """

    def unpromised(self, object_ids: Iterable[bytes]) -> list[bytes]:
        """Return those of *object_ids* that are neither here nor promised; nothing is brought.

        Raises:
            OutOfReachError: Who may have promised one cannot be asked.
        """

    def stream(self, kind: int, object_ids: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | bytearray | memoryview]]:
        """Yield (id, verified bytes) of *object_ids* from where they are, for once.

        Raises:
            ObjectNotFoundError: Nobody has promised one of them.
        """


class MemoryObjects:
    """Objects in a dictionary: for tests, and for results that may be thrown away."""

    def __init__(self) -> None:
        self._objects: dict[tuple[int, bytes], bytes] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return the bytes of the object *object_id* of *kind*."""
        try:
            return self._objects[kind, object_id]
        except KeyError:
            raise ObjectNotFoundError(object_id) from None

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return the bytes of each of *object_ids*, in their order."""
        return [self.read(kind, object_id) for object_id in object_ids]

    def write(self, kind: int, data: bytes) -> ObjectId:
        """Store *data* as an object of *kind* and return its id."""
        object_id = hash_object(kind, data)
        self._objects[kind, object_id] = bytes(data)
        return object_id
