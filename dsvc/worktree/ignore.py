"""Which files are not part of the dataset: `.dsvcignore`, in gitignore's syntax.

A file `.dsvcignore` speaks for its folder and all below; the last pattern that matches, in the
deepest file that has one, decides. A path that is ignored can be added by force, and stays then.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dsvc.storage.local import storage_error

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["BUILT_IN_NAMES", "IGNORE_FILE", "Ignore", "IgnoredPaths", "ignore_above", "read_ignore_file"]

IGNORE_FILE: Final = b".dsvcignore"

# A dataset may live in a git checkout; git's own folder is never data. `!.git` brings it back.
BUILT_IN_NAMES: Final = frozenset((b".git",))


@lru_cache(maxsize=256)
def _parse(text: bytes) -> "GitIgnoreSpec":
    # 25 ms to import, and most repositories have nothing to ignore.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(text.decode("utf-8", "surrogateescape").splitlines())


class Ignore:
    """The patterns in force in one folder. Immutable; `enter` gives those of a folder below."""

    __slots__ = ("_layers",)

    def __init__(self, layers: Sequence[tuple[bytes, "GitIgnoreSpec"]] = ()) -> None:
        self._layers = tuple(layers)

    @property
    def has_patterns(self) -> bool:
        """Whether there is any pattern but the built-in ones."""
        return bool(self._layers)

    def enter(self, folder: bytes, text: bytes | None) -> "Ignore":
        """Return the patterns in force in *folder*, whose own ignore file holds *text*."""
        if text is None:
            return self
        return Ignore((*self._layers, (folder, _parse(text))))

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether *path* is ignored by a pattern for itself (not for a folder above it)."""
        for folder, spec in reversed(self._layers):
            relative = path[len(folder) + 1 :] if folder else path
            text = relative.decode("utf-8", "surrogateescape")
            result = spec.check_file(text + "/" if is_folder else text)
            if result.include is not None:
                return result.include
        return path.rpartition(b"/")[2] in BUILT_IN_NAMES


def read_ignore_file(folder: bytes) -> bytes | None:
    """Return what the ignore file in the absolute *folder* holds, None where there is none.

    Raises:
        StorageError: It cannot be read.
    """
    path = os.path.join(folder, IGNORE_FILE)
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise storage_error(error, f"read {os.fsdecode(path)}") from error


def ignore_above(root: bytes, folder: bytes) -> Ignore:
    """Return the patterns in force in *folder* that stand in the folders above it."""
    ignore = Ignore()
    parts = folder.split(b"/") if folder else []
    for depth in range(len(parts)):
        above = b"/".join(parts[:depth])
        ignore = ignore.enter(above, read_ignore_file(os.path.join(root, above)))
    return ignore


class IgnoredPaths:
    """Tells of single paths whether they are ignored, reading each ignore file once."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        # Of each folder its patterns, None if it is itself ignored.
        self._known: dict[bytes, Ignore | None] = {b"": Ignore().enter(b"", read_ignore_file(root))}

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Tell whether *path*, or a folder above it, is ignored."""
        ignore = self._patterns(path.rpartition(b"/")[0])
        return ignore is None or ignore.matches(path, is_folder=is_folder)

    def _patterns(self, folder: bytes) -> Ignore | None:
        missing = []
        while folder not in self._known:
            missing.append(folder)
            folder = folder.rpartition(b"/")[0]
        ignore = self._known[folder]
        for below in reversed(missing):
            if ignore is not None and ignore.matches(below, is_folder=True):
                ignore = None
            elif ignore is not None:
                ignore = ignore.enter(below, read_ignore_file(os.path.join(self._root, below)))
            self._known[below] = ignore
        return ignore
