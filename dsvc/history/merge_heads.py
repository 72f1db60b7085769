"""Merging commits: the trees of any number of heads become one.

Heads are merged into the first one by one, each by its own base, which is that of all before it. Of two, conflicts
are for somebody to decide; of more they are refused, because a path could be in conflict several times over.
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

from dsvc.errors import ConflictError, RefusedError
from dsvc.history.commits import Commits
from dsvc.history.file_merge import FileMerger
from dsvc.history.merge import Conflict, Side, merge_trees, overlay
from dsvc.history.merge_base import base_tree
from dsvc.history.tree import Tree
from dsvc.history.walk import is_ancestor
from dsvc.model.ids import ObjectId
from dsvc.model.paths import listed_paths
from dsvc.odb.overlay import Overlay

__all__ = [
    "Head",
    "Joined",
    "ManyHeadsConflictError",
    "Strategy",
    "UnrelatedHistoriesError",
    "independent_heads",
    "join_heads",
]


class Strategy(Enum):
    """What decides where two sides are in conflict; LAST_WINS asks for no base, as clearml-data does."""

    OURS = "ours"
    THEIRS = "theirs"
    LAST_WINS = "last-wins"

    @property
    def side(self) -> Side:
        """Who is favoured: of two, the last one is theirs."""
        return Side.OURS if self is Strategy.OURS else Side.THEIRS


class Head(msgspec.Struct, frozen=True):
    """A commit that is merged, and what people call it."""

    commit: ObjectId
    name: str


class Joined(msgspec.Struct, frozen=True):
    """The tree of all, and what is not decided in it."""

    tree: Tree
    conflicts: list[Conflict]


class UnrelatedHistoriesError(RefusedError):
    """Two heads share no commit."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} shares no history with what it would be merged into")
        self.name = name


class ManyHeadsConflictError(ConflictError):
    """Of several heads that become one commit at once, two are in conflict."""

    def __init__(self, name: str, conflicts: Sequence[Conflict]) -> None:
        paths = listed_paths([one.path for one in conflicts])
        super().__init__(f"{name} is in conflict with the heads before it:{paths}")
        self.name = name
        self.conflicts = list(conflicts)


def independent_heads(commits: Commits, ours: ObjectId | None, heads: Sequence[Head]) -> list[Head]:
    """Return those of *heads* that bring something: not part of *ours* or of another one."""
    once = list({head.commit: head for head in heads}.values())
    tips = [head.commit for head in once] + ([] if ours is None else [ours])
    return [
        head
        for head in once
        if head.commit != ours
        and not any(tip != head.commit and is_ancestor(commits, head.commit, tip) for tip in tips)
    ]


def join_heads(
    commits: Commits,
    objects: Overlay,
    ours: Head,
    theirs: Sequence[Head],
    *,
    strategy: Strategy | None = None,
    allow_unrelated: bool = False,
    allow_conflicts: bool = False,
) -> Joined:
    """Merge *theirs* into *ours*; all that is new is written to *objects*.

    Raises:
        UnrelatedHistoriesError: One shares no history with those before, and that is not allowed.
        ManyHeadsConflictError: One is in conflict with those before, and that is not allowed.
    """
    tree = Tree(objects, commits.get(ours.commit).tree)
    conflicts: list[Conflict] = []
    for number, head in enumerate(theirs):
        other = Tree(objects, commits.get(head.commit).tree)
        side = None if strategy is None else strategy.side
        merge_files = FileMerger(objects, objects, tree, other, side)
        before = [ours.commit, *(one.commit for one in theirs[:number])]
        base = base_tree(commits, before, head.commit, objects=objects, merge_files=merge_files)
        if base is None and not allow_unrelated:
            raise UnrelatedHistoriesError(head.name)
        if strategy is Strategy.LAST_WINS:
            tree = tree.apply(objects, overlay(tree, other))
            continue
        names = (ours.name.encode(), head.name.encode())
        merged = merge_trees(base or Tree(objects), tree, other, favour=side, names=names, merge_files=merge_files)
        if merged.conflicts and not allow_conflicts:
            raise ManyHeadsConflictError(head.name, merged.conflicts)
        tree, conflicts = tree.apply(objects, merged.edits), merged.conflicts
    return Joined(tree, conflicts)
