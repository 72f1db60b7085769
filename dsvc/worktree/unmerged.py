"""The paths that a merge could not decide: three small trees, of the base, of ours and of theirs.

They are git's stages 1, 2 and 3. A path is in those where it was something, and leaves all of them when it is
staged. What the staged tree holds there meanwhile is ours, or theirs where we have nothing; or a side that was taken.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from dsvc.errors import ConflictError, InvalidInputError
from dsvc.history.merge import Conflict, Side
from dsvc.history.tree import Tree
from dsvc.model.ids import ObjectId
from dsvc.model.paths import listed_paths, quote_path
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader, ObjectWriter
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import Session, Unfinished

__all__ = [
    "NoSideError",
    "UnmergedPathsError",
    "decide",
    "read_unmerged",
    "refuse_unmerged",
    "side_entries",
    "stage_tree",
    "write_stages",
]

_COUNT: Final = 3


class UnmergedPathsError(ConflictError):
    """Paths are in conflict, and nobody has decided yet what they are to be."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        super().__init__(f"paths are unmerged:{listed_paths(paths)}")
        self.paths = list(paths)


class NoSideError(InvalidInputError):
    """One side has nothing at a path."""

    def __init__(self, path: bytes, side: Side) -> None:
        super().__init__(f"{quote_path(path)} is not in {'our' if side is Side.OURS else 'their'} version")
        self.path = path


def write_stages(objects: ObjectReader, writer: ObjectWriter, conflicts: Iterable[Conflict]) -> tuple[str, str, str]:
    """Write the trees of *conflicts* and return their roots."""
    sides = zip(*((one.base, one.ours, one.theirs) for one in conflicts), strict=True)
    entries = ([(entry.path, entry) for entry in side if entry is not None] for side in sides)
    base, ours, theirs = (Tree(objects).apply(writer, side).root.hex() for side in entries)
    return base, ours, theirs


def stage_tree(objects: ObjectReader, session: Session, stage: int) -> Tree:
    """Return the tree of *stage* 1, 2 or 3; an empty one where nothing is unmerged."""
    stages = None if session.unfinished is None else session.unfinished.stages
    return Tree(objects, None if stages is None else ObjectId.from_hex(stages[stage - 1]))


def read_unmerged(objects: ObjectReader, session: Session, pathspec: Pathspec | None = None) -> list[Conflict]:
    """Return what is not decided, in the order of the keys; with *pathspec*, of its paths only."""
    if session.unfinished is None or session.unfinished.stages is None:
        return []
    return [one for one in _joined(objects, session) if pathspec is None or pathspec.matches(one.path)]


def _joined(objects: ObjectReader, session: Session) -> Iterator[Conflict]:
    found: dict[bytes, list[Entry | None]] = {}
    for stage in range(_COUNT):
        for entry in stage_tree(objects, session, stage + 1).entries():
            found.setdefault(entry.path, [None] * _COUNT)[stage] = entry
    for path in sorted(found, key=lambda path: path.replace(b"/", b"\0")):
        base, ours, theirs = found[path]
        yield Conflict(path, base, ours, theirs)


def refuse_unmerged(objects: ObjectReader, session: Session, pathspec: Pathspec | None = None) -> None:
    """Do nothing, unless something, with *pathspec* one of its paths, is not decided.

    Raises:
        UnmergedPathsError: So it is.
    """
    found = read_unmerged(objects, session, pathspec)
    if found:
        raise UnmergedPathsError([one.path for one in found])


def side_entries(objects: ObjectReader, session: Session, pathspec: Pathspec, side: Side) -> list[Entry]:
    """Return what one *side* has at those paths of *pathspec* that are not decided.

    Raises:
        NoSideError: It has nothing at one of them.
    """
    entries: list[Entry] = []
    for conflict in read_unmerged(objects, session, pathspec):
        entry = conflict.ours if side is Side.OURS else conflict.theirs
        if entry is None:
            raise NoSideError(conflict.path, side)
        entries.append(entry)
    return entries


def decide(
    objects: ObjectReader, writer: ObjectWriter, unfinished: Unfinished | None, paths: Collection[bytes]
) -> Unfinished | None:
    """Return *unfinished* without *paths* among what is not decided."""
    if unfinished is None or unfinished.stages is None:
        return unfinished
    gone = [(path, None) for path in paths]
    trees = [Tree(objects, ObjectId.from_hex(root)).apply(writer, gone) for root in unfinished.stages]
    base, ours, theirs = (tree.root.hex() for tree in trees)
    is_left = any(tree.root != Tree(objects).root for tree in trees)
    return msgspec.structs.replace(unfinished, stages=(base, ours, theirs) if is_left else None)
