"""The history of some paths: which commits changed them, and where a walk for them has to look.

It is git's default simplification: where a commit has the paths just as one of its parents has
them, all of their history is that parent's, and the other parents are not looked at.
"""

from collections.abc import Callable, Iterable, Sequence

from dsvc.history.commits import Commits
from dsvc.history.diff import diff_trees
from dsvc.history.tree import Tree
from dsvc.history.walk import Follow, Step
from dsvc.model.ids import ObjectId

__all__ = ["Differs", "differ_below", "follow_paths"]

# Whether an old and a new tree differ in what the walk is about.
Differs = Callable[[Tree, Tree], bool]


def differ_below(folders: Iterable[bytes], matches: Callable[[bytes], bool] | None = None) -> Differs:
    """Return a function that tells whether two trees differ in a path at or below *folders* that *matches*.

    It stops at the first difference, and does not read what both trees share.
    """
    places = tuple(folders)

    def differ(old: Tree, new: Tree) -> bool:
        if old.root == new.root:
            return False
        changes = (change for folder in places for change in diff_trees(old, new, folder))
        return any(matches is None or matches(change.path) for change in changes)

    return differ


def follow_paths(commits: Commits, differ: Differs, *, first_parent: bool = False) -> Follow:
    """Return what `dsvc.history.walk.walk` does with each commit to show only those that changed something.

    *differ* tells what counts as a change. A commit is shown if it differs from each parent, the first
    one from an empty tree. With *first_parent*, the others do not count.
    """
    count = 1 if first_parent else None

    def step(commit_id: ObjectId, hidden: frozenset[ObjectId]) -> Step:
        tree = commits.tree(commit_id)
        parents = commits.parents(commit_id)[:count]
        candidates = [parent for parent in parents if parent not in hidden]
        for parent in candidates:
            if not differ(commits.tree(parent), tree):
                return Step(shown=False, parents=[parent])
        if candidates:
            return Step(shown=True, parents=parents)
        # A side that is left out decides only where there is no other.
        others: Sequence[ObjectId | None] = parents or [None]
        shown = any(differ(commits.tree(parent), tree) for parent in others)
        return Step(shown=shown, parents=parents)

    return step
