"""Commits and tags."""

from dsvc.model.codec import Record

__all__ = ["Commit", "Input", "Tag"]


class Input(Record, frozen=True):
    """A version that this one was made from: the name it was asked for by, and its commit."""

    name: str
    commit: bytes


class Commit(Record, frozen=True):
    """A version: a whole tree, and where it comes from.

    *time* is in microseconds since 1970 UTC, *offset* the author's in minutes east of it.
    *metadata* is RFC 8785 JSON. *files* and *size* (bytes) total the tree.
    """

    version: int
    tree: bytes
    parents: list[bytes]
    author: str
    time: int
    offset: int
    message: str
    metadata: str
    inputs: list[Input]
    files: int
    size: int

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]


class Tag(Record, frozen=True):
    """A name for *target*, given on purpose, by somebody, with a message."""

    version: int
    target: bytes
    name: str
    tagger: str
    time: int
    offset: int
    message: str
