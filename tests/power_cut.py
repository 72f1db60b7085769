"""What a power cut leaves of a folder: the changes that were synced, and perhaps others.

The rules are POSIX's, which promise less than any filesystem does: the content of a file is durable once the
file was synced, and a name once its folder was; no order holds between two that were not.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from tests.crash_support import Event

__all__ = ["Disk", "all_names", "nothing"]

Survives = Callable[[str], bool]
"""Tells whether an unsynced change survives: "name" for one in a folder, "content" for one of a file."""


def nothing(_what: str) -> bool:
    """Let nothing survive that was not synced."""
    return False


def all_names(what: str) -> bool:
    """Let every name survive, and no content: what some filesystems make of a rename."""
    return what == "name"


@dataclass(eq=False)
class _File:
    data: bytes = b""
    durable: bytes = b""
    mode: int = 0o644


@dataclass(eq=False)
class _Link:
    target: str


@dataclass(eq=False)
class _Folder:
    names: dict[str, "_Node"] = field(default_factory=dict)
    durable: dict[str, "_Node"] = field(default_factory=dict)


_Node = _File | _Link | _Folder


class Disk:
    """The folder *root* as it was, all of it durable, and what has happened since.

    What nobody watches, such as the pages of SQLite, stays as it was.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._top = _load(root)

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.path.startswith(self._root + "/") or event.path == self._root:
                self._apply(event)

    def _apply(self, event: Event) -> None:
        match event.call:
            case "create":
                self._put(event.path, _File(mode=event.offset))
            case "write" if isinstance(file := self._find(event.path), _File):
                padded = file.data.ljust(event.offset, b"\0")
                file.data = padded[: event.offset] + event.data + padded[event.offset + len(event.data) :]
            case "ftruncate" if isinstance(file := self._find(event.path), _File):
                file.data = b""
            case "fsync" | "fdatasync":
                node = self._find(event.path)
                if isinstance(node, _File):
                    node.durable = node.data
                elif isinstance(node, _Folder):
                    node.durable = dict(node.names)
            case "rename":
                # SQLite made it, unseen: nothing of it was synced.
                unseen = self._find(event.path) is None
                self._put(event.other, _File() if unseen else self._take(event.path))
            case "link":
                node = self._find(event.path)
                assert node is not None
                self._put(event.other, node)
            case "symlink":
                self._put(event.path, _Link(event.other))
            case "unlink" | "remove" | "rmdir":
                self._take(event.path)
            case "mkdir":
                self._put(event.path, _Folder())
            case "chmod" | "fchmod" | "utime" | "write":
                pass
            case other:
                message = f"what does a power cut do to {other}?"
                raise NotImplementedError(message)

    def _find(self, path: str) -> "_Node | None":
        node: _Node | None = self._top
        for name in path[len(self._root) :].split("/")[1:]:
            node = node.names.get(name) if isinstance(node, _Folder) else None
        return node

    def _folder(self, path: str) -> tuple[_Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, _Folder)
        return folder, name

    def _put(self, path: str, node: _Node) -> None:
        folder, name = self._folder(path)
        folder.names[name] = node

    def _take(self, path: str) -> _Node:
        folder, name = self._folder(path)
        return folder.names.pop(name)

    def write_to(self, target: Path, survives: Survives = nothing) -> bytes:
        """Make *target* the folder that is there after a power cut; return a digest of all that is in it."""
        written = blake3()
        _write(self._top, target, survives, written)
        return written.digest()


def _load(path: Path) -> _Node:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return _Link(os.readlink(path))  # noqa: PTH115 (pathlib tidies the target)
    if stat.S_ISDIR(status.st_mode):
        names = {child.name: _load(child) for child in path.iterdir()}
        return _Folder(names, dict(names))
    data = path.read_bytes()
    return _File(data, data, stat.S_IMODE(status.st_mode))


def _write(node: _Node, target: Path, survives: Survives, written: Any) -> None:
    if isinstance(node, _Link):
        os.symlink(node.target, target)  # noqa: PTH211 (as above)
        written.update(repr((target.name, node.target)).encode())
    elif isinstance(node, _File):
        is_whole = node.data == node.durable or survives("content")
        data = node.data if is_whole else node.durable
        target.write_bytes(data)
        target.chmod(node.mode)
        written.update(repr((target.name, node.mode, blake3(data).hexdigest())).encode())
    else:
        target.mkdir()
        written.update(repr([target.name]).encode())
        for name in sorted({*node.names, *node.durable}):
            before, after = node.durable.get(name), node.names.get(name)
            kept = after if after is before or survives("name") else before
            if kept is not None:
                _write(kept, target / name, survives, written)
        written.update(b"/")
