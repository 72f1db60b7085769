"""HEAD, as the history sees it: a value that a worktree makes, because only a worktree has one."""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby, islice
from typing import Final, NamedTuple

import msgspec

from dsvc.log.refs import HEADS, REMOTES
from dsvc.model.ids import ObjectId

__all__ = ["UNBORN", "Head", "HeadMove"]


class HeadMove(NamedTuple):
    """One change of HEAD, and what it was after: *head* is a ref name or an id, *commit* what that named then.

    The rest is as in `dsvc.log.reflog.RefUpdate`.
    """

    seq: int
    time: int
    actor: str
    command: str
    head: str
    commit: ObjectId | None


def _no_moves() -> Iterator[HeadMove]:
    return iter(())


class Head(msgspec.Struct, frozen=True):
    """What HEAD is: the branch *ref*, None if detached, and its *commit*, None before the first.

    *moves* yields all that it was, the newest first. *upstreams* maps refs of branches to the refs that
    they follow, where that is not the branch of the same name of `origin`.
    """

    ref: str | None
    commit: ObjectId | None
    moves: Callable[[], Iterator[HeadMove]] = _no_moves
    upstreams: Mapping[str, str] = {}

    def earlier(self, count: int) -> str | None:
        """Return the branch's ref, or the id, that HEAD was *count* switches ago; None if there were not so many."""
        switches = (head for head, _ in groupby(move.head for move in self.moves()))
        return next(islice(switches, count, None), None)

    def upstream(self, branch: str) -> str:
        """Return the ref of the remote's branch that the branch *branch*, a full name, follows. It may not be there."""
        return self.upstreams.get(branch) or f"{REMOTES}origin/{branch.removeprefix(HEADS)}"


UNBORN: Final = Head(None, None)
