"""The user's cache: trees that `get` has made, the files that they are links to, and who uses them.

    files/ab/DIGEST[.x]    whole files, read-only, dated by their content (see `cached_file`)
    trees/ID               a tree; it appears in one step, when all of it is there
    manifests/ID           which entries it has
    records/ID             that it is complete, and what its folders looked like; written last
    leases/ID              locked while somebody uses it; its time is that of the last use, its lines are names
    pins/ID                that it stays
    stores/KEY             what is known of a store that versions were got from without a repository: what its names
                           mean, and of one far away the metadata
    incoming/ID            data on its way into a tree; what came before an interruption is not asked for again
    locks, tmp             for whoever makes a tree

Any number of processes, on several machines where the filesystem is shared, and of users where they are one group, work
on it at once. None of it is the only copy of anything.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final, Self

from dsvc.datasets.cached_file import cached_path, is_as_written
from dsvc.errors import StorageError
from dsvc.model.tree import Entry
from dsvc.storage.local import LocalBackend, make_folder, storage_error
from dsvc.storage.temporary import stale_files, temporary_name
from dsvc.worktree.folders import Folders

__all__ = ["Use", "UserCache", "remove_folder"]

_FOLDERS: Final = ("files", "trees", "manifests", "records", "leases", "pins", "stores", "incoming", "locks", "tmp")
_STORE: Final = "store."
_NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_LONGEST_LEASE: Final = 64 * 1024


class Use(Enum):
    """Whether somebody uses a tree."""

    FREE = "free"
    IN_USE = "in use"
    UNKNOWN = "unknown"


class UserCache:
    """The cache in the folder *root*; one that is *shared* is for all members of the folder's group.

    What others may do with a new file in a shared one is up to the umask of the process, as ever.
    """

    def __init__(self, root: Path, *, shared: bool = False) -> None:
        self.root: Final = root
        self.shared: Final = shared
        self.values: Final = LocalBackend(root)

    @classmethod
    def open(cls, root: Path, *, shared: bool = False) -> Self:
        """Return the cache in the folder *root*, made now if there is none.

        Raises:
            StorageError: It cannot be made.
        """
        try:
            if not root.is_dir():
                make_folder(root.parent)
                root.mkdir(exist_ok=True)
                # Folders in it come to be the group's too, and their new members' as well.
                root.chmod(stat.S_ISGID | stat.S_IMODE(root.stat().st_mode) if shared else 0o700)
            for name in _FOLDERS:
                with suppress(FileExistsError):
                    (root / name).mkdir()
        except OSError as error:
            raise storage_error(error, f"make the cache {root}") from error
        return cls(root, shared=shared)

    def tree(self, tree_id: str) -> Path:
        """Return where the tree *tree_id* is or would be."""
        return self.root / "trees" / tree_id

    @property
    def files(self) -> bytes:
        """The folder of the files that trees are links to."""
        return os.fsencode(self.root / "files")

    def file(self, entry: Entry) -> Path:
        """Return where the file with the content of *entry* is or would be."""
        return self.root / "files" / cached_path(entry).decode()

    def has_file(self, entry: Entry) -> bool:
        """Tell whether a file with the content of *entry* is there and sound."""
        try:
            return is_as_written(entry, self.file(entry).lstat())
        except OSError:
            return False

    def add_file(self, entry: Entry, file: Path) -> None:
        """Let the sealed *file*, which is in `tmp` and keeps its name, be the one with the content of *entry*."""
        other, place = self.temporary(), self.file(entry)
        place.parent.mkdir(exist_ok=True)
        try:
            other.hardlink_to(file)
        except OSError:
            # No links: then it is this one.
            other = file
        other.replace(place)

    def discard_file(self, entry: Entry) -> None:
        """Let the file with the content of *entry* be written anew when it is needed; links keep what they hold."""
        self.file(entry).unlink(missing_ok=True)

    def temporary(self) -> Path:
        """Return a new name for a folder of this process."""
        return self.root / "tmp" / temporary_name()

    def trees(self) -> list[str]:
        """Return the ids of the trees that are there, in order."""
        with suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self.root / "trees"))
        return []

    def stores(self) -> list[str]:
        """Return the keys of the stores of which something is known, in order."""
        return sorted(path.name for path in (self.root / "stores").iterdir())

    def store_lease(self, key: str) -> str:
        """Return the name of the lease of who reads the metadata of the store *key*."""
        return f"{_STORE}{key}"

    def metadata(self, key: str) -> list[Path]:
        """Return the folders with the metadata of the store *key*."""
        from dsvc.transport.position import copied

        folder = self.root / "stores" / key
        return [path for path in (folder / "store", copied(folder / "remote").root) if path.is_dir()]

    def drop_metadata(self, key: str) -> None:
        """Remove the metadata of the store *key*: at once from where it is, then all of it."""
        for folder in self.metadata(key):
            gone = self.temporary()
            try:
                folder.rename(gone)
            except OSError as error:
                raise storage_error(error, f"remove {folder}") from error
            remove_folder(gone)
        self.values.delete(f"leases/{self.store_lease(key)}")

    def unfinished(self) -> list[str]:
        """Return the ids of trees that somebody has begun to make, in order."""
        kinds = ("leases", "manifests", "incoming")
        found = {path.name for kind in kinds for path in (self.root / kind).iterdir()}
        return sorted(name for name in found.difference(self.trees()) if not name.startswith(_STORE))

    def is_pinned(self, tree_id: str) -> bool:
        """Tell whether the tree *tree_id* is to stay."""
        return (self.root / "pins" / tree_id).exists()

    def pin(self, tree_id: str) -> None:
        """Let the tree *tree_id* stay, whatever room it takes."""
        self.values.write(f"pins/{tree_id}", b"")

    def unpin(self, tree_id: str) -> None:
        """Let the tree *tree_id* go once it is not used."""
        self.values.delete(f"pins/{tree_id}")

    def clock(self) -> int:
        """Return the present time in nanoseconds on the cache's own filesystem, by which the last uses are dated."""
        probe = self.temporary()
        try:
            probe.touch()
            return probe.stat().st_mtime_ns
        except OSError as error:
            raise storage_error(error, f"write {probe}") from error
        finally:
            probe.unlink(missing_ok=True)

    @contextmanager
    def lease(self, tree_id: str, name: str | None = None) -> Iterator[int | None]:
        """Let nobody evict the tree *tree_id*, which may not be there yet, for the block.

        If a *name* is given, it is noted that the tree was asked for by it.

        Yielded is the open file that holds the lock: a process that inherits it holds it too. It is None where the
        cache cannot be written to, and so nothing is evicted.
        """
        path = self.root / "leases" / tree_id
        descriptor = self._locked(path)
        try:
            if descriptor is not None and name is not None:
                _note(descriptor, name)
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _locked(self, path: Path) -> int | None:
        while True:
            try:
                descriptor = _open(path)
            except StorageError as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno in _READ_ONLY:
                    return None
                raise
            _lock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                return descriptor
            # Whoever evicted the tree removed it under us.
            os.close(descriptor)

    @contextmanager
    def claim(self, tree_id: str) -> Iterator[Use]:
        """Yield FREE, if nobody uses the tree *tree_id*; then nobody begins to, for the block.

        UNKNOWN is what a filesystem without locks leaves us.
        """
        path = self.root / "leases" / tree_id
        descriptor = _open(path)
        try:
            use = _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody else may have evicted the tree, and somebody have made it anew.
            yield use if _is_at(descriptor, path) else Use.IN_USE
        finally:
            os.close(descriptor)

    def last_use(self, tree_id: str) -> int:
        """Return when the tree *tree_id* was last asked for, in nanoseconds; 0 where that is not known."""
        try:
            return (self.root / "leases" / tree_id).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def names(self, tree_id: str) -> list[str]:
        """Return by which names the tree *tree_id* was asked for."""
        try:
            return (self.root / "leases" / tree_id).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []

    @contextmanager
    def only_one(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Let no two processes be in the blocks for *name*; the others wait. Without locks, all are let in.

        If we do not *wait*, False is yielded where somebody is in one.
        """
        path = self.root / "locks" / name
        descriptor = _open(path)
        try:
            yield _lock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)) is not Use.IN_USE
        finally:
            # Said, because workers that were forked meanwhile have it too.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def drop_tree(self, tree_id: str) -> None:
        """Remove the tree *tree_id*: at once from where it is, then all of it."""
        self.values.delete(f"records/{tree_id}")
        gone = self.temporary()
        try:
            tree = self.tree(tree_id)
            # A folder that moves has to be writable.
            with suppress(FileNotFoundError):
                if not self.shared:
                    tree.chmod(0o700)
                tree.rename(gone)
        except OSError as error:
            raise storage_error(error, f"remove {self.tree(tree_id)}") from error
        for kind in ("manifests", "pins", "locks", "leases"):
            self.values.delete(f"{kind}/{tree_id}")
        remove_folder(gone)
        remove_folder(self.root / "incoming" / tree_id)

    def tidy(self) -> None:
        """Remove what processes have left that ended in the middle, as far as the system lets us."""
        for path, _ in stale_files([self.root / "tmp"], self.clock()):
            if path.is_dir() and not path.is_symlink():
                with suppress(StorageError):
                    remove_folder(path)
            else:
                with suppress(OSError):
                    path.unlink()


def _open(lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise storage_error(error, f"lock {lock}") from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, how: int) -> Use:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return Use.IN_USE
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise storage_error(error, "lock a file of the cache") from error
        return Use.UNKNOWN
    return Use.FREE


def _note(lease: int, name: str) -> None:
    """Write into the *lease* that it was asked for now, as *name*."""
    known = os.pread(lease, _LONGEST_LEASE, 0)
    line = name.encode("utf-8", "replace")
    if line and line not in known.split(b"\n") and len(known) + len(line) < _LONGEST_LEASE:
        os.lseek(lease, 0, os.SEEK_END)
        os.write(lease, line + b"\n")
    os.utime(lease)


def remove_folder(folder: Path) -> None:
    """Remove *folder* with all that is in it, read-only or not; what is not there is removed already.

    Raises:
        StorageError: Something stays.
    """
    try:
        with Folders(os.fsencode(folder)) as folders:
            inside = [b""]
            for above in inside:
                descriptor = folders.open(above)
                if not os.fstat(descriptor).st_mode & stat.S_IWUSR:
                    os.fchmod(descriptor, 0o700)
                with os.scandir(descriptor) as found:
                    items = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in found]
                for name, is_folder in items:
                    if is_folder:
                        inside.append(above + b"/" + name if above else name)
                    else:
                        os.unlink(name, dir_fd=descriptor)
            for path in reversed(inside[1:]):
                folders.remove(path)
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, f"remove {folder}") from error
