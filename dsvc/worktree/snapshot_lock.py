"""The lock that keeps two snapshots of one repository apart, or two syncs of one folder, and tells who holds it.

The kernel holds the lock and lets it go with the process, however that ends: a stale one cannot be. The file stays,
and what is written in it is for people.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import BusyError
from dsvc.storage.local import storage_error

__all__ = ["Holder", "SnapshotRunningError", "hold", "read_holder"]

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
# More than any holder is long.
_LONGEST: Final = 4096


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock: *process* on *host*, *since* so many microseconds after 1970 began."""

    host: str
    process: int
    since: int

    def __str__(self) -> str:
        since = (_EPOCH + timedelta(microseconds=self.since)).replace(microsecond=0, tzinfo=None)
        return f"process {self.process} on {self.host}, since {since} UTC"


class SnapshotRunningError(BusyError):
    """Another process takes a snapshot, or does *what*; *holder* is None where it has not said yet who it is."""

    def __init__(self, holder: Holder | None, what: str = "snapshot") -> None:
        super().__init__(f"another {what} is running ({holder or 'it began just now'})")
        self.holder = holder


@contextmanager
def hold(path: Path, holder: Holder, *, wait: bool = False, what: str = "snapshot") -> Iterator[None]:
    """Hold the lock that is the file *path* for the block, as *holder*; with *wait*, for however long others hold it.

    *what* is what the lock is for, in words.

    Raises:
        SnapshotRunningError: Another process holds it, and we do not wait.
        StorageError: It cannot be locked.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise storage_error(error, f"lock {path}") from error
    try:
        _lock(descriptor, path, holder, wait=wait, what=what)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, holder: Holder, *, wait: bool, what: str) -> None:
    try:
        # Not flock: forked workers would share it, and keep it when they outlive a parent that was killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        length = os.pwrite(descriptor, msgspec.json.encode(holder), 0)
        os.ftruncate(descriptor, length)
    except (BlockingIOError, PermissionError):
        # POSIX allows EAGAIN and EACCES to say that somebody holds it.
        raise SnapshotRunningError(read_holder(path), what) from None
    except OSError as error:
        raise storage_error(error, f"lock {path}") from error


def read_holder(path: Path) -> Holder | None:
    """Return who said last that they hold the lock *path*, None where nobody can be read there.

    Not for whoever holds it: the lock ends when its process closes the file, whichever way it was opened.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LONGEST), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
