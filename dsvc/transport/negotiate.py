"""Which commits the other side lacks."""

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from dsvc.history.commits import Commits
from dsvc.model.ids import ObjectId

__all__ = ["Missing", "missing_commits"]

_WANTED: Final = 1
_HAD: Final = 2


class Missing(NamedTuple):
    """Commits that one side lacks, newest first, and those that it has and that stand on their own or just behind."""

    commits: list[ObjectId]
    boundary: list[ObjectId]


def missing_commits(commits: Commits, wanted: Iterable[ObjectId], had: Iterable[ObjectId]) -> Missing:
    """Return what is reachable from *wanted* and not from *had*, looking no further back than it must.

    Where clocks went wrong, commits that are there too may be among them: that costs time and
    harms nobody, where the opposite would lose data.
    """
    tips = list(dict.fromkeys(wanted))
    flags: dict[ObjectId, int] = {}
    heap: list[tuple[int, int, ObjectId]] = []
    undecided: set[ObjectId] = set()

    def push(found: Iterable[ObjectId], flag: int) -> None:
        changed = [one for one in dict.fromkeys(found) if flags.get(one, 0) | flag != flags.get(one, 0)]
        commits.load(changed)
        for one in changed:
            flags[one] = flags.get(one, 0) | flag
            heappush(heap, (-commits.get(one).time, len(flags), one))
            if flags[one] == _WANTED:
                undecided.add(one)
            else:
                undecided.discard(one)

    push(tips, _WANTED)
    push(had, _HAD)
    visited: dict[ObjectId, None] = {}
    while undecided:
        commit_id = heappop(heap)[2]
        undecided.discard(commit_id)
        visited[commit_id] = None
        push(commits.parents(commit_id), flags[commit_id])
    missing = [commit_id for commit_id in visited if flags[commit_id] == _WANTED]
    edge = [*tips, *(parent for commit_id in missing for parent in commits.parents(commit_id))]
    return Missing(missing, [one for one in dict.fromkeys(edge) if flags[one] & _HAD])
