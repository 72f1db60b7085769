"""New objects that can be read as soon as they are written, over objects that are there already.

A result of several steps, of which each reads what the one before wrote, is made on one: a writer's objects can be
read only after its seal, and a seal for each step would be a pack for each.
"""

from collections.abc import Sequence
from typing import Final

from dsvc.model.ids import ObjectId
from dsvc.odb.objects import ObjectReader
from dsvc.odb.writer import DatabaseWriter, Sealed

__all__ = ["Overlay"]

_MOST_HELD: Final = 256 * 1024 * 1024


class Overlay:
    """The objects *below*, and what was written, which goes to the *writer* too."""

    def __init__(self, below: ObjectReader, writer: DatabaseWriter) -> None:
        self._below = below
        self._writer = writer
        self._objects: dict[tuple[int, bytes], bytes] = {}
        self._held = 0
        self._sealed: list[Sealed] = []

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return the bytes of the object *object_id* of *kind*."""
        held = self._objects.get((kind, object_id))
        return self._below.read(kind, object_id) if held is None else held

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return the bytes of each of *object_ids*, in their order."""
        others = [object_id for object_id in object_ids if (kind, object_id) not in self._objects]
        read = iter(self._below.read_many(kind, others) if others else ())
        return [held if (held := self._objects.get((kind, one))) is not None else next(read) for one in object_ids]

    def write(self, kind: int, data: bytes) -> ObjectId:
        """Store *data* as an object of *kind* and return its id."""
        object_id = self._writer.write(kind, data)
        if (kind, object_id) not in self._objects:
            self._objects[kind, object_id] = bytes(data)
            self._held += len(data)
        if self._held > _MOST_HELD:
            # What is sealed can be read from below.
            self._sealed.append(self._writer.seal())
            self._objects.clear()
            self._held = 0
        return object_id

    def seal(self) -> list[Sealed]:
        """Make all that was written durable; return what a transaction has to name."""
        sealed, self._sealed = [*self._sealed, self._writer.seal()], []
        return sealed

    def discard(self) -> None:
        """Give up what was written."""
        self._writer.discard()
