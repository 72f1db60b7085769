"""Comparing two versions in numbers: files and bytes that came, went, changed and stayed, by folder and by type."""

from collections.abc import Callable, Iterable

import msgspec

from dsvc.history.diff import Change, ChangeKind
from dsvc.model.tree import Entry, EntryKind

__all__ = ["Comparison", "Group", "Tally", "compare"]


class Tally(msgspec.Struct):
    """So many *files*, of *old_size* bytes before and *size* now."""

    files: int = 0
    old_size: int = 0
    size: int = 0

    def add(self, old: Entry | None, new: Entry | None) -> None:
        """Count one more file."""
        self.files += 1
        self.old_size += 0 if old is None else old.size
        self.size += 0 if new is None else new.size


class Group(msgspec.Struct):
    """What happened to the files that have something in common."""

    kinds: dict[ChangeKind, Tally] = {}

    def tally(self, kind: ChangeKind) -> Tally:
        """Return how many were changed in this way."""
        return self.kinds.get(kind) or Tally()

    @property
    def growth(self) -> int:
        """By how many bytes all of it grew."""
        return sum(tally.size - tally.old_size for tally in self.kinds.values())

    def add(self, kind: ChangeKind, old: Entry | None, new: Entry | None) -> None:
        """Count one more file."""
        self.kinds.setdefault(kind, Tally()).add(old, new)


class Comparison(msgspec.Struct):
    """What happened to *all* files, to those in each of the *folders*, and to those of each of the *types*.

    A file that was renamed from one of these groups to another is gone from the one, and new in the other.
    *folders_added* and *folders_removed* are empty ones.
    """

    all: Group
    unchanged: Tally
    folders: dict[bytes, Group]
    types: dict[bytes, Group]
    folders_added: int = 0
    folders_removed: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether nothing happened."""
        return not (self.all.kinds or self.folders_added or self.folders_removed)


def compare(changes: Iterable[Change], files: int, size: int, folder: bytes = b"") -> Comparison:
    """Return what *changes* come to, from a version with *files* files of *size* bytes.

    Renames are told as such if *changes* have them. Folders are those directly in *folder*.
    """
    result = Comparison(Group(), Tally(files, size, size), {}, {})
    for change in changes:
        old, new = map(_file, change)
        result.folders_removed += change.old is not None and old is None
        result.folders_added += change.new is not None and new is None
        if old is not None:
            result.unchanged.files -= 1
            result.unchanged.size -= old.size
        if old is None and new is None:
            continue
        what = Change(old, new)
        result.all.add(what.kind, old, new)
        _count(result.folders, what, lambda path: _place(path, folder))
        _count(result.types, what, _type)
    result.unchanged.old_size = result.unchanged.size
    return result


def _count(groups: dict[bytes, Group], what: Change, name: Callable[[bytes], bytes]) -> None:
    names = {name(side.path): side for side in what if side is not None}
    if len(names) == 1:
        groups.setdefault(next(iter(names)), Group()).add(what.kind, *what)
        return
    for key, side in names.items():
        moved = Change(side, None) if side is what.old else Change(None, side)
        groups.setdefault(key, Group()).add(moved.kind, *moved)


def _file(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.kind == EntryKind.FOLDER else entry


def _place(path: bytes, folder: bytes) -> bytes:
    within = path[len(folder) + 1 :] if folder and path != folder else path
    name, slash, _ = within.partition(b"/")
    return name if slash else b""


def _type(path: bytes) -> bytes:
    """Return the end of a name that says what is in it, such as `.jpg`, in lower case; empty if there is none."""
    stem, dot, suffix = path.rpartition(b"/")[2].rpartition(b".")
    return b"." + suffix.lower() if dot and stem else b""
