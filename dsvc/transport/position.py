"""How far a remote's log was read: kept beside the repository, so that a remote that went back is noticed."""

import os
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import RefusedError
from dsvc.log.log import Log, RewoundError
from dsvc.log.state import LogPosition
from dsvc.storage.local import storage_error, sync_file, sync_folder

__all__ = ["OtherStoreError", "RemoteRewoundError", "check_position", "forget_position", "remember_position"]

_FILE: Final = "position.json"


class _Position(msgspec.Struct, frozen=True):
    store: str
    seq: int
    hash: str


class OtherStoreError(RefusedError):
    """At a remote's address is not the store that was there before, but another one or none."""

    def __init__(self, remote: str, found: str | None) -> None:
        now = "is gone" if found is None else f"is not the one that was there before, but {found}"
        super().__init__(f"the store of the remote {remote} {now}")
        self.remote = remote


class RemoteRewoundError(RefusedError):
    """A remote has lost what was read of it before."""

    def __init__(self, remote: str, seq: int) -> None:
        super().__init__(f"the remote {remote} went back: entry {seq} of its log, once read, is no longer there")
        self.remote = remote


def _read(folder: Path) -> _Position | None:
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=_Position)
    except (FileNotFoundError, msgspec.DecodeError):
        # What is damaged is learnt again from the remote, as after a clone.
        return None
    except OSError as error:
        raise storage_error(error, f"read {folder / _FILE}") from error


def check_position(folder: Path, remote: str, log: Log | None) -> None:
    """Check that *log*, None if there is no store, is what *folder* remembers of *remote*, or has grown since.

    Raises:
        OtherStoreError: It is another store's, or there is none where one was.
        RemoteRewoundError: Entries are gone, or are others.
    """
    known = _read(folder)
    if known is None:
        return
    if log is None or log.store.store_id != known.store:
        raise OtherStoreError(remote, None if log is None else log.store.store_id)
    try:
        log.check_not_rewound(LogPosition(known.seq, known.hash))
    except RewoundError as error:
        raise RemoteRewoundError(remote, known.seq) from error


def remember_position(folder: Path, log: Log) -> None:
    """Remember in *folder* how far *log* has been read."""
    state = log.head()
    position = _Position(log.store.store_id, state.seq, state.hash)
    if position == _read(folder):
        return
    temporary = folder / f"{_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(msgspec.json.encode(position))
            stream.flush()
            sync_file(stream.fileno())
        temporary.replace(folder / _FILE)
        sync_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, f"write {folder / _FILE}") from error


def forget_position(folder: Path) -> None:
    """Forget what *folder* remembers: the next contact is believed as the first one is."""
    try:
        (folder / _FILE).unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()
    except OSError as error:
        raise storage_error(error, f"remove {folder}") from error
