"""Which paths a command is about: words of the command line, or lines of a file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import option
from dsvc.cli.paths import tree_path
from dsvc.model.paths import display_path, unquote_path, validate_path
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import look_up
from dsvc.worktree.worktree import Worktree

__all__ = ["PathspecFile", "PathspecNull", "named_paths", "read_lines", "read_pathspec", "working_folder"]

PathspecFile = Annotated[
    Path | None,
    option("--pathspec-from-file", metavar="FILE", help="Read the paths from *FILE*, one on a line; `-` is stdin."),
]
PathspecNull = Annotated[
    bool, option("--pathspec-file-nul", help="The paths in the file end with a zero byte, not with the line.")
]


def read_pathspec(
    worktree: Worktree, paths: Sequence[bytes], file: Path | None = None, *, null: bool = False
) -> Pathspec:
    """Return what *paths*, relative to the working folder, or the lines of *file* mean.

    Raises:
        UsageError: Both were given, or *null* without a file.
        OutsideRepositoryError, InvalidPathError: One of them can never be in the repository.
    """
    if null and file is None:
        message = "`--pathspec-file-nul` needs `--pathspec-from-file`"
        raise UsageError(message)
    if file is not None:
        if paths:
            message = "give paths, or `--pathspec-from-file`, not both"
            raise UsageError(message)
        paths = read_lines(file, null=null)
    root = worktree.root_bytes
    return Pathspec(named_paths(worktree, paths), exists=lambda path: look_up(root, path) is not None)


def named_paths(worktree: Worktree, paths: Sequence[bytes]) -> list[bytes]:
    """Return *paths*, relative to the working folder, as paths from the root, which is itself empty.

    Raises:
        OutsideRepositoryError, InvalidPathError: One of them can never be in the repository.
    """
    named: list[bytes] = []
    for path in paths:
        within = tree_path(worktree.root, path)
        if within:
            validate_path(within)
        named.append(within)
    return named


def working_folder(worktree: Worktree) -> bytes:
    """Return the working folder as a path from the root."""
    return tree_path(worktree.root, b".")


def read_lines(file: Path, *, null: bool) -> list[bytes]:
    """Return the paths in *file*, or of stdin for `-`, one on a line or before each zero byte.

    Raises:
        Failure: It cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise Failure(message, code=4 if isinstance(error, FileNotFoundError) else 7) from error
    if null:
        return [path for path in content.split(b"\0") if path]
    return [unquote_path(display_path(line)) for line in content.replace(b"\r\n", b"\n").split(b"\n") if line]
