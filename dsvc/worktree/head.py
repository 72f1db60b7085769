"""HEAD of a worktree: what it is, and all that it was, read from the session's and the branches' reflogs."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

import msgspec

from dsvc.history.head import Head, HeadMove
from dsvc.log.log import Log
from dsvc.log.reflog import RefUpdate, reflog
from dsvc.log.refs import REMOTES
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.worktree.session import BRANCHES, SESSION_REF, Session
from dsvc.worktree.worktree import Worktree

__all__ = ["head_moves", "read_head", "upstreams"]


def read_head(worktree: Worktree, state: State) -> Head:
    """Return what HEAD is in *state*, for `dsvc.history.revisions`."""
    session = worktree.session(state)
    return Head(
        session.branch, session.commit(state), partial(head_moves, worktree.store.log), upstreams(worktree, state)
    )


def upstreams(worktree: Worktree, state: State) -> dict[str, str]:
    """Return the ref of the remote's branch that each branch follows, by the branch's full name."""
    branches = [ref for ref in state.refs if ref.startswith(BRANCHES)]
    followed = {ref: worktree.config.upstream(ref.removeprefix(BRANCHES)) for ref in branches}
    return {ref: f"{REMOTES}{remote}/{branch}" for ref, (remote, branch) in followed.items()}


def head_moves(log: Log) -> Iterator[HeadMove]:
    """Yield each change of HEAD, the newest first: switches, and changes of the branch it was at the time.

    One entry of the log is read for each change of the session, what is staged included.
    """
    later: HeadMove | None = None
    for move in _points(log):
        # What changed only what is staged left HEAD as it was: the oldest of equal ones is the move.
        if later is not None and (later.head, later.commit) != (move.head, move.commit):
            yield later
        later = move
    if later is not None:
        yield later


def _points(log: Log) -> Iterator[HeadMove]:
    """Yield what HEAD was after every change that may have moved it, the newest first."""
    stop: int | None = None
    for head, updates in groupby(reflog(log, SESSION_REF), _head_after):
        start = list(updates)[-1]
        if head.startswith(BRANCHES):
            yield from _branch_points(log, head, start, stop)
        elif head:
            yield _move(start, head, head)
        stop = start.seq


def _branch_points(log: Log, branch: str, start: RefUpdate, stop: int | None) -> Iterator[HeadMove]:
    """Yield what HEAD was while it was *branch*: from the switch *start* to before entry *stop*."""
    for update in reflog(log, branch):
        if update.seq <= start.seq:
            yield _move(start, branch, update.new)
            return
        if stop is None or update.seq < stop:
            yield _move(update, branch, update.new)
    yield _move(start, branch, None)


def _move(update: RefUpdate, head: str, value: str | None) -> HeadMove:
    commit = None if value is None else ObjectId.from_hex(value)
    return HeadMove(update.seq, update.time, update.actor, update.command, head, commit)


def _head_after(update: RefUpdate) -> str:
    return "" if update.new is None else msgspec.json.decode(update.new, type=Session).head
