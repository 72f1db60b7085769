"""What is known of a remote: how far its log was read, and what was read from it that never changes.

It is kept beside the repository, so that a remote that went back is noticed, and one that is far away is not asked
twice. All but the position is a cache.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, RefusedError, StorageError
from dsvc.log.checkpoint import load_checkpoint, write_checkpoint
from dsvc.log.entry import CheckpointName
from dsvc.log.log import Log, RewoundError
from dsvc.log.state import LogPosition, State
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend, storage_error, sync_file, sync_folder
from dsvc.storage.mirror import MirroredBackend

__all__ = [
    "OtherStoreError",
    "RemoteRewoundError",
    "StoreGoneError",
    "check_position",
    "copied",
    "forget_position",
    "known_state",
    "mirror",
    "remember_position",
]

_FILE: Final = "position.json"


_COPY: Final = "copy"
_KEPT: Final = ("index/", "state/")


class _Position(msgspec.Struct, frozen=True):
    store: str
    seq: int
    hash: str
    # The state there, as a checkpoint in the copy; only where the remote is far away.
    checkpoint: str | None = None


class OtherStoreError(RefusedError):
    """At a remote's address is not the store that was there before, but another one."""

    def __init__(self, remote: str, found: str) -> None:
        super().__init__(f"the store of the remote {remote} is not the one that was there before, but {found}")
        self.remote = remote


class StoreGoneError(StorageError):
    """At a remote's address is no store, and one was there before: perhaps a disk that is not mounted."""

    def __init__(self, remote: str) -> None:
        super().__init__(f"the store of the remote {remote} is gone")
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
        StoreGoneError: There is none where one was.
        OtherStoreError: It is another store's.
        RemoteRewoundError: Entries are gone, or are others.
    """
    known = _read(folder)
    if known is None:
        return
    if log is None:
        raise StoreGoneError(remote)
    if log.store.store_id != known.store:
        raise OtherStoreError(remote, log.store.store_id)
    try:
        log.check_not_rewound(LogPosition(known.seq, known.hash))
    except RewoundError as error:
        raise RemoteRewoundError(remote, known.seq) from error


def mirror(folder: Path, backend: Backend) -> MirroredBackend:
    """Return *backend* with a copy in *folder* of what was read from it and never changes."""
    return MirroredBackend(backend, copied(folder), lambda key: key.startswith(_KEPT), _digest)


def copied(folder: Path) -> LocalBackend:
    """Return the copy of a remote's store, as far as there is one, in *folder*."""
    return LocalBackend(folder / _COPY)


def _digest(key: str) -> str | None:
    # Pages of checkpoints, and frames of packs, are checked whenever they are read; a segment is mapped, and is not.
    return key.removeprefix("index/").partition(".")[0] if key.startswith("index/") else None


def known_state(folder: Path) -> State | None:
    """Return the state of the remote's log when it was read last, None where that is not known."""
    known = _read(folder)
    if known is None or known.checkpoint is None:
        return None
    with suppress(CorruptionError):
        state = load_checkpoint(copied(folder), CheckpointName(known.seq, known.checkpoint))
        # Now rather than later: what is damaged in here is not the remote's fault.
        if state.hash == known.hash and all(len(table) >= 0 for table in state.tables):
            return state
    return None


def remember_position(folder: Path, log: Log, *, with_state: bool = False) -> None:
    """Remember in *folder* how far *log* has been read, and *with_state* what it added up to there."""
    state = log.last()
    position, known = _Position(log.store.store_id, state.seq, state.hash), _read(folder)
    if known is not None and position == msgspec.structs.replace(known, checkpoint=None):
        return
    if with_state:
        name, _ = write_checkpoint(copied(folder), state)
        position = msgspec.structs.replace(position, checkpoint=name.hash)
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
            shutil.rmtree(folder)
    except OSError as error:
        raise storage_error(error, f"remove {folder}") from error
