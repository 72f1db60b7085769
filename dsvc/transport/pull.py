"""Moving the current branch, and the files with it, forward to what was fetched."""

import msgspec

from dsvc.errors import ConflictError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.tree import Tree
from dsvc.history.walk import ahead_behind, is_ancestor
from dsvc.log.entry import RefChange
from dsvc.log.refs import short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.transport.closure import peel
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.session import DetachedHeadError
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["DivergedError", "Pulled", "fast_forward"]


class DivergedError(ConflictError):
    """Both sides have commits that the other lacks."""

    def __init__(self, branch: str, other: str, ahead: int, behind: int) -> None:
        mine, theirs = (f"{count:,} commit{'s' if count > 1 else ''}" for count in (ahead, behind))
        super().__init__(f"{branch} and {other} have diverged: {mine} here, and {theirs} there")
        self.branch = branch
        self.other = other


class Pulled(msgspec.Struct, frozen=True):
    """How the branch moved: from *old*, None before the first commit, to *new*; *paths* changed."""

    old: ObjectId | None
    new: ObjectId
    paths: int = 0


def fast_forward(worktree: Worktree, ref: str, *, workers: Workers = ALONE, progress: Progress = NO_PROGRESS) -> Pulled:
    """Move the current branch and the files to the commit that *ref* leads to, if that is a descendant.

    Raises:
        DetachedHeadError: There is no current branch.
        DivergedError: Something here would be lost.
        LocalChangesError: Files would be overwritten; nothing was changed.
    """
    state = worktree.store.state()
    session = worktree.session(state)
    if session.branch is None:
        raise DetachedHeadError
    value = state.value(ref)
    if value is None:
        message = f"there is no {short_name(ref)}"
        raise NotFoundError(message)
    objects = worktree.store.objects
    branch, old, new = session.branch, session.commit(state), peel(objects, ObjectId.from_hex(value))[1]
    commits = Commits(objects)
    if old is not None and is_ancestor(commits, new, old):
        return Pulled(old, old)
    if old is not None and not is_ancestor(commits, old, new):
        raise DivergedError(short_name(branch), short_name(ref), *ahead_behind(commits, old, new))

    def changes(_: State) -> list[RefChange]:
        return [RefChange(branch, None if old is None else old.hex(), new.hex())]

    tree = Tree(objects, commits.get(new).tree)
    return Pulled(old, new, switch_to(worktree, branch, tree, changes=changes, workers=workers, progress=progress))
