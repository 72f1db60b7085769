"""Merging two trees that were one once: what changed on either side is in the result.

Both sides are compared with their base at once, path by path, and pages that all three share are never read. A path
that changed on one side only is taken from there. Where both changed it, and not to the same, the parts of
a file that one side left alone are still merged: its content, its executable bit and what people say of it. The
rest is a conflict, and stays one unless a side is favoured.

A file and a folder at one path are a conflict too: the folder stays, and the file gets the name of its side at its
end. An empty folder is never in conflict; it gives way to whatever else is there. Renames are not looked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from typing import Final, Literal, NamedTuple, Protocol, TypeVar, cast

import msgspec

from dsvc.history.diff import Change, diff_trees
from dsvc.history.entry_layout import is_below
from dsvc.history.tree import Tree
from dsvc.model.ids import ID_LENGTH
from dsvc.model.paths import path_key
from dsvc.model.tree import Entry, EntryKind

__all__ = ["Conflict", "ConflictKind", "Edit", "MergeFiles", "Merged", "Side", "merge_trees", "overlay", "undecided"]

ItemT = TypeVar("ItemT")
Edit = tuple[bytes, Entry | None]

# What Linux allows for a name, and as much of it as the name of a side may take.
_LONGEST_NAME: Final = 255
_LONGEST_LABEL: Final = 100


class MergeFiles(Protocol):
    """Merges what both sides changed of one file that was *base*, if it was there; a text says why that cannot be."""

    def __call__(self, base: Entry | None, ours: Entry, theirs: Entry, /) -> Entry | str:
        """Return *ours* with the content of both."""

    def merge_metadata(self, base: Entry | None, ours: Entry, theirs: Entry) -> bytes | str | None:
        """Return the id of an extension with what people say on both sides, None for one that says nothing."""


class Side(Enum):
    """Which of the two."""

    OURS = "ours"
    THEIRS = "theirs"


class ConflictKind(Enum):
    """What happened to a path that needs a decision; the value is git's two letters."""

    ADDED_BY_US = "AU"
    DELETED_BY_THEM = "UD"
    ADDED_BY_THEM = "UA"
    DELETED_BY_US = "DU"
    BOTH_ADDED = "AA"
    BOTH_MODIFIED = "UU"


_KINDS: Final = dict(zip(((0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)), ConflictKind, strict=True))


class Conflict(NamedTuple):
    """A path that both sides changed: its entries, None where there is none, and why they could not be merged.

    *moved_from* is the path of a file that had to make way for a folder.
    """

    path: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    reason: str = ""
    moved_from: bytes | None = None

    @property
    def kind(self) -> ConflictKind:
        """What happened."""
        return _KINDS[self.base is not None, self.ours is not None, self.theirs is not None]

    @property
    def kept(self) -> Entry | None:
        """What the merged tree has there until it is decided: ours, or theirs where we have none."""
        return self.theirs if self.ours is None else self.ours


class Merged(msgspec.Struct, frozen=True):
    """What makes the merged tree of ours, and the conflicts, both in the order of the keys."""

    edits: list[Edit]
    conflicts: list[Conflict]


def merge_trees(
    base: Tree,
    ours: Tree,
    theirs: Tree,
    *,
    favour: Side | None = None,
    names: tuple[bytes, bytes] = (b"ours", b"theirs"),
    merge_files: MergeFiles | None = None,
) -> Merged:
    """Merge what *ours* and *theirs* made of *base*.

    Conflicts are settled for the side that is *favoured*, if any. The *names* of both sides are for files that have
    to make way for folders. Files that differ are left to *merge_files*.
    """
    merging = _Merging(favour, merge_files)
    for path, triple in _touched(base, ours, theirs):
        merging.take(path, *triple)
    return merging.finish(lambda path, side: _free_path(path, names[side is Side.THEIRS], (base, ours, theirs)))


def undecided(path: bytes) -> Entry:
    """Return what stands in a base where it is not known what was there: it is like nothing that a version can hold."""
    return Entry(path, EntryKind.EXTERNAL, 0, b"", None, bytes(ID_LENGTH))


