"""Getting a version into a folder of the user's own choice: as copies to work on, or as read-only links to the cache.

A new name appears in the folder when all of what is to be under it is there. Nothing of the user's is lost: what is
there and is not what should be is left alone, unless it may be overwritten.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.datasets.assemble import Assembler, clear, move_in
from dsvc.datasets.fetch_links import with_links
from dsvc.datasets.get import Wanted, entries_of
from dsvc.datasets.means import Means
from dsvc.datasets.tree_record import Damage, folders_of, inspect
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.errors import BusyError, ConflictError, RefusedError
from dsvc.log.store import CONFIG_KEY
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import make_folder, storage_error, sync_folder

__all__ = ["OccupiedError", "Placed", "RepositoryInTheWayError", "get_to", "has_begun"]

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


def get_to(
    means: Means,
    wanted: Wanted,
    target: Path,
    umask: int = 0,
    *,
    linked: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> Placed:
    """Let the folder *target* hold what is *wanted*, and nothing else.

    If *linked*, its files are read-only links to the cache, where that can be: on one filesystem, and not for root,
    whom read-only files do not stop. Else they are writable, and share nothing that an edit could reach. What an
    earlier call, perhaps one that was cut short, has put there stays; with *verify*, it is hashed. With *overwrite*,
    other things make way. What *umask* forbids is not permitted there, though it is in a shared cache.

    Raises:
        OccupiedError: There are other things, and nothing was changed.
        ConflictError: It is a file.
        RepositoryInTheWayError: It is a repository.
        BusyError: Another process does the same.
        PathsNotFoundError, LinkGoneError, OutOfReachError and others: As for `get`.
    """
    known = entries_of(means, wanted)

    def is_there(entry: Entry) -> bool:
        return bool(entry.digest) and not inspect(os.fsencode(target), [entry], names=False, sealed=False)

    root = wanted.version.tree
    # What is on its way to here is nobody else's, and nobody makes room of it.
    coming = blake3(wanted.tree_id.encode() + os.fsencode(target.absolute())).hexdigest()
    with (
        _locked(target, umask),
        means.cache.lease(coming),
        with_links(means, root, known, is_there=is_there) as entries,
    ):
        place = _Place(target, entries, verify=verify, staging=f"{_STAGING}{wanted.tree_id[:16]}")
        if place.occupied and not overwrite:
            raise OccupiedError(target, place.occupied)
        linked = linked and _can_link(means.cache, target)
        assembler = Assembler(means, coming, any_symlinks=wanted.selection.any_symlinks)
        was_there = not place.fill(assembler, umask, linked=linked)
    files = [entry for entry in entries if entry.kind != EntryKind.FOLDER]
    return Placed(len(files), sum([entry.size for entry in files]), was_there, linked)


def has_begun(target: Path) -> bool:
    """Tell whether a get into the folder *target* was begun, and not finished."""
    return target.is_dir() and bool(_begun(target))


def _begun(target: Path) -> list[Path]:
    return [path for path in target.iterdir() if path.name.startswith(_STAGING)]


@contextmanager
def _locked(target: Path, umask: int) -> Iterator[None]:
    """Make the folder *target* if it is not there, and let no other process get into it for the block."""
    is_store = (target / CONFIG_KEY).is_file() and (target / "log").is_dir()
    if is_store or any((target / name).exists() for name in _REPOSITORIES):
        raise RepositoryInTheWayError(target)
    was_there = os.path.lexists(target)
    if was_there and not target.is_dir():
        message = f"{quote_path(os.fsencode(target))} is not a folder"
        raise ConflictError(message)
    try:
        make_folder(target)
        if not was_there:
            _forbid(target, umask)
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


def _forbid(path: Path, umask: int) -> None:
    """Let nobody do with the file or folder *path* what *umask* forbids."""
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & umask and not path.is_symlink():
        path.chmod(mode & ~umask)


def _can_link(cache: UserCache, target: Path) -> bool:
    return os.geteuid() != 0 and target.stat().st_dev == cache.root.stat().st_dev


class _Place:
    """The folder *target*, compared with *entries*: *occupied* are the paths that have to make way."""

    def __init__(self, target: Path, entries: Sequence[Entry], *, verify: bool, staging: str) -> None:
        self._target = target
        self._staging = target / staging
        root = os.fsencode(target)
        there = {os.fsencode(path.name) for path in target.iterdir()}
        self._here = [entry for entry in entries if _top(entry) in there]
        self._coming = [entry for entry in entries if _top(entry) not in there]
        found = inspect(root, self._here, content=verify, sealed=False)
        # Whoever has only touched a file has not changed it.
        wrong = inspect(root, found.wrong, content=True, names=False).wrong
        extra = [path for path in found.extra if not path.startswith(os.fsencode(_STAGING))]
        self._damage = Damage(found.missing, wrong, extra)
        self.occupied = sorted([*extra, *(entry.path for entry in wrong)])

    def fill(self, assembler: Assembler, umask: int, *, linked: bool) -> bool:
        """Put there what is missing, and remove what is in the way; return whether there was anything to do."""
        # Of versions that were given up.
        for folder in _begun(self._target):
            if folder != self._staging:
                remove_folder(folder)
        if not (self._damage or self._coming or self._staging.exists()):
            return False
        broken = [*self._damage.missing, *self._damage.wrong]
        staging, root = os.fsencode(self._staging), os.fsencode(self._target)
        try:
            self._staging.mkdir(exist_ok=True)
            # What an earlier attempt has left, and has finished, is good.
            wanted = [*broken, *self._coming]
            left = inspect(staging, wanted, sealed=False)
            clear(staging, left)
            folders = [entry for entry in self._coming if entry.kind == EntryKind.FOLDER]
            assembler.put([*left.missing, *left.wrong, *folders], self._staging, linked=linked)
            for within, _, names in os.walk(self._staging) if umask else ():
                for path in [Path(within), *(Path(within, name) for name in ([] if linked else names))]:
                    _forbid(path, umask)
            made = [self._target / os.fsdecode(path) for path in (folders_of(broken) if umask else ())]
            made = [path for path in made if not path.is_dir()]
            # Only now, when nothing of it can be missing any more.
            clear(root, self._damage)
            move_in(staging, root, [*broken, *(one for one in self._here if one.kind == EntryKind.FOLDER)])
            for path in made:
                _forbid(path, umask)
            for name in dict.fromkeys(map(_top, self._coming)):
                (self._staging / os.fsdecode(name)).rename(self._target / os.fsdecode(name))
            remove_folder(self._staging)
            sync_folder(self._target)
        except OSError as error:
            raise storage_error(error, f"write to {self._target}") from error
        finally:
            # It is empty where nothing has come, and gone where all has.
            with suppress(OSError):
                self._staging.rmdir()
        return True


def _top(entry: Entry) -> bytes:
    return entry.path.partition(b"/")[0]
