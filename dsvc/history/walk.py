"""Walking the history: which commits, in which order, and who is whose ancestor.

Every answer is exact, whatever the clocks of the authors said: times decide the order in which
commits are shown, never whether they are. So an answer that something is *not* reachable
may take a look at every ancestor.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import zip_longest
from typing import NamedTuple

from dsvc.errors import NotFoundError
from dsvc.history.commits import Commits
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId

__all__ = [
    "Follow",
    "HistoryCutError",
    "Step",
    "Visit",
    "ahead_behind",
    "ancestors",
    "is_ancestor",
    "merge_bases",
    "walk",
]


class HistoryCutError(NotFoundError):
    """Where two commits parted is in a part of the history that is not here."""

    def __init__(self, one: ObjectId, other: ObjectId) -> None:
        super().__init__(f"where {one.short} and {other.short} parted is not in the part of the history that is here")


class Step(NamedTuple):
    """Whether a commit is shown, and which of its parents the walk goes on with."""

    shown: bool
    parents: list[ObjectId]


class Visit(NamedTuple):
    """A commit that is shown, and the parents that are: those of a hidden parent stand in for it."""

    id: ObjectId
    commit: Commit
    parents: list[ObjectId]


# Of a commit's id and the set of commits that are left out, what to do with it.
Follow = Callable[[ObjectId, frozenset[ObjectId]], Step]


def walk(
    commits: Commits,
    include: Iterable[ObjectId],
    exclude: Iterable[ObjectId] = (),
    *,
    first_parent: bool = False,
    topological: bool = False,
    follow: Follow | None = None,
) -> Iterator[Visit]:
    """Yield what is reachable from *include* and not from *exclude*, newest first.

    By default the order is that of time, as in `git log`: with nothing to exclude the walk is lazy,
    and a parent whose clock was ahead may come before its child. If *topological*, children
    always come before parents and lines of development are not mixed; all is read before the first
    is yielded, and only then `Visit.parents` skips what *follow* hides. With *first_parent*,
    only first parents are followed; what is excluded is excluded with all its ancestors.
    """
    tips = list(dict.fromkeys(include))
    hidden = _hidden(commits, tips, list(exclude))
    step = follow or _follow_all(commits, first_parent=first_parent)
    steps: dict[ObjectId, Step] = {}

    def go(commit_id: ObjectId) -> list[ObjectId]:
        taken = steps[commit_id] = step(commit_id, hidden)
        return taken.parents

    order = _by_time(commits, (tip for tip in tips if tip not in hidden), hidden, go)
    if topological:
        yield from _topological(commits, list(order), steps)
        return
    for commit_id in order:
        taken = steps.pop(commit_id)
        if taken.shown:
            yield Visit(commit_id, commits.get(commit_id), taken.parents)


def _follow_all(commits: Commits, *, first_parent: bool) -> Follow:
    count = 1 if first_parent else None
    return lambda commit_id, _hidden: Step(shown=True, parents=commits.parents(commit_id)[:count])


def _by_time(
    commits: Commits,
    tips: Iterable[ObjectId],
    hidden: frozenset[ObjectId],
    go: Callable[[ObjectId], list[ObjectId]],
) -> Iterator[ObjectId]:
    heap: list[tuple[int, int, ObjectId]] = []
    seen: set[ObjectId] = set(hidden)

    def push(found: Iterable[ObjectId]) -> None:
        new = commits.here([commit_id for commit_id in dict.fromkeys(found) if commit_id not in seen])
        commits.load(new)
        for commit_id in new:
            seen.add(commit_id)
            # Of one time, the one that was met first.
            heappush(heap, (-commits.get(commit_id).time, len(seen), commit_id))

    push(tips)
    while heap:
        commit_id = heappop(heap)[2]
        parents = go(commit_id)
        yield commit_id
        push(parents)


def _topological(commits: Commits, order: list[ObjectId], steps: dict[ObjectId, Step]) -> Iterator[Visit]:
    children = dict.fromkeys(order, 0)
    for commit_id in order:
        for parent in steps[commit_id].parents:
            if parent in children:
                children[parent] += 1
    # A stack: after a merge the last parent's line comes first, as git shows it.
    ready = [commit_id for commit_id in reversed(order) if not children[commit_id]]
    while ready:
        commit_id = ready.pop()
        taken = steps[commit_id]
        if taken.shown:
            yield Visit(commit_id, commits.get(commit_id), _shown_parents(taken.parents, steps))
        for parent in taken.parents:
            if parent in children:
                children[parent] -= 1
                if not children[parent]:
                    ready.append(parent)


def _shown_parents(parents: list[ObjectId], steps: dict[ObjectId, Step]) -> list[ObjectId]:
    found: dict[ObjectId, None] = {}
    # Deepest first would reverse the order of parents.
    waiting = parents[::-1]
    met: set[ObjectId] = set()
    while waiting:
        commit_id = waiting.pop()
        step = steps.get(commit_id)
        if step is None or commit_id in met:
            continue
        met.add(commit_id)
        if step.shown:
            found[commit_id] = None
        else:
            waiting.extend(reversed(step.parents))
    return list(found)


def _hidden(commits: Commits, tips: list[ObjectId], exclude: list[ObjectId]) -> frozenset[ObjectId]:
    """Return the ancestors of *exclude*; only some of them, where *tips* are among those."""
    if not exclude:
        return frozenset()
    wanted = set(tips)
    hidden: set[ObjectId] = set()
    for commit_id in ancestors(commits, exclude):
        hidden.add(commit_id)
        wanted.discard(commit_id)
        if not wanted:
            break
    return frozenset(hidden)


def ancestors(commits: Commits, tips: Iterable[ObjectId]) -> Iterator[ObjectId]:
    """Yield *tips* and all that is reachable from them, newest first."""
    return _by_time(commits, tips, frozenset(), commits.parents)


def is_ancestor(commits: Commits, ancestor: ObjectId, descendant: ObjectId) -> bool:
    """Tell whether *ancestor* is *descendant* or reachable from it."""
    # From both at once: mostly one of them is not far behind the other, and the history is long or not even here.
    for above, below in zip_longest(ancestors(commits, [descendant]), ancestors(commits, [ancestor])):
        if above is None or above == ancestor:
            return above is not None
        if below == descendant:
            return False
    return False


def merge_bases(commits: Commits, other: ObjectId, *ones: ObjectId) -> list[ObjectId]:
    """Return the best common ancestors, newest first: those from which no other one is reachable.

    Usually there is one; there are several where branches were merged into each other, and none
    where they share no history. Of several commits *ones*, it is as if they were merged.
    """
    if other in ones:
        return [other]
    # Most often one of them is the other's ancestor.
    left: set[ObjectId] = set()
    for commit_id in ancestors(commits, ones):
        if commit_id == other:
            return [other]
        left.add(commit_id)
    common: list[ObjectId] = []

    def go(commit_id: ObjectId) -> list[ObjectId]:
        if commit_id in left:
            common.append(commit_id)
            return []
        return commits.parents(commit_id)

    for _ in _by_time(commits, [other], frozenset(), go):
        pass
    return _without_ancestors(commits, common)


def _without_ancestors(commits: Commits, candidates: list[ObjectId]) -> list[ObjectId]:
    if len(candidates) < 2:
        return candidates
    best: list[ObjectId] = []
    for candidate in candidates:
        others = [other for other in candidates if other != candidate]
        if not any(commit_id == candidate for commit_id in ancestors(commits, others)):
            best.append(candidate)
    return best


def ahead_behind(commits: Commits, ours: ObjectId, theirs: ObjectId) -> tuple[int, int]:
    """Return how many commits only *ours* has, and how many only *theirs*.

    Raises:
        HistoryCutError: Where the walk ends, that cannot be told.
    """
    if ours == theirs:
        return 0, 0
    left = set(ancestors(commits, [ours]))
    right = set(ancestors(commits, [theirs]))
    # What both have leads to nothing that only one of them has.
    if commits.cut and any(parent in commits.cut for one in left ^ right for parent in commits.parents(one)):
        raise HistoryCutError(ours, theirs)
    return len(left - right), len(right - left)
