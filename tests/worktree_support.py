"""A worktree without a command line: a clock that ticks, a fixed author, and trees written as dictionaries.

A tree is a mapping from path to content: bytes are a file, and the classes below the rest.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dsvc.config import Config
from dsvc.history.tree import Tree
from dsvc.model.context import Context
from dsvc.model.ids import ObjectId
from dsvc.repository import create_repository, open_worktree
from dsvc.worktree.add import What, add
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.commit import commit
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.worktree import Worktree

__all__ = [
    "EMPTY_FOLDER",
    "Content",
    "EmptyFolder",
    "Executable",
    "Files",
    "Link",
    "add_all",
    "check_out",
    "clear",
    "commit_all",
    "make_context",
    "make_worktree",
    "open_copy",
    "place",
    "read_files",
    "tree_of",
    "write_files",
]


@dataclass(frozen=True)
class Link:
    target: bytes


@dataclass(frozen=True)
class Executable:
    content: bytes


@dataclass(frozen=True)
class EmptyFolder:
    pass


EMPTY_FOLDER = EmptyFolder()

Content = bytes | Executable | Link | EmptyFolder
Files = Mapping[bytes, Content]


def make_context(command: str = "test") -> Context:
    ticks = count(1_785_000_000_000_000, 1_000_000)
    numbers = count()
    return Context(
        author=lambda: "Ada Lovelace <ada@example.org>",
        actor="ada@host",
        command=command,
        now=lambda: (next(ticks), 120),
        nonce=lambda: f"{os.getpid()}-{next(numbers)}",
    )


def make_worktree(root: Path, context: Context | None = None) -> Worktree:
    context = context or make_context()
    root.mkdir(exist_ok=True)
    control = create_repository(root, context, store_id="5" * 32)
    return open_worktree(control, context, Config())


def open_copy(root: Path) -> Worktree:
    """Open a worktree that is there already, as another process would."""
    return open_worktree(root / ".dsvc", make_context("switch"), Config())


def place(root: Path, path: bytes) -> Path:
    return root / os.fsdecode(path)


def write_files(root: Path, files: Files) -> None:
    """Put *files* where nothing is yet."""
    for path, content in files.items():
        target = place(root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content.target, os.fsencode(target))  # noqa: PTH211 (pathlib tidies the target)
        elif isinstance(content, EmptyFolder):
            target.mkdir()
        elif isinstance(content, Executable):
            target.write_bytes(content.content)
            target.chmod(0o755)
        else:
            target.write_bytes(content)


def read_files(root: Path) -> dict[bytes, Content]:
    """Return what is in *root*, but for dsvc's own folder."""
    return dict(_read(os.fsencode(root), b""))


def _read(root: bytes, folder: bytes) -> Iterator[tuple[bytes, Content]]:
    # Without pathlib, which takes most of the time: the models look after each step.
    with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
        found = [entry for entry in entries if folder or entry.name != b".dsvc"]
    if not found and folder:
        yield folder, EMPTY_FOLDER
    for entry in found:
        path = folder + b"/" + entry.name if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _read(root, path)
        elif entry.is_symlink():
            yield path, Link(os.readlink(entry.path))  # noqa: PTH115 (pathlib tidies the target)
        else:
            with open(entry.path, "rb") as file:  # noqa: PTH123
                data = file.read()
            yield path, Executable(data) if entry.stat().st_mode & 0o100 else data


def clear(root: Path) -> None:
    """Remove everything in *root* but dsvc's own folder."""
    for path in root.iterdir():
        if path.name == ".dsvc":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def add_all(worktree: Worktree) -> None:
    add(worktree, worktree.store.state(), What(Pathspec()))


def commit_all(worktree: Worktree, files: Files | None = None, message: str = "a version") -> ObjectId:
    """Commit what is in the worktree, or *files* in place of that."""
    if files is not None:
        clear(worktree.root)
        write_files(worktree.root, files)
    add_all(worktree)
    return commit(worktree, worktree.store.state(), message, allow_empty=True).id


def tree_of(worktree: Worktree, commit_id: ObjectId) -> Tree:
    return Tree(worktree.store.objects, worktree.commit_of(commit_id).tree)


def check_out(worktree: Worktree, commit_id: ObjectId, *, force: bool = False) -> int:
    """Detach HEAD at *commit_id*."""
    return switch_to(worktree, commit_id.hex(), tree_of(worktree, commit_id), force=force)
