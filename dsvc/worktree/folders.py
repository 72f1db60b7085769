"""Folders below a root, reached one component at a time and never through a symlink.

What a commit names may be hostile: a path is only ever opened relative to a folder that was opened
this way, so nothing outside the root can be written or removed, whatever links lie on the way.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from dsvc.errors import ConflictError
from dsvc.model.paths import CONTROL_FOLDER, quote_path
from dsvc.storage import temporary
from dsvc.storage.local import storage_error

__all__ = ["FolderInTheWayError", "Folders", "temporary_name"]

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT: Final = 64
# What is inside one is never removed as a whole, whoever asks for it.
_REPOSITORIES: Final = frozenset((CONTROL_FOLDER, b".git"))
# What O_DIRECTORY and O_NOFOLLOW say of a file and of a symlink.
_NO_FOLDER: Final = (errno.ENOTDIR, errno.ELOOP)


class FolderInTheWayError(ConflictError):
    """Where a folder should be is something else, or the other way round."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} is in the way")
        self.path = path


class Folders:
    """Open folders of one root; the least recently used are closed. Not safe to share between threads."""

    def __init__(self, root: bytes) -> None:
        self._root = os.open(root, _OPEN & ~os.O_NOFOLLOW)
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        os.close(self._root)

    def open(self, folder: bytes, *, make: bool = False, clear: bool = False) -> int:
        """Return a descriptor of *folder*, valid until some other folders have been opened.

        With *make* it is made where it is not there, with *clear* also in place of a file or symlink.

        Raises:
            FileNotFoundError: It is not there, and *make* is false.
            FolderInTheWayError: It, or a folder above it, is no folder.
        """
        # A loop, because a path may have more components than Python's stack has room.
        above, missing = folder, []
        while above and above not in self._open:
            above, _, name = above.rpartition(b"/")
            missing.append(name)
        descriptor = self._root
        if above:
            descriptor = self._open[above]
            self._open.move_to_end(above)
        for name in reversed(missing):
            above = above + b"/" + name if above else name
            descriptor = self._enter(descriptor, above, name, make=make, clear=clear)
            self._open[above] = descriptor
            if len(self._open) > _KEPT:
                # The oldest is not the one just opened, nor the one above it.
                os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _enter(self, parent: int, folder: bytes, name: bytes, *, make: bool, clear: bool) -> int:
        try:
            return os.open(name, _OPEN, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            if not clear:
                raise FolderInTheWayError(folder) from error
            os.unlink(name, dir_fd=parent)
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
        return os.open(name, _OPEN, dir_fd=parent)

    def forget(self, folder: bytes) -> None:
        """Close *folder* and what is below it, before it is removed or replaced."""
        for known in [known for known in self._open if known == folder or known.startswith(folder + b"/")]:
            os.close(self._open.pop(known))

    def status(self, path: bytes) -> os.stat_result | None:
        """Return the stat of *path*, not following a symlink, or None where it cannot be reached."""
        folder, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self.open(folder), follow_symlinks=False)
        except (FileNotFoundError, FolderInTheWayError):
            return None

    def _is_folder(self, path: bytes) -> bool:
        status = self.status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    def files(self, folder: bytes) -> Iterator[bytes]:
        """Yield what is below *folder* and is no folder; nothing if it is not there.

        Another repository's control folder counts as one thing.
        """
        waiting = [folder] if self._is_folder(folder) else []
        while waiting:
            above = waiting.pop()
            with os.scandir(self.open(above)) as found:
                items = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in found]
            for name, is_folder in items:
                path = above + b"/" + name
                if is_folder and name != CONTROL_FOLDER:
                    waiting.append(path)
                else:
                    yield path

    def remove(self, path: bytes) -> None:
        """Remove the file, symlink or empty folder *path*; what is not there is removed already.

        A folder with something in it stays.
        """
        folder, _, name = path.rpartition(b"/")
        try:
            parent = self.open(folder)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, FolderInTheWayError):
            return
        if stat.S_ISDIR(status.st_mode):
            self.forget(path)
            self._remove_empty(self.open(folder), name)
            return
        try:
            os.unlink(name, dir_fd=parent)
        except OSError as error:
            raise storage_error(error, f"remove {quote_path(path)}") from error

    def remove_tree(self, folder: bytes) -> None:
        """Remove *folder* with all that is below it.

        Raises:
            FolderInTheWayError: Another repository is in it; nothing was removed.
        """
        files = list(self.files(folder))
        for path in files:
            if not _REPOSITORIES.isdisjoint(path.split(b"/")):
                raise FolderInTheWayError(path)
        for path in files:
            self.remove(path)
        self.remove_empty_folders(folder)

    def remove_empty_folders(self, folder: bytes) -> None:
        """Remove *folder* and the folders in it, as far as nothing else is in them."""
        inside = [folder] if self._is_folder(folder) else []
        for above in inside:
            with os.scandir(self.open(above)) as found:
                inside += [above + b"/" + os.fsencode(item.name) for item in found if _is_plain_folder(item)]
        for above in reversed(inside):
            self.remove(above)

    def prune(self, folder: bytes) -> None:
        """Remove *folder* and the folders above it while they are empty."""
        while folder:
            self.forget(folder)
            above, _, name = folder.rpartition(b"/")
            try:
                removed = self._remove_empty(self.open(above), name)
            except (FileNotFoundError, FolderInTheWayError):
                removed = True
            if not removed:
                return
            folder = above

    def _remove_empty(self, parent: int, name: bytes) -> bool:
        """Tell whether the folder *name* could be removed or was not there."""
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return True
        except OSError:
            # Something is in it, or it is no folder, or someone's working folder.
            return False
        return True


def _is_plain_folder(item: "os.DirEntry[str]") -> bool:
    return item.is_dir(follow_symlinks=False) and os.fsencode(item.name) != CONTROL_FOLDER


def temporary_name() -> bytes:
    """Return a name for a file that is moved into place; one left by a process that died is in nobody's way."""
    return os.fsencode(temporary.temporary_name())
