"""Creating the key of an entry, on a backend whose answers may get lost."""

from collections.abc import Callable
from typing import Final

from dsvc.errors import NoSpaceError, StorageError
from dsvc.log.entries import entry_key
from dsvc.log.entry import LogEntry, hash_bytes
from dsvc.storage.backend import Backend, KeyNotFoundError, UnknownOutcomeError

__all__ = ["CommitUnknownError", "create_entry", "pause"]

_ATTEMPTS: Final = 4
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 5.0


class CommitUnknownError(UnknownOutcomeError):
    """An entry may or may not be in the log, and nobody could be asked."""

    def __init__(self, key: str, nonce: str) -> None:
        super().__init__(f"the change may or may not have been made: it was if {key} holds the nonce {nonce}")
        self.key = key
        self.nonce = nonce


def pause(nonce: str, attempt: int) -> float:
    """Return how long to wait after *attempt*, in seconds: longer each time, and another part of it for each writer.

    The part comes out of the *nonce*, which is random already.
    """
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(attempt, 16)))
    return longest * int(hash_bytes(f"{nonce} {attempt}".encode())[:8], 16) / 2**32


def create_entry(backend: Backend, entry: LogEntry, raw: bytes, wait: Callable[[float], None]) -> bool:
    """Create the key of *entry*, whose bytes are *raw*; tell whether it is ours, or another writer was first.

    No failure is believed. An answer that got lost comes back as any error, also as "it is there
    already" for our own bytes; so what is there now decides.

    Raises:
        CommitUnknownError: It cannot be told.
        StorageError: The backend failed, and the entry is not there.
    """
    key = entry_key(entry.seq)
    unknown = False
    for attempt in range(_ATTEMPTS):
        try:
            backend.create(key, raw)
        except StorageError as error:
            failure = error
        else:
            return True
        unknown = unknown or isinstance(failure, UnknownOutcomeError)
        found = _read_back(backend, key, entry.nonce, wait)
        if found is not None:
            return found == raw
        if isinstance(failure, NoSpaceError):
            break
        # The same bytes again: should the first attempt come through late, it is still this entry.
        wait(pause(entry.nonce, attempt))
    if unknown:
        raise CommitUnknownError(key, entry.nonce) from failure
    raise failure


def _read_back(backend: Backend, key: str, nonce: str, wait: Callable[[float], None]) -> bytes | None:
    for attempt in range(_ATTEMPTS):
        try:
            return backend.read(key)
        except KeyNotFoundError:
            return None
        except StorageError as error:
            failure = error
        wait(pause(nonce, attempt))
    raise CommitUnknownError(key, nonce) from failure
