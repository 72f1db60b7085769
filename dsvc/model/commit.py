"""Commits and tags."""

from typing import Annotated, Final

from msgspec import Meta

from dsvc.errors import InvalidInputError
from dsvc.model.codec import Record, Version
from dsvc.model.ids import ID_LENGTH
from dsvc.model.tree import MAX_SIZE

__all__ = ["MAX_TIME", "MIN_TIME", "Commit", "Input", "InvalidTimeError", "Tag"]

# The years 1 to 9999, with a day to spare for any zone: what calendars can show.
MIN_TIME: Final = -62_135_510_400_000_000
MAX_TIME: Final = 253_402_214_399_999_999
_DAY: Final = 24 * 60

_Id = Annotated[bytes, Meta(min_length=ID_LENGTH, max_length=ID_LENGTH)]
_Count = Annotated[int, Meta(ge=0, le=MAX_SIZE)]


# A ValueError too, because the decoder reports those as its own.
class InvalidTimeError(InvalidInputError, ValueError):
    """A time that no calendar shows, or an offset of more than a day."""

    def __init__(self, time: int, offset: int) -> None:
        super().__init__(f"no calendar shows {time} microseconds since 1970, {offset} minutes east of Greenwich")
        self.time = time
        self.offset = offset


def _check_time(time: int, offset: int) -> None:
    if not (MIN_TIME <= time <= MAX_TIME and -_DAY < offset < _DAY):
        raise InvalidTimeError(time, offset)


class Input(Record, frozen=True):
    """A version that this one was made from: the name it was asked for by, and its commit."""

    name: str
    commit: _Id


class Commit(Record, frozen=True):
    """A version: a whole tree, and where it comes from.

    *time* is in microseconds since 1970 UTC, *offset* the author's in minutes east of it.
    *metadata* is RFC 8785 JSON. *files* and *size* (bytes) total the tree.
    """

    version: Version
    tree: _Id
    parents: list[_Id]
    author: str
    time: int
    offset: int
    message: str
    metadata: str
    inputs: list[Input]
    files: _Count
    size: _Count

    def __post_init__(self) -> None:
        _check_time(self.time, self.offset)

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]


class Tag(Record, frozen=True):
    """A name for *target*, given on purpose, by somebody, with a message."""

    version: Version
    target: _Id
    name: str
    tagger: str
    time: int
    offset: int
    message: str

    def __post_init__(self) -> None:
        _check_time(self.time, self.offset)
