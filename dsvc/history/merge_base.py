"""The tree that both sides of a merge were once.

Of one best common ancestor it is that ancestor's. Of several, as after two branches were merged into each other,
they are merged with each other first, by their own base and so on, as git does ("recursive"). Where they are
in conflict, nobody can say what the path was: what stands there is like nothing else, so that a path is
never taken from one side unasked. Below 20 such steps the base is empty, which makes more conflicts and none less.
"""

from collections.abc import Sequence
from typing import Final

from dsvc.history.commits import Commits
from dsvc.history.merge import MergeFiles, merge_trees, undecided
from dsvc.history.tree import Tree
from dsvc.history.walk import merge_bases
from dsvc.model.ids import ObjectId
from dsvc.odb.overlay import Overlay

__all__ = ["base_tree"]

_DEEPEST: Final = 20


def base_tree(
    commits: Commits,
    ours: Sequence[ObjectId],
    theirs: ObjectId,
    *,
    objects: Overlay,
    merge_files: MergeFiles | None = None,
) -> Tree | None:
    """Return the base of a merge of *theirs* into what *ours* come to; None where they share no history.

    What has to be made for it is written to *objects*.
    """
    bases = merge_bases(commits, theirs, *ours)

    def join(bases: Sequence[ObjectId], depth: int) -> Tree:
        joined = Tree(objects, commits.get(bases[0]).tree)
        for number, other in enumerate(bases[1:], 1):
            above = merge_bases(commits, other, *bases[:number]) if depth < _DEEPEST else []
            base = join(above, depth + 1) if above else Tree(objects)
            merged = merge_trees(base, joined, commits.tree(other), merge_files=merge_files)
            unknown = [(conflict.path, undecided(conflict.path)) for conflict in merged.conflicts]
            joined = joined.apply(objects, [*merged.edits, *unknown])
        return joined

    return join(bases, 0) if bases else None
