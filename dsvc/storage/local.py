"""A backend in a folder of this machine or of a network filesystem.

A value appears whole or not at all: it is written to a temporary file beside, synced, and
then linked (create) or renamed (write) into place, and the folder is synced after that.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dsvc.errors import NoSpaceError, StorageError
from dsvc.storage.backend import KeyExistsError, KeyNotFoundError, check_key, check_prefix
from dsvc.storage.faults import ReadOnlyRemoteError
from dsvc.storage.temporary import remove_stale, temporary_name

__all__ = [
    "LocalBackend",
    "ReadOnlyFolder",
    "link_for_all",
    "make_folder",
    "storage_error",
    "sync_file",
    "sync_filesystem",
    "sync_folder",
]

Buffer = bytes | bytearray | memoryview

# Where something on the way to the name is a file, the name is not there either.
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)
_TEMPORARY: Final = "tmp"


def storage_error(error: OSError, what: str) -> StorageError:
    """Return the error of ours that says that *what* failed with *error*."""
    message = f"cannot {what}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError(message)
    return StorageError(message)


def sync_file(descriptor: int) -> None:
    """Make what was written to the open file *descriptor* durable."""
    # macOS has no fdatasync, and its fsync leaves the bytes in the cache of the drive.
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(folder: Path) -> None:
    """Make all durable that was written to the filesystem of *folder*: for many files, a fraction of a sync of each."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "syncfs"):
            os.sync()
        elif library.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(folder))
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make *folder* and those above it, durably, where they are not there."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def link_for_all(original: Path, path: Path) -> bool:
    """Make *path* a hard link to *original*, if all who may look into its folder may read that; tell whether it is one.

    A link has the owner, the group and the mode that the file has, whatever is written beside it.

    Raises:
        OSError: The system makes no such link.
    """
    file, folder = original.stat(), path.parent.stat()
    if folder.st_mode & stat.S_IXOTH:
        needed = stat.S_IROTH
    elif folder.st_mode & stat.S_IXGRP:
        needed = stat.S_IRGRP if file.st_gid == folder.st_gid else stat.S_IROTH
    else:
        needed = 0
    if file.st_mode & needed != needed:
        return False
    path.hardlink_to(original)
    return True