def overlay(ours: Tree, theirs: Tree) -> Iterator[Edit]:
    """Yield what lays *theirs* on *ours*: all paths of both, and theirs where both have one.

    Nothing is asked of the past: what one has deleted and the other has is there, and an old file replaces
    a newer one. This is how clearml-data joins the parents of a dataset.
    """
    above = b"\0"  # the key of the last file that came
    left = Change(None, None)
    left_key = b"\0"  # the last path that only ours has, and its key
    for change in diff_trees(ours, theirs):
        key = path_key(change.path)
        if change.new is None:
            if is_below(key, above):
                yield change.path, None
            else:
                left, left_key = change, key
        elif change.new.kind != EntryKind.FOLDER:
            above = key
            if is_below(key, left_key):
                yield left.path, None
            yield change.path, change.new
        elif change.old is None and not is_below(key, left_key):
            yield change.path, change.new


_Triple = tuple[Entry | None, Entry | None, Entry | None]


def _touched(base: Tree, ours: Tree, theirs: Tree) -> Iterator[tuple[bytes, _Triple]]:
    """Yield each path that is not the same in all three, with its entries, in the order of the keys."""
    left, right = diff_trees(base, ours), diff_trees(base, theirs)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        order = _order(one, other)
        mine = one if order <= 0 else None
        yours = other if order >= 0 else None
        old = cast("Change", mine or yours).old
        path = cast("Change", mine or yours).path
        yield path, (old, old if mine is None else mine.new, old if yours is None else yours.new)
        one = next(left, None) if order <= 0 else one
        other = next(right, None) if order >= 0 else other


def _order(one: Change | None, other: Change | None) -> int:
    if one is None or other is None:
        return 1 if one is None else -1
    left, right = path_key(one.path), path_key(other.path)
    return (left > right) - (left < right)


class _Decision(msgspec.Struct):
    """What becomes of one path. A file that makes way for a folder is *displaced*, an empty folder *below* it stays."""

    path: bytes
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    result: Entry | None
    conflict: bool = False
    reason: str = ""
    displaced: bool = False
    below: "_Decision | None" = None

    @property
    def side(self) -> Side:
        return Side.OURS if self.result is not None and self.result is self.ours else Side.THEIRS


class _Merging:
    """One merge, path after path."""

    def __init__(self, favour: Side | None, merge_files: MergeFiles | None) -> None:
        self._favour = favour
        self._merge_files = merge_files
        self._decisions: list[_Decision] = []
        # The last file of the result, and its key: what is below it follows at once.
        self._above: _Decision | None = None
        self._above_key = b""

    def take(self, path: bytes, base: Entry | None, ours: Entry | None, theirs: Entry | None) -> None:
        decision = self._decide(path, base, ours, theirs)
        key = path_key(path)
        if decision.result is not None and self._above is not None and is_below(key, self._above_key):
            self._meet(self._above, decision)
        elif decision.result is not None and decision.result.kind != EntryKind.FOLDER:
            self._above, self._above_key = decision, key
        if decision.conflict or decision.below is not None or decision.result != ours:
            self._decisions.append(decision)

    def _meet(self, above: _Decision, below: _Decision) -> None:
        """Settle it that *below* would be below the file *above*, which is of the other side."""
        if _without_folder(below.result) is None:
            # A file that comes later may yet make the other one go.
            below.below = above
        elif self._favour is not None and above.side is self._favour:
            below.result, below.conflict = None, False
        elif not above.displaced:
            above.displaced = True
            if not above.conflict and above.result == above.ours:
                # It was to stay, so it is not among the decisions yet.
                self._decisions.append(above)

    def _decide(self, path: bytes, base: Entry | None, ours: Entry | None, theirs: Entry | None) -> _Decision:
        decision = _Decision(path, _without_folder(base), _without_folder(ours), _without_folder(theirs), None)
        self._merge_contents(decision)
        if decision.result is None and not decision.conflict:
            is_folder = [entry is not None and entry.kind == EntryKind.FOLDER for entry in (base, ours, theirs)]
            # A yes that both sides have changed is the same on both.
            if is_folder[2] if is_folder[0] == is_folder[1] else is_folder[1]:
                decision.result = ours if is_folder[1] else theirs if is_folder[2] else base
        return decision

    def _merge_contents(self, decision: _Decision) -> None:
        base, ours, theirs = decision.base, decision.ours, decision.theirs
        if _same(ours, theirs) or _same(base, theirs):
            decision.result = ours
        elif _same(base, ours):
            decision.result = theirs
        else:
            merged = self._merge_entries(base, ours, theirs)
            if isinstance(merged, Entry):
                decision.result = merged
            elif self._favour is None:
                decision.conflict, decision.reason = True, merged
                decision.result = theirs if ours is None else ours
            else:
                decision.result = ours if self._favour is Side.OURS else theirs

    def _merge_entries(self, base: Entry | None, ours: Entry | None, theirs: Entry | None) -> Entry | str:
        """Return the entry that has what changed on both sides, or why there is none."""
        if ours is None or theirs is None or not (ours.is_file and theirs.is_file):
            return ""
        known = base if base is not None and base.is_file else None
        kind = _pick(known and known.kind, ours.kind, theirs.kind)
        extension = _pick(known and known.extension, ours.extension, theirs.extension)
        if kind is _BOTH:
            return "one side made it executable"
        if extension is _BOTH:
            if self._merge_files is None:
                return "its metadata changed on both sides"
            said = self._merge_files.merge_metadata(known, ours, theirs)
            if isinstance(said, str):
                return said
            extension = said
        content = _pick(known and _content(known), _content(ours), _content(theirs))
        merged = ours
        if content is _BOTH:
            if self._merge_files is None or known is not base:
                return ""
            made = self._merge_files(known, ours, theirs)
            if isinstance(made, str):
                return made
            merged = made
        elif content != _content(ours):
            merged = theirs
        return msgspec.structs.replace(merged, kind=kind, extension=extension)

    def finish(self, free_path: Callable[[bytes, Side], bytes]) -> Merged:
        edits: list[Edit] = []
        conflicts: list[Conflict] = []
        for decision in self._decisions:
            if decision.displaced and self._favour is None:
                conflict = _displaced(decision, free_path(decision.path, decision.side))
                edits.append((conflict.path, conflict.kept))
                conflicts.append(conflict)
            elif decision.conflict:
                base = _known(decision.base)
                conflicts.append(Conflict(decision.path, base, decision.ours, decision.theirs, decision.reason))
            is_gone = decision.displaced or (decision.below is not None and not decision.below.displaced)
            result = None if is_gone else decision.result
            # An empty folder of ours may have to go as well; removing what is not there is nothing.
            edits.append((decision.path, result))
        return Merged(_sorted(edits, lambda edit: edit[0]), _sorted(conflicts, lambda conflict: conflict.path))


