"""Paths as people type and read them, relative to the working folder, and as a tree holds them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from dsvc.cli.errors import Failure, UsageError
from dsvc.errors import InvalidInputError
from dsvc.model.paths import quote_path

__all__ = ["OutsideRepositoryError", "is_url", "shown_path", "split_words", "tree_path"]

_NOT_FOUND = 4


class OutsideRepositoryError(InvalidInputError):
    """A path that does not lead into the repository."""

    def __init__(self, path: bytes, root: Path) -> None:
        super().__init__(f"{quote_path(path)} is outside the repository {quote_path(os.fsencode(root))}")
        self.path = path


def is_url(word: bytes) -> bool:
    """Tell whether *word* is the address of something elsewhere, and no path that is here."""
    scheme, separator, _ = word.partition(b"://")
    return bool(separator) and scheme.isalnum() and not os.path.lexists(word)


def _working_folder() -> bytes:
    return os.getcwdb()  # noqa: PTH109 (pathlib has no bytes)


def tree_path(root: Path, argument: bytes) -> bytes:
    """Return the path from *root* that *argument* names from the working folder; *root* itself is empty.

    Raises:
        OutsideRepositoryError: It leads elsewhere.
    """
    if not argument:
        message = "an empty path names nothing"
        raise UsageError(message, hint="for the whole working folder, write `.`")
    absolute = os.path.normpath(os.path.join(_working_folder(), argument))  # noqa: PTH118 (pathlib has no bytes)
    within = _within(root, absolute)
    if within is None:
        # By way of a link, perhaps. The last component stays: it may itself be a link that is tracked.
        folder, name = os.path.split(absolute)
        within = _within(root, os.path.join(os.path.realpath(folder), name))  # noqa: PTH118 (as above)
    if within is None:
        raise OutsideRepositoryError(argument, root)
    return within


def _within(root: Path, absolute: bytes) -> bytes | None:
    base = os.fsencode(root).rstrip(b"/")
    if absolute == (base or b"/"):
        return b""
    return absolute[len(base) + 1 :] if absolute.startswith(base + b"/") else None


def shown_path(root: Path, path: bytes) -> str:
    """Return *path*, from *root*, for people in the working folder; a trailing slash stays."""
    folder, base = _working_folder(), os.fsencode(root)
    if folder == base:
        return quote_path(path) if path else "./"
    shown = os.path.relpath(os.path.join(base, path), folder)  # noqa: PTH118 (as above)
    return quote_path(shown + b"/" if path.endswith(b"/") or not path else shown)


def split_words(
    words: Sequence[str], paths: tuple[bytes, ...] | None, is_revision: Callable[[str], bool]
) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """Tell revisions from paths as git does, and return both.

    *paths* is what stands after `--`; where that is given, all *words* are revisions. Else they are
    revisions up to the first that is none, and from there on paths, which must be there.

    Raises:
        Failure: A word is neither, or both.
    """
    if paths is not None:
        return tuple(words), paths
    revisions: list[str] = []
    for word in words:
        if not is_revision(word):
            break
        if os.path.lexists(word):
            message = f"`{word}` is both a revision and a path"
            raise Failure(message, code=2, hint="put `--` between revisions and paths")
        revisions.append(word)
    rest = tuple(word.encode("utf-8", "surrogateescape") for word in words[len(revisions) :])
    for path in rest:
        if not os.path.lexists(path) and not set(path) & set(b"*?["):
            message = f"{quote_path(path)} is neither a revision nor a path in the working folder"
            raise Failure(message, code=_NOT_FOUND, hint="put `--` before paths that are no longer there")
    return tuple(revisions), rest
