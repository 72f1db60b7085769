"""Storage: named, immutable byte strings kept somewhere.

A backend knows keys and bytes. It does not know what an object is, so every
backend serves every layer above, and one contract tests them all.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from dsvc.errors import InvalidInputError, NotFoundError, StorageError

__all__ = [
    "Backend",
    "Interruptible",
    "KeyExistsError",
    "KeyNotFoundError",
    "Listing",
    "LocalFiles",
    "Metered",
    "ReadableFiles",
    "Streaming",
    "UnknownOutcomeError",
    "check_key",
    "check_prefix",
    "interrupt",
]

_KEY: Final = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")

Buffer = bytes | bytearray | memoryview


class KeyNotFoundError(NotFoundError):
    """Nothing is stored as the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored as {key}")
        self.key = key


class KeyExistsError(StorageError):
    """Another writer created the key first; its value is untouched."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is already there")
        self.key = key


class UnknownOutcomeError(StorageError):
    """A create may or may not have happened; only reading the key back can tell."""


def check_key(key: str) -> str:
    """Return *key* if a backend may store it.

    Raises:
        InvalidInputError: It is not made of lower-case names with slashes between.
    """
    if not _KEY.fullmatch(key):
        message = f"invalid key: {key!r}"
        raise InvalidInputError(message)
    return key


def check_prefix(prefix: str) -> str:
    """Return *prefix* if keys may be listed by it: a folder and "/", or nothing for all keys.

    Raises:
        InvalidInputError: It is something else.
    """
    if prefix and not (prefix.endswith("/") and _KEY.fullmatch(prefix, 0, len(prefix) - 1)):
        message = f"invalid prefix of keys: {prefix!r}"
        raise InvalidInputError(message)
    return prefix


class Backend(Protocol):
    """Named, immutable byte strings.

    A value is written once and never changes, so a reader needs no lock: it sees the
    whole value or none of it. Methods are safe to call from several threads. A failure of
    the medium is a StorageError, a key that is none an InvalidInputError.
    """

    def read(self, key: str) -> bytes:
        """Return the value of *key*.

        Raises:
            KeyNotFoundError: Nothing is there.
        """

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, in their order, None where nothing is there."""

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length).

        Raises:
            KeyNotFoundError: Nothing is there.
            StorageError: A range is not all there.
        """

    def size(self, key: str) -> int:
        """Return the length of the value of *key* in bytes.

        Raises:
            KeyNotFoundError: Nothing is there.
        """

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*, durably, before returning; whatever was there is replaced.

        A reader sees the old value or the new, never a mixture.
        """

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there, durably, before returning.

        Raises:
            KeyExistsError: Another writer was first; its value is untouched.
            UnknownOutcomeError: The answer was lost.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length in bytes) of all keys that start with *prefix*, in no order.

        A *prefix* is a folder and "/", or empty for all keys. What comes or goes meanwhile may be there or not.
        """

    def delete(self, key: str) -> None:
        """Remove *key*; if nothing is there, nothing happens."""


@runtime_checkable
class ReadableFiles(Protocol):
    """The power of a backend that can show a value as a file of this machine, to be mapped."""

    def file(self, key: str) -> Path:
        """Return a file that holds the value of *key*.

        Raises:
            KeyNotFoundError: Nothing is there.
        """


@runtime_checkable
class Streaming(Protocol):
    """The power of a backend to give a value whose length nobody knows without ever having all of it in memory."""

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yield the value of *key* in pieces of some MiB: a small one takes a single request.

        Raises:
            KeyNotFoundError: Nothing is there.
        """


@runtime_checkable
class LocalFiles(Protocol):
    """The power of a backend whose values are files of this machine."""

    def path(self, key: str) -> Path:
        """Return the file that holds, or would hold, the value of *key*."""

    def write_pieces(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Store *pieces*, one after another, as *key*, as `write` would; if they end in an error, nothing happens."""

    def temporary(self) -> Path:
        """Return a new name in the same filesystem for a file that `adopt` will take."""

    def tidy(self) -> None:
        """Remove the temporary files of processes that ended in the middle."""

    def adopt(self, temporary: Path, key: str) -> None:
        """Make the file *temporary* the value of *key*, durably; it must be synced already."""


@runtime_checkable
class Listing(Protocol):
    """The power of a backend to say what else is there, where that takes a request."""

    def names(self) -> Iterator[str]:
        """Yield the names of all that is there, also of what is no key."""


@runtime_checkable
class Metered(Protocol):
    """The power of a backend to say how many requests it has made, because each is waited and often paid for."""

    @property
    def requests(self) -> int:
        """How many there were so far, those that had to be made again included."""


@runtime_checkable
class Interruptible(Protocol):
    """The power of a backend that waits for others to stop waiting."""

    def interrupt(self) -> None:
        """Make what other threads wait for fail at once, and what they call from now on; this one may go on."""


def interrupt(*backends: Backend) -> None:
    """Let no other thread wait for any of *backends*: Ctrl-C should not wait for a network that hangs."""
    for backend in backends:
        if isinstance(backend, Interruptible):
            backend.interrupt()