def _sorted(items: Iterable[ItemT], path: Callable[[ItemT], bytes]) -> list[ItemT]:
    return sorted(items, key=lambda item: path_key(path(item)))


def _displaced(decision: _Decision, path: bytes) -> Conflict:
    """Return the conflict of a file that makes way, which is on one side only."""

    def moved(entry: Entry | None) -> Entry | None:
        return None if entry is None else msgspec.structs.replace(entry, path=path)

    # Unless something was wrong with the file itself, nobody asks what it was before.
    base = _known(decision.base) if decision.conflict else None
    return Conflict(path, moved(base), moved(decision.ours), moved(decision.theirs), moved_from=decision.path)


def _without_folder(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.kind == EntryKind.FOLDER else entry


def _known(base: Entry | None) -> Entry | None:
    return None if base is not None and base.extension == bytes(ID_LENGTH) else base


def _same(one: Entry | None, other: Entry | None) -> bool:
    return one is other if one is None or other is None else one.same_content(other)


class _Both(Enum):
    BOTH = 0


_BOTH: Final = _Both.BOTH
ValueT = TypeVar("ValueT")


def _pick(base: object, ours: ValueT, theirs: ValueT) -> ValueT | Literal[_Both.BOTH]:
    if theirs in (ours, base):
        return ours
    return theirs if base == ours else _BOTH


def _content(entry: Entry) -> tuple[int, bytes]:
    return entry.size, entry.digest


def _free_path(path: bytes, name: bytes, trees: Sequence[Tree]) -> bytes:
    """Return a path that none of *trees* has: *path* with *name* at its end, and a number if need be.

    A name that would be too long for a file is cut.
    """
    folder, slash, own = path.rpartition(b"/")
    label = b"~" + name.replace(b"/", b"_")[:_LONGEST_LABEL]
    ends = (label + (b"_%d" % number if number else b"") for number in count())
    candidates = (folder + slash + own[: _LONGEST_NAME - len(end)] + end for end in ends)
    return next(one for one in candidates if not any(next(tree.entries(one), None) is not None for tree in trees))
