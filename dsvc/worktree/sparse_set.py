"""Which part of every version a worktree has files of: some paths, and all that is below them.

The set is a file of the worktree, `.dsvc/sparse`, with one path on a line; where there is none, all of a version is
there. What is outside is not missing: it stays in the next version as it is.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.errors import BusyError, CorruptionError, RefusedError
from dsvc.history.diff import Change, diff_paths, outermost
from dsvc.history.tree import Tree
from dsvc.model.paths import InvalidPathError, quote_path, validate_path
from dsvc.model.tree import Entry
from dsvc.storage.local import storage_error, sync_file, sync_folder
from dsvc.worktree.ignore import IGNORE_FILE

__all__ = [
    "EVERYTHING",
    "OutsideSparseError",
    "SparseSet",
    "SparseSetChangedError",
    "read_sparse_set",
    "sparse_set",
    "write_sparse_set",
]

_FILE: Final = "sparse"
_SHOWN: Final = 3
_MARK_LENGTH: Final = 16


class OutsideSparseError(RefusedError):
    """Paths that a sparse worktree leaves out."""

    def __init__(self, paths: list[bytes]) -> None:
        shown = ", ".join(map(quote_path, paths[:_SHOWN])) + (", ..." if len(paths) > _SHOWN else "")
        super().__init__(f"outside of what this sparse worktree has: {shown}")
        self.paths = paths


class SparseSetChangedError(BusyError):
    """Another process has made other files be wanted here since this one began."""

    def __init__(self) -> None:
        super().__init__("another process changed meanwhile which files this worktree has")


class SparseSet(msgspec.Struct, frozen=True):
    """The *named* paths, none for everything, and the disjoint *paths* at and below which files are, in order of keys.

    These are a few more: ignore files in the folders above, whose rules hold inside.
    """

    named: tuple[bytes, ...]
    paths: tuple[bytes, ...]
    prefixes: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.named)

    def covers(self, path: bytes) -> bool:
        """Tell whether *path* is inside."""
        return path.startswith(self.prefixes) or path in self.paths

    def refuse_outside(self, paths: Iterable[bytes]) -> None:
        """Do nothing, unless one of *paths* is outside, with all that is below it.

        Raises:
            OutsideSparseError: One is.
        """
        outside = [path for path in paths if not self._touches(path)] if self else []
        if outside:
            raise OutsideSparseError(outside)

    def _touches(self, path: bytes) -> bool:
        return not path or self.covers(path) or any(inside.startswith(path + b"/") for inside in self.named)

    def entries(self, tree: Tree) -> Iterator[Entry]:
        """Yield the entries of *tree* that are inside, in the order of the keys."""
        for path in self.paths:
            yield from tree.entries(path)

    def changes(self, old: Tree, new: Tree) -> Iterator[Change]:
        """Yield how two trees differ inside, in the order of the keys."""
        return diff_paths(old, new, self.paths)

    @property
    def mark(self) -> bytes:
        """What tells this set from others; nothing for everything."""
        return blake3(b"\0".join(self.named)).digest(length=_MARK_LENGTH) if self else b""


EVERYTHING: Final = SparseSet((), (b"",), (b"",))


def sparse_set(named: Iterable[bytes]) -> SparseSet:
    """Return the set of what is at and below the paths *named*, of which there is one at least.

    Raises:
        InvalidPathError: One of them can be in no version, or holds a line feed, which ends a line of the file.
    """
    chosen = outermost(named)
    ignore_files = {IGNORE_FILE}
    for path in chosen:
        validate_path(path)
        if b"\n" in path:
            raise InvalidPathError(path, "it holds a line feed")
        above = path.rpartition(b"/")[0]
        while above:
            ignore_files.add(above + b"/" + IGNORE_FILE)
            above = above.rpartition(b"/")[0]
    paths = outermost([*chosen, *ignore_files])
    return SparseSet(tuple(chosen), tuple(paths), tuple(path + b"/" for path in paths))


def read_sparse_set(control: Path) -> SparseSet:
    """Return the set of the worktree with the control folder *control*.

    Raises:
        CorruptionError: The file is not one.
    """
    file = control / _FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return EVERYTHING
    except OSError as error:
        raise storage_error(error, f"read {file}") from error
    try:
        if content:
            return sparse_set(content.removesuffix(b"\n").split(b"\n"))
        message = f"{file} is empty"
    except InvalidPathError as error:
        message = f"{file} is damaged: {error}"
    raise CorruptionError(message)


def write_sparse_set(control: Path, wanted: SparseSet) -> None:
    """Let the worktree with the control folder *control* have *wanted*, durably."""
    file = control / _FILE
    temporary = control / f"{_FILE}.{os.getpid()}"
    try:
        if wanted:
            with temporary.open("wb") as stream:
                stream.write(b"".join(path + b"\n" for path in wanted.named))
                stream.flush()
                sync_file(stream.fileno())
            temporary.replace(file)
        else:
            file.unlink(missing_ok=True)
        sync_folder(control)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, f"write {file}") from error
