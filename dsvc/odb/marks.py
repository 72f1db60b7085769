"""Marks on the objects of a database: one byte for each, where a set of ids would take a hundred."""

from collections.abc import Iterator, Sequence
from typing import Final

from dsvc.odb.database import ObjectDatabase
from dsvc.odb.scratch import zeros

__all__ = ["SEEN", "WANTED", "Marks"]

SEEN: Final = 1
WANTED: Final = 2
_PIECE: Final = 1 << 20


class Marks:
    """Which objects of a *database*, as it was when this was made, have been seen, and which are wanted."""

    def __init__(self, database: ObjectDatabase) -> None:
        packs = database.packs
        self.segments: Final = database.segments
        self.flags: Final = [zeros(len(segment)) for segment in self.segments]
        self._live = [
            bytes(segment.pack_at(row[0]) in packs for row in segment.frame_rows()) for segment in self.segments
        ]

    def find(self, object_id: bytes) -> tuple[int, int] | None:
        """Return (segment, row) of *object_id*, the same that the database reads, or None if it is not here."""
        for number, segment in enumerate(self.segments):
            row = segment.find(object_id)
            if row >= 0 and self._live[number][segment.frame_of(row)]:
                return number, row
        return None

    def mark(self, place: tuple[int, int], flags: int) -> bool:
        """Set *flags* at *place*, and tell whether nothing was set there before."""
        number, row = place
        before = self.flags[number][row]
        self.flags[number][row] = before | flags
        return not before

    def mark_all(
        self, object_ids: Sequence[bytes], flags: int
    ) -> tuple[list[tuple[bytes, tuple[int, int]]], list[bytes]]:
        """Set *flags* on *object_ids*; return those on which nothing was set, with their places, and those not here."""
        new: list[tuple[bytes, tuple[int, int]]] = []
        rest = object_ids
        for number, segment in enumerate(self.segments):
            column, live, frames, others = self.flags[number], self._live[number], segment.frame_numbers(), []
            for object_id, row in zip(rest, segment.find_many(rest), strict=True):
                if row < 0 or not live[frames[row]]:
                    others.append(object_id)
                elif not column[row]:
                    column[row] = flags
                    new.append((object_id, (number, row)))
            rest = others
        return new, list(rest)

    def is_marked(self, object_id: bytes, flag: int) -> bool:
        """Tell whether *object_id* is here and has *flag*."""
        place = self.find(object_id)
        return place is not None and bool(self.flags[place[0]][place[1]] & flag)

    def live_rows(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield (row, frame) of the segment *number*, without rows whose pack is not live."""
        live = self._live[number]
        segment = self.segments[number]
        for row in range(len(segment)):
            frame = segment.frame_of(row)
            if live[frame]:
                yield row, frame

    def count(self, flag: int) -> int:
        """Return how many objects have *flag*."""
        values = [value for value in range((SEEN | WANTED) + 1) if value & flag]
        pieces = (
            column[start : start + _PIECE].tobytes() for column in self.flags for start in range(0, len(column), _PIECE)
        )
        return sum(piece.count(value) for piece in pieces for value in values)
