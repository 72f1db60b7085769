"""What changed between two trees, path by path, with the letters that git uses."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import starmap, zip_longest
from typing import NamedTuple, cast

from dsvc.history.tree import Tree, folder_range
from dsvc.model.paths import is_within, path_key
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.prolly_diff import diff

__all__ = ["Change", "ChangeKind", "count_changes", "detect_renames", "diff_paths", "diff_trees", "outermost"]


class ChangeKind(Enum):
    """What happened to a path; the value is git's letter."""

    ADDED = "A"
    DELETED = "D"
    MODIFIED = "M"
    RENAMED = "R"
    TYPE_CHANGED = "T"


class Change(NamedTuple):
    """The entry before and after, None where there is none. One of them is there."""

    old: Entry | None
    new: Entry | None

    @property
    def kind(self) -> ChangeKind:
        """What happened. A file that becomes executable is modified; one that becomes a link has changed its type."""
        if self.old is None:
            return ChangeKind.ADDED
        if self.new is None:
            return ChangeKind.DELETED
        if self.old.path != self.new.path:
            return ChangeKind.RENAMED
        if _type(self.old) != _type(self.new):
            return ChangeKind.TYPE_CHANGED
        return ChangeKind.MODIFIED

    @property
    def path(self) -> bytes:
        """The path now, or the old one of what was deleted."""
        # A change has a side.
        return self.new.path if self.new is not None else cast("Entry", self.old).path


def diff_trees(old: Tree, new: Tree, folder: bytes = b"") -> Iterator[Change]:
    """Yield the changes at and below *folder*, in order of keys, without reading what both trees share."""
    return starmap(Change, diff(old.prolly, new.prolly, *folder_range(folder)))


def diff_paths(old: Tree, new: Tree, paths: Iterable[bytes]) -> Iterator[Change]:
    """Yield the changes at and below any of *paths*, in order of keys, each once."""
    for path in outermost(paths):
        yield from diff_trees(old, new, path)


def outermost(paths: Iterable[bytes]) -> list[bytes]:
    """Return those of *paths* that are not below another, each once, in order of keys."""
    kept: list[bytes] = []
    for path in sorted(set(paths), key=path_key):
        if not kept or not is_within(path, kept[-1]):
            kept.append(path)
    return kept


def count_changes(old: Tree, new: Tree, folder: bytes = b"") -> tuple[Counter[ChangeKind], int]:
    """Return how many paths in *folder* changed in which way, and the size in bytes of what is new in them."""
    totals = new.totals(folder)
    if totals.files and not old.totals(folder).files:
        # Of a first commit with a million files, two numbers are known without looking at each.
        return Counter({ChangeKind.ADDED: totals.files}), totals.size
    changes = detect_renames(diff_trees(old, new, folder))
    size = sum(change.new.size for change in changes if change.new and change.kind is not ChangeKind.RENAMED)
    return Counter(change.kind for change in changes), size


def detect_renames(changes: Iterable[Change]) -> list[Change]:
    """Return *changes* with each deletion joined to an addition of the same content as one rename.

    Content is the same if type and digest are (and the link, if external); empty files are never renamed. Where several
    match, those with the same last name go together first, then those that come first. The
    result is in order of the keys of `Change.path`.
    """
    result: list[Change] = []
    deleted: dict[_Content, list[Entry]] = {}
    added: dict[_Content, list[Entry]] = {}
    for change in changes:
        only = change.new or change.old if None in change else None
        content = _content(only) if only is not None else None
        if only is None or content is None:
            result.append(change)
        else:
            (added if change.old is None else deleted).setdefault(content, []).append(only)
    for content, entries in added.items():
        result += _pair(deleted.pop(content, []), entries)
    for entries in deleted.values():
        result += _pair(entries, [])
    return sorted(result, key=lambda change: path_key(change.path))


# Type, digest, and what tells external files without a digest apart.
_Content = tuple[int, bytes, bytes | None]


def _type(entry: Entry) -> int:
    return EntryKind.FILE if entry.is_file else entry.kind


def _content(entry: Entry) -> _Content | None:
    extension = entry.extension if entry.kind == EntryKind.EXTERNAL else None
    if extension is None and not (entry.size and entry.digest):
        return None
    return _type(entry), entry.digest, extension


def _pair(deleted: Sequence[Entry], added: Sequence[Entry]) -> list[Change]:
    # All hold the same content. What finds no partner stays a deletion or an addition.
    by_name: dict[bytes, deque[Entry]] = {}
    for entry in deleted:
        by_name.setdefault(_name(entry), deque()).append(entry)
    changes: list[Change] = []
    others: list[Entry] = []
    for entry in added:
        namesakes = by_name.get(_name(entry))
        if namesakes:
            changes.append(Change(namesakes.popleft(), entry))
        else:
            others.append(entry)
    taken = {change.old for change in changes}
    left = [entry for entry in deleted if entry not in taken]
    return changes + [Change(old, new) for old, new in zip_longest(left, others)]


def _name(entry: Entry) -> bytes:
    return entry.path.rpartition(b"/")[2]
