"""Unlocking: a file that shares its bytes with the cache becomes one of its own, to be edited in place."""

import os
import shutil
import stat
from typing import Final

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.model.paths import quote_path
from dsvc.storage.local import storage_error
from dsvc.worktree.folders import temporary_name
from dsvc.worktree.scan import look_up
from dsvc.worktree.worktree import Worktree

__all__ = ["NotAFileError", "NothingThereError", "unlock"]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NothingThereError(NotFoundError):
    """A path with no file."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"there is no file {quote_path(path)}")
        self.path = path


class NotAFileError(InvalidInputError):
    """A path with something that is no regular file."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} is not a regular file")
        self.path = path


def unlock(worktree: Worktree, path: bytes) -> bool:
    """Let the file at *path* be writable and share its bytes with no other name; return whether it was not so.

    Raises:
        NothingThereError, NotAFileError: There is no file.
        StorageError: It cannot be copied; it is as it was.
    """
    status = look_up(worktree.root_bytes, path)
    if status is None:
        raise NothingThereError(path)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(path)
    if status.st_nlink == 1 and status.st_mode & stat.S_IWUSR:
        return False
    temporary = os.path.join(os.fsencode(worktree.control), b"tmp", temporary_name())
    try:
        _copy(os.path.join(worktree.root_bytes, path), temporary)
    except OSError as error:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise storage_error(error, f"unlock {quote_path(path)}") from error
    return True


def _copy(path: bytes, temporary: bytes) -> None:
    with open(os.open(path, _READ), "rb") as source:
        status = os.fstat(source.fileno())
        mode = 0o777 if status.st_mode & stat.S_IXUSR else 0o666
        with open(os.open(temporary, _NEW, mode), "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    # The content is what it was, so is its date.
    os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(temporary, path)
