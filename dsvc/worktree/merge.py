"""Merging other versions into the current one, and what can be done with a merge that is not concluded."""

from collections.abc import Sequence
from enum import Enum

import msgspec

from dsvc.errors import ConflictError, NotFoundError
from dsvc.history.commits import Commits, new_commit
from dsvc.history.merge import Conflict
from dsvc.history.merge_heads import Head, Strategy, independent_heads, join_heads
from dsvc.history.metadata import merged_metadata
from dsvc.history.tree import Tree
from dsvc.history.walk import ahead_behind, is_ancestor
from dsvc.log.entry import RefChange
from dsvc.log.refs import short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.commit import Committed, commit, read_draft
from dsvc.worktree.outcome import Outcome, refuse_staged
from dsvc.worktree.resume import resume
from dsvc.worktree.session import Session, UnfinishedError, refuse_unfinished
from dsvc.worktree.unmerged import read_unmerged
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "DivergedError",
    "FastForward",
    "MergeOptions",
    "MergeResult",
    "NothingUnfinishedError",
    "Result",
    "abort",
    "begin_again",
    "conclude",
    "merge",
    "move_forward",
]


class DivergedError(ConflictError):
    """Both sides have commits that the other lacks."""

    def __init__(self, branch: str, other: str, ahead: int, behind: int) -> None:
        mine, theirs = (f"{count:,} commit{'s' if count > 1 else ''}" for count in (ahead, behind))
        super().__init__(f"{branch} and {other} have diverged: {mine} here, and {theirs} there")
        self.branch = branch
        self.other = other


class NothingUnfinishedError(NotFoundError):
    """There is no merge, or no *verb* else, to go on with or to give up."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"no {verb} is to be concluded")
        self.verb = verb


class UnbornBranchError(ConflictError):
    """There is no commit that something could be staged against."""

    def __init__(self) -> None:
        super().__init__("the current branch has no commit yet, so what is merged into it has to be committed")


class FastForward(Enum):
    """Whether a branch that is merely behind is moved forward, without a commit."""

    ALLOWED = "allowed"
    NEVER = "never"
    ONLY = "only"


class MergeOptions(msgspec.Struct, frozen=True):
    """How to merge. Unless it *commits*, the result is staged; if *squashed*, as one change without further parents."""

    fast_forward: FastForward = FastForward.ALLOWED
    commits: bool = True
    squashed: bool = False
    strategy: Strategy | None = None
    allow_unrelated: bool = False


class Result(Enum):
    """How a merge ended."""

    UP_TO_DATE = "up-to-date"
    FAST_FORWARD = "fast-forward"
    MERGED = "merged"
    STAGED = "staged"
    CONFLICT = "conflict"


class MergeResult(msgspec.Struct, frozen=True):
    """How it ended, HEAD before and after, how many paths changed, and what is not decided."""

    result: Result
    old: ObjectId | None
    new: ObjectId
    changed: int = 0
    conflicts: Sequence[Conflict] = ()


def merge(
    worktree: Worktree,
    heads: Sequence[Head],
    message: str,
    options: MergeOptions,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> MergeResult:
    """Merge *heads* into the current branch or the detached HEAD, and commit that with *message*.

    A branch without a commit becomes what *heads* come to.

    Edited files that the merge does not touch stay edited. With conflicts nothing is committed: the files are ours
    where both sides have one, and the session remembers the rest.

    Raises:
        UnfinishedError, SwitchInterruptedError: Something else comes first.
        StagedChangesError: Something is staged, and there is more to do than to move forward.
        LocalChangesError: Files would be overwritten.
        DivergedError: FastForward.ONLY, and that is not enough.
        UnrelatedHistoriesError, ManyHeadsConflictError: As in `join_heads`.
        UnbornBranchError: There is no commit yet, and none is to be made of several heads.
    In each case nothing is changed.
    """
    state = worktree.store.state()
    session = worktree.session(state)
    refuse_unfinished(session)
    commits = Commits(worktree.store.objects)
    old = session.commit(state)
    news = independent_heads(commits, old, heads)
    if not news and old is not None:
        return MergeResult(Result.UP_TO_DATE, old, old)
    first = news[0]
    is_forward = options.fast_forward is not FastForward.NEVER and not options.squashed
    if len(news) == 1 and (old is None or (is_forward and is_ancestor(commits, old, first.commit))):
        changed = move_forward(worktree, session, old, first.commit, workers=workers, progress=progress)
        return MergeResult(Result.FAST_FORWARD, old, first.commit, changed)
    if old is None:
        if not options.commits or options.squashed:
            raise UnbornBranchError
    elif options.fast_forward is FastForward.ONLY:
        mine = short_name(session.branch or "HEAD")
        raise DivergedError(mine, first.name, *ahead_behind(commits, old, first.commit))
    refuse_staged(worktree, state)
    return _join(
        worktree, state, commits, old, news, message=message, options=options, workers=workers, progress=progress
    )


def move_forward(
    worktree: Worktree,
    session: Session,
    old: ObjectId | None,
    new: ObjectId,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Move the current branch, or HEAD, from *old* to *new*, and the files with it; return how many paths changed.

    Raises:
        LocalChangesError: Files would be overwritten; nothing was changed.
    """

    def changes(_: State) -> list[RefChange]:
        moved = (
            None if session.branch is None else RefChange(session.branch, None if old is None else old.hex(), new.hex())
        )
        return [] if moved is None else [moved]

    head = session.branch or new.hex()
    tree = Tree(worktree.store.objects, worktree.commit_of(new).tree)
    return switch_to(worktree, head, tree, changes=changes, workers=workers, progress=progress)


