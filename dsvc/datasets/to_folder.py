"""Getting a version into a folder of the user's own choice: as copies to work on, or as read-only links to the cache.

A new name appears in the folder when all of what is to be under it is there. Nothing of the user's is lost: what is
there and is not what should be is left alone, unless it may be overwritten.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.datasets.assemble import Assembler, clear
from dsvc.datasets.fetch_links import with_links
from dsvc.datasets.get import Wanted, entries_of
from dsvc.datasets.means import Means
from dsvc.datasets.tree_record import Damage, inspect
from dsvc.datasets.user_cache import UserCache
from dsvc.errors import BusyError, ConflictError, RefusedError
from dsvc.log.store import CONFIG_KEY
from dsvc.model.paths import is_within, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import make_folder, storage_error, sync_folder

__all__ = ["OccupiedError", "Placed", "RepositoryInTheWayError", "get_to"]

_SHOWN: Final = 10
_STAGING: Final = ".dsvc-get-"
_REPOSITORIES: Final = (".dsvc", ".git")


class OccupiedError(ConflictError):
    """A folder holds other things than those that are to be in it."""

    def __init__(self, folder: Path, paths: Sequence[bytes]) -> None:
        shown = "".join(f"\n\t{quote_path(path)}" for path in paths[:_SHOWN])
        rest = f"\n\tand {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
        super().__init__(f"{quote_path(os.fsencode(folder))} holds what is not in the version:{shown}{rest}")
        self.folder = folder
        self.paths = list(paths)


class RepositoryInTheWayError(RefusedError):
    """A folder is a repository, of dsvc or of git."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{quote_path(os.fsencode(folder))} is a repository, and a version needs a folder of its own")
        self.folder = folder


class Placed(msgspec.Struct, frozen=True):
    """What is in a folder: *files* with *size* bytes; as links if *linked*. *was_there* if nothing had to be done."""

    files: int
    size: int
    was_there: bool
    linked: bool


def get_to(means: Means, wanted: Wanted, target: Path, *, linked: bool = False, overwrite: bool = False) -> Placed:
    """Let the folder *target* hold what is *wanted*, and nothing else.

    If *linked*, its files are read-only links to the cache, where that can be: on one filesystem, and not for root,
    whom read-only files do not stop. Else they are writable, and share nothing that an edit could reach. What an
    earlier call, perhaps one that was cut short, has put there stays. With *overwrite*, other things make way.

    Raises:
        OccupiedError: There are other things, and nothing was changed.
        RepositoryInTheWayError: It is a repository.
        BusyError: Another process does the same.
        PathsNotFoundError, LinkGoneError, OutOfReachError and others: As for `get`.
    """
    known = entries_of(means, wanted)

    def is_there(entry: Entry) -> bool:
        return bool(entry.digest) and not inspect(os.fsencode(target), [entry], names=False, sealed=False)

    root = wanted.version.tree
    with _locked(target), with_links(means, root, known, is_there=is_there) as entries:
        place = _Place(target, entries, staging=f"{_STAGING}{wanted.tree_id[:16]}")
        if place.occupied:
            if not overwrite:
                raise OccupiedError(target, place.occupied)
            clear(os.fsencode(target), place.damage)
        linked = linked and _can_link(means.cache, target)
        was_there = not place.fill(Assembler(means, wanted.tree_id), linked=linked) and not place.occupied
    files = [entry for entry in entries if entry.kind != EntryKind.FOLDER]
    return Placed(len(files), sum([entry.size for entry in files]), was_there, linked)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Make the folder *target* if it is not there, and let no other process get into it for the block."""
    is_store = (target / CONFIG_KEY).is_file() and (target / "log").is_dir()
    if is_store or any((target / name).exists() for name in _REPOSITORIES):
        raise RepositoryInTheWayError(target)
    was_there = target.exists()
    try:
        make_folder(target)
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error(error, f"make {target}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process gets something into {target}"
            raise BusyError(message) from None
        except OSError:
            # A filesystem without locks.
            pass
        yield
    finally:
        os.close(descriptor)
        if not was_there:
            # It is empty where nothing came of it.
            with suppress(OSError):
                target.rmdir()


def _can_link(cache: UserCache, target: Path) -> bool:
    return os.geteuid() != 0 and target.stat().st_dev == cache.root.stat().st_dev


class _Place:
    """The folder *target*, compared with *entries*: *occupied* are the paths that have to make way."""

    def __init__(self, target: Path, entries: Sequence[Entry], *, staging: str) -> None:
        self._target = target
        self._staging = target / staging
        hidden = os.fsencode(staging)
        root = os.fsencode(target)
        there = {os.fsencode(path.name) for path in target.iterdir()} - {hidden}
        self._entries = entries
        here = [entry for entry in entries if _top(entry) in there]
        self._coming = [entry for entry in entries if _top(entry) not in there]
        found = inspect(root, here, sealed=False)
        # Whoever has only touched a file has not changed it.
        wrong = inspect(root, found.wrong, content=True, names=False).wrong
        extra = [path for path in found.extra if not is_within(path, hidden)]
        self.damage = Damage(found.missing, wrong, extra)
        self.occupied = sorted([*extra, *(entry.path for entry in wrong)])

    def fill(self, assembler: Assembler, *, linked: bool) -> bool:
        """Put there what is missing; return whether anything was."""
        broken = [*self.damage.missing, *self.damage.wrong]
        if broken:
            # An empty folder may have gone with what was in it.
            folders = [entry for entry in self._entries if entry.kind == EntryKind.FOLDER]
            here = {_top(entry) for entry in broken}
            assembler.put([*broken, *(one for one in folders if _top(one) in here)], self._target, linked=linked)
        if self._coming or self._staging.exists():
            self._bring(assembler, linked=linked)
        return bool(broken or self._coming)

    def _bring(self, assembler: Assembler, *, linked: bool) -> None:
        try:
            self._staging.mkdir(exist_ok=True)
            # What an earlier attempt has left, and has finished, is good.
            damage = inspect(os.fsencode(self._staging), self._coming, sealed=False)
            clear(os.fsencode(self._staging), damage)
            folders = [entry for entry in self._coming if entry.kind == EntryKind.FOLDER]
            assembler.put([*damage.missing, *damage.wrong, *folders], self._staging, linked=linked)
            for name in dict.fromkeys(map(_top, self._coming)):
                (self._staging / os.fsdecode(name)).rename(self._target / os.fsdecode(name))
            self._staging.rmdir()
            sync_folder(self._target)
        except OSError as error:
            raise storage_error(error, f"write to {self._target}") from error


def _top(entry: Entry) -> bytes:
    return entry.path.partition(b"/")[0]