class LocalBackend:
    """Values as files under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._temporary = root / _TEMPORARY

    def path(self, key: str) -> Path:
        """Return the file that holds, or would hold, the value of *key*."""
        return self.root / check_key(key)

    def file(self, key: str) -> Path:
        """Return the file that holds the value of *key*."""
        path = self.path(key)
        if not path.is_file():
            raise KeyNotFoundError(key)
        return path

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        value = self._read(key)
        if value is None:
            raise KeyNotFoundError(key)
        return value

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> bytes | None:
        # Without Path and file objects a small value takes 10 us instead of 30; opening a log reads a hundred.
        name = self._prefix + check_key(key)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                length = os.fstat(descriptor).st_size
                # One more than it should be: a short read is then the end, and needs no second one to tell.
                value = os.read(descriptor, length + 1)
                return value if len(value) == length else self._read_range(descriptor, key, 0, length)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise storage_error(error, f"read {name}") from error

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        try:
            descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._read_error(error, key) from error
        try:
            return [self._read_range(descriptor, key, offset, length) for offset, length in ranges]
        except OSError as error:
            raise storage_error(error, f"read {self.path(key)}") from error
        finally:
            os.close(descriptor)

    def _read_range(self, descriptor: int, key: str, offset: int, length: int) -> bytes:
        data = os.pread(descriptor, length, offset)
        # One read returns at most 2 GiB, and less where a signal comes between.
        while len(data) < length:
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                message = f"{self.path(key)} is shorter than expected"
                raise StorageError(message)
            data += more
        return data

    def size(self, key: str) -> int:
        """Return the length of the value of *key*."""
        try:
            return self.path(key).stat().st_size
        except OSError as error:
            raise self._read_error(error, key) from error

    def _read_error(self, error: OSError, key: str) -> KeyNotFoundError | StorageError:
        if error.errno in _ABSENT:
            return KeyNotFoundError(key)
        return storage_error(error, f"read {self.path(key)}")

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*, durably."""
        self.write_pieces(key, [value])

    def write_pieces(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Store *pieces*, one after another, as *key*, durably."""
        self.adopt(self._write_temporary(self.path(key), pieces), key)

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there, durably."""
        path = self.path(key)
        temporary = self._write_temporary(path, [value])
        # fdatasync, link, fsync of the folder: a crash leaves nothing or all, and of two writers one wins.
        try:
            self._in_folder(path.parent, lambda: os.link(temporary, path))
            sync_folder(path.parent)
        except FileExistsError:
            raise KeyExistsError(key) from None
        except OSError as error:
            raise storage_error(error, f"write {path}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def temporary(self) -> Path:
        """Return a new name for a file that `adopt` will take."""
        return self._temporary / temporary_name()

    def tidy(self) -> None:
        """Remove the temporary files of processes that ended in the middle."""
        remove_stale(self._temporary)

    def adopt(self, temporary: Path, key: str) -> None:
        """Make the synced file *temporary* the value of *key*, durably."""
        path = self.path(key)
        try:
            self._in_folder(path.parent, lambda: temporary.replace(path))
            sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise storage_error(error, f"write {path}") from error

    def _in_folder(self, folder: Path, place: Callable[[], object]) -> None:
        try:
            place()
        except FileNotFoundError:
            make_folder(folder)
            place()

    def _write_temporary(self, path: Path, pieces: Iterable[Buffer]) -> Path:
        """Write *pieces* to a new synced file, to become *path*, and return its name."""
        temporary = self.temporary()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            try:
                descriptor = os.open(temporary, flags, 0o444)
            except FileNotFoundError:
                make_folder(self._temporary)
                descriptor = os.open(temporary, flags, 0o444)
            try:
                for piece in pieces:
                    view = memoryview(piece).cast("B")
                    while view:
                        view = view[os.write(descriptor, view) :]
                sync_file(descriptor)
            finally:
                os.close(descriptor)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise storage_error(error, f"write {path}") from error
            raise
        return temporary

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that start with *prefix*."""
        folder = self._prefix + check_prefix(prefix)
        try:
            with os.scandir(folder) as found:
                items = [item for item in found if prefix or item.name != _TEMPORARY]
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    yield from self.list(f"{prefix}{item.name}/")
                else:
                    yield from self._listed(prefix + item.name, item)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise storage_error(error, f"list {folder}") from error

    def _listed(self, key: str, item: "os.DirEntry[str]") -> Iterator[tuple[str, int]]:
        # Another process may delete it meanwhile; then it is not there.
        try:
            length = item.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return
        yield key, length

    def delete(self, key: str) -> None:
        """Remove *key*."""
        try:
            self.path(key).unlink()
        except OSError as error:
            if error.errno not in _ABSENT:
                raise storage_error(error, f"delete {self.path(key)}") from error


class ReadOnlyFolder(LocalBackend):
    """A folder in which nothing is changed, because its owner says so."""

    def write_pieces(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Refuse."""
        del key, pieces
        raise ReadOnlyRemoteError(str(self.root))

    def create(self, key: str, value: Buffer) -> None:
        """Refuse."""
        del key, value
        raise ReadOnlyRemoteError(str(self.root))

    def adopt(self, temporary: Path, key: str) -> None:
        """Refuse."""
        del temporary, key
        raise ReadOnlyRemoteError(str(self.root))

    def delete(self, key: str) -> None:
        """Refuse."""
        del key
        raise ReadOnlyRemoteError(str(self.root))

    def tidy(self) -> None:
        """Leave what others have left."""