def _join(
    worktree: Worktree,
    state: State,
    commits: Commits,
    old: ObjectId | None,
    heads: Sequence[Head],
    *,
    message: str,
    options: MergeOptions,
    workers: Workers,
    progress: Progress,
) -> MergeResult:
    with Outcome(worktree, state) as outcome:
        ours, *others = heads if old is None else [Head(old, "HEAD"), *heads]
        joined = join_heads(
            commits,
            outcome.objects,
            ours,
            others,
            strategy=options.strategy,
            allow_unrelated=options.allow_unrelated,
            # Only what is there can be the version of ours that somebody decides against.
            allow_conflicts=old is not None and len(heads) == 1,
        )
        merged = [] if options.squashed else [head.commit for head in heads]
        parents = merged if old is None else [old, *merged]
        side = None if options.strategy is None else options.strategy.side
        metadata = merged_metadata(commits, ours.commit, [head.commit for head in others], side)
        made = new_commit(worktree.store.context, joined.tree, parents, message, metadata=metadata)
        if old is None or (options.commits and merged and not joined.conflicts):
            new = outcome.write_commit(made)
            changed = outcome.finish(joined.tree, new, workers=workers, progress=progress)
            return MergeResult(Result.MERGED, old, new, changed)
        changed = outcome.stop(
            joined.tree, joined.conflicts, old, draft=made, merge=merged, workers=workers, progress=progress
        )
        result = Result.CONFLICT if joined.conflicts else Result.STAGED
        return MergeResult(result, old, old, changed, joined.conflicts)


def begin_again(
    worktree: Worktree, verb: str, *, back: bool, workers: Workers = ALONE, progress: Progress = NO_PROGRESS
) -> tuple[State, Session]:
    """Return what is there of a *verb* that is not concluded; files that are on their way arrive first, or go *back*.

    Raises:
        NothingUnfinishedError: There is none.
        UnfinishedError: Something else is not concluded.
    """
    interrupted = worktree.session(worktree.store.state()).switching is not None
    if interrupted:
        resume(worktree, back=back, workers=workers, progress=progress)
    state = worktree.store.state()
    session = worktree.session(state)
    if session.verb is None and not interrupted:
        raise NothingUnfinishedError(verb)
    if session.verb not in (verb, None):
        raise UnfinishedError(session.verb)
    return state, session


def conclude(worktree: Worktree, message: str | None = None) -> Committed | None:
    """Commit a merge whose conflicts are all decided; None where it was only its files that were cut short.

    Raises:
        NothingUnfinishedError, UnfinishedError: As in `begin_again`.
        UnmergedPathsError: Something is not decided yet.
    """
    state, session = begin_again(worktree, "merge", back=False)
    draft = read_draft(worktree, session)
    if draft is None:
        return None
    return commit(worktree, state, draft.message if message is None else message)


def abort(
    worktree: Worktree, verb: str = "merge", *, workers: Workers = ALONE, progress: Progress = NO_PROGRESS
) -> ObjectId | None:
    """Go back to before a merge, or a series of *verb*, that is not concluded; return the commit of HEAD then.

    What was decided by hand is given up; files that it did not touch stay as they are.

    Raises:
        NothingUnfinishedError, UnfinishedError: As in `begin_again`.
        LocalChangesError: A file that is not in conflict was edited since; nothing was changed.
    """
    state, session = begin_again(worktree, verb, back=True, workers=workers, progress=progress)
    head = session.commit(state)
    if session.verb is None or head is None:
        return head
    series = None if session.unfinished is None else session.unfinished.series
    outcome = Outcome(worktree, state)
    unmerged = [one.path for one in read_unmerged(worktree.store.objects, session)]
    branch = None
    if series is not None:
        # The branch of a rebase has not moved, or not by that.
        branch = series.branch
        value = None if branch is None else state.value(branch)
        head = ObjectId.from_hex(value or series.origin)
    tree = Tree(worktree.store.objects, worktree.commit_of(head).tree)
    outcome.finish(tree, head, branch=branch, given_up=unmerged, workers=workers, progress=progress)
    return head
