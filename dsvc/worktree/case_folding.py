"""Filesystems that take two names for one: where `A` and `a`, or two spellings of `é`, are the same file.

Two such names in one tree would overwrite each other there, so it is refused before anything is written.
"""

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from dsvc.errors import ConflictError
from dsvc.model.paths import quote_path

__all__ = ["NameCollisionError", "find_collision", "fold", "folds_case", "refuse_collisions"]


class NameCollisionError(ConflictError):
    """Two paths of a tree would be one file here."""

    def __init__(self, one: bytes, other: bytes) -> None:
        super().__init__(f"{quote_path(one)} and {quote_path(other)} would be the same file on this filesystem")
        self.paths = (one, other)


def _identity(path: Path) -> object:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def folds_case(control: Path, identity: Callable[[Path], object] = _identity) -> bool:
    """Tell whether the filesystem takes the name of the folder *control* for the same in capitals.

    *identity* returns what tells the file at a path from others, None where there is none.
    """
    found = identity(control.with_name(control.name.upper()))
    return found is not None and found == identity(control)


def fold(path: bytes) -> bytes:
    """Return what *path* has in common with all paths that a folding filesystem may take for it.

    It goes further than any one filesystem, so it may see a collision where one of them sees none.
    """
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return path.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).encode()


def find_collision(paths: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """Return the first two of *paths*, or of the folders above them, that may be one file; None if no two are."""
    known: dict[bytes, bytes] = {}
    checked: set[bytes] = set()
    for path in paths:
        prefix = path
        while prefix and prefix not in checked:
            checked.add(prefix)
            other = known.setdefault(fold(prefix), prefix)
            if other != prefix:
                return other, prefix
            prefix = prefix.rpartition(b"/")[0]
    return None


def refuse_collisions(paths: Iterable[bytes]) -> None:
    """Do nothing, unless two of *paths* may be one file.

    Raises:
        NameCollisionError: Two may.
    """
    collision = find_collision(paths)
    if collision is not None:
        raise NameCollisionError(*collision)
