"""Walking the worktree: every path, in the order of a tree's keys, and what a stat says of one."""

import errno
import os
import stat
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from dsvc.errors import InvalidInputError, StorageError
from dsvc.model.paths import CONTROL_FOLDER, quote_path
from dsvc.model.tree import EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.ignore import BUILT_IN_NAMES, IGNORE_FILE, Ignore, ignore_above, read_ignore_file

__all__ = ["Found", "Listed", "UnsupportedFileError", "fingerprint", "found_from_stat", "look_up", "scan"]

_FINGERPRINT: Final = Struct("<qQQQI")
# Some filesystems know years that 64 bits of nanoseconds do not.
_TIME: Final = 0xFFFF_FFFF_FFFF_FFFF
_REGULAR: Final = stat.S_IFREG
_FOLDER: Final = stat.S_IFDIR
_SYMLINK: Final = stat.S_IFLNK
# Nothing is there, and nothing could be.
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

_TYPES: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnsupportedFileError(InvalidInputError):
    """A path that is neither a file, a symlink nor a folder."""

    def __init__(self, path: bytes, mode: int) -> None:
        kind = _TYPES.get(stat.S_IFMT(mode), "of an unknown type")
        super().__init__(f"cannot add {quote_path(path)}: it is {kind}")
        self.path = path


Listed = tuple[bytes, int, bool]  # path, kind, whether it is ignored


class Found(NamedTuple):
    """One path of the worktree.

    *kind* is an EntryKind, or -1 for what no tree can hold. *changed* is the later of mtime and
    ctime in nanoseconds; *fingerprint* is what must stay the same for the content to be taken
    as unchanged.
    """

    path: bytes
    kind: int
    size: int
    changed: int
    fingerprint: bytes
    mode: int

    @property
    def is_content(self) -> bool:
        """Whether there is content to read: a file or a symlink."""
        return 0 <= self.kind <= EntryKind.SYMLINK

    @property
    def identity(self) -> bytes:
        """The fingerprint without the ctime, which renaming changes."""
        return self.fingerprint[:16] + self.fingerprint[24:]


def fingerprint(status: os.stat_result) -> bytes:
    """Return size, mtime, ctime, inode and mode as bytes to compare.

    The ctime of a file with several names is left out: each new hard link changes it.
    """
    ctime = status.st_ctime_ns if status.st_nlink < 2 else 0
    return _FINGERPRINT.pack(status.st_size, status.st_mtime_ns & _TIME, ctime & _TIME, status.st_ino, status.st_mode)


def found_from_stat(path: bytes, status: os.stat_result) -> Found:
    """Return what a scan says of *path* with *status*; a folder counts as an empty one."""
    mode = status.st_mode
    kind_bits = mode & 0o170000
    size = status.st_size
    if kind_bits == _REGULAR:
        kind = 1 if mode & 0o100 else 0
    elif kind_bits == _SYMLINK:
        kind = EntryKind.SYMLINK
    elif kind_bits == _FOLDER:
        return Found(path, EntryKind.FOLDER, 0, 0, b"", mode)
    else:
        return Found(path, -1, 0, 0, b"", mode)
    mtime = status.st_mtime_ns
    ctime = status.st_ctime_ns
    seen_ctime = ctime if status.st_nlink < 2 else 0
    return Found(
        path,
        kind,
        size,
        mtime if mtime > ctime or not seen_ctime else ctime,
        _FINGERPRINT.pack(size, mtime & _TIME, seen_ctime & _TIME, status.st_ino, mode),
        mode,
    )


def look_up(root: bytes, path: bytes) -> os.stat_result | None:
    """Return the stat of *path*, not following a symlink at its end or on the way, or None.

    Raises:
        StorageError: It cannot be told whether there is something.
    """
    parts = path.split(b"/")
    try:
        for depth in range(1, len(parts)):
            if not stat.S_ISDIR(os.lstat(os.path.join(root, *parts[:depth])).st_mode):
                return None
        return os.lstat(os.path.join(root, path))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _unreadable(root, path, error) from error


def scan(root: bytes, folder: bytes = b"", *, everything: bool = False) -> Iterator[Listed]:
    """Yield (path, kind, ignored) of what is below *folder*, in the order of the keys.

    It looks at names only, so *kind* is FILE for an executable too, and -1 for what no tree can hold.
    A folder is reported where it is empty, or ignored as a whole (and then not entered); with
    *everything*, nothing is ignored. dsvc's own folders are never reported.

    Raises:
        StorageError: A folder cannot be read.
    """
    # No recursion: a path of 4096 bytes may be 2048 folders deep.
    levels = [_Level(root, folder, None if everything else ignore_above(root, folder))]
    while levels:
        level = levels[-1]
        prefix, others = level.prefix, level.others
        ignore = level.ignore
        matches = ignore.matches if ignore is not None and ignore.has_patterns else None
        built_in = BUILT_IN_NAMES if ignore is not None else ()
        for name in level.names:
            kind = others.get(name, EntryKind.FILE) if others else EntryKind.FILE
            path = prefix + name
            is_folder = kind == EntryKind.FOLDER
            ignored = matches(path, is_folder=is_folder) if matches else name in built_in
            if is_folder and not ignored:
                levels.append(_Level(root, path, level.ignore))
                break
            yield path, kind, ignored
        else:
            levels.pop()
            if level.is_empty and level.folder:
                yield level.folder, EntryKind.FOLDER, False


class _Level:
    """A folder on the way: the names in it that are still to come, and what is ignored there.

    *others* has the kinds of those that are no regular files.
    """

    __slots__ = ("folder", "ignore", "is_empty", "names", "others", "prefix")

    def __init__(self, root: bytes, folder: bytes, ignore: Ignore | None) -> None:
        absolute = os.path.join(root, folder) if folder else root
        self.others: dict[bytes, int] = {}
        try:
            names = self._list(absolute)
            self.is_empty = not names
        except FileNotFoundError:
            # It went while we were on the way.
            names = []
            self.is_empty = False
        except OSError as error:
            raise _unreadable(root, folder, error) from error
        # The root's own folder, or another repository's: that one's business.
        if CONTROL_FOLDER in names:
            names.remove(CONTROL_FOLDER)
        names.sort()
        if ignore is not None and IGNORE_FILE in names:
            ignore = ignore.enter(folder, read_ignore_file(absolute))
        self.folder = folder
        self.prefix = folder + b"/" if folder else b""
        self.names = iter(names)
        self.ignore = ignore

    def _list(self, absolute: bytes) -> list[bytes]:
        # The system tells the kinds with the names, and asks for no stat, which takes as long as reading a tiny file.
        names = []
        with os.scandir(absolute) as entries:
            for entry in entries:
                names.append(entry.name)
                if not entry.is_file(follow_symlinks=False):
                    self.others[entry.name] = _kind(entry)
        return names


def _kind(entry: os.DirEntry[bytes]) -> int:
    if entry.is_symlink():
        return EntryKind.SYMLINK
    return EntryKind.FOLDER if entry.is_dir(follow_symlinks=False) else -1


def _unreadable(root: bytes, path: bytes, error: OSError) -> StorageError:
    return storage_error(error, f"read {quote_path(path) if path else quote_path(root)}")
