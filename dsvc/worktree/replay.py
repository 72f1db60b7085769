"""Replaying commits, one after the other: what each of them changed is merged into a version.

`cherry-pick` does so with commits from elsewhere, `revert` backwards, and `rebase` with those of a branch, on top of
another version. All of it is made in the store first; files and branch follow in one step at the end, or where a
commit is in conflict. There the session remembers the rest.
"""

from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec

from dsvc.errors import ConflictError, InvalidInputError, NotFoundError
from dsvc.history.commits import Commits, new_commit
from dsvc.history.file_merge import FileMerger
from dsvc.history.merge import Conflict, merge_trees
from dsvc.history.merge_heads import Strategy
from dsvc.history.metadata import commit_meta, inherited, replayed_metadata
from dsvc.history.tree import Tree
from dsvc.history.walk import is_ancestor, walk
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.commit import HeadMovedError, commit, read_draft
from dsvc.worktree.merge import begin_again, move_forward
from dsvc.worktree.outcome import Outcome, refuse_staged
from dsvc.worktree.session import Series, Session, refuse_unfinished
from dsvc.worktree.unmerged import read_unmerged, refuse_unmerged
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "MainlineError",
    "MidwayConflictError",
    "NoCommitYetError",
    "ReplayOptions",
    "Replayed",
    "Verb",
    "go_on",
    "rebase",
    "replay",
]

Verb = Literal["cherry-pick", "revert", "rebase"]
_SHORT: Final = 10


class NoCommitYetError(NotFoundError):
    """There is nothing that a commit could be applied to."""

    def __init__(self) -> None:
        super().__init__("the current branch has no commit yet")


class MainlineError(InvalidInputError):
    """Which parent of a merge counts was not said, or there is no such parent."""

    def __init__(self, commit_id: ObjectId, parents: int, mainline: int) -> None:
        reason = f"it has {parents} parents" if parents > 1 else "it is no merge"
        told = "no mainline was given" if not mainline else f"parent {mainline} was named as its mainline"
        super().__init__(f"{commit_id.short} cannot be applied: {reason}, and {told}")
        self.commit_id = commit_id


class MidwayConflictError(ConflictError):
    """A commit is in conflict, and there would be no commit to conclude it with."""

    def __init__(self, commit_id: ObjectId, conflicts: Sequence[Conflict]) -> None:
        count = len(conflicts)
        super().__init__(f"{commit_id.short} is in conflict in {count:,} path{'s' if count > 1 else ''}")
        self.conflicts = list(conflicts)


class ReplayOptions(msgspec.Struct, frozen=True):
    """How to replay. Of merges, the changes from parent *mainline*. If *signed*, messages say where they are from.

    Unless it *commits*, all changes are staged together.
    """

    mainline: int = 0
    signed: bool = False
    commits: bool = True
    strategy: Strategy | None = None


class Replayed(msgspec.Struct, frozen=True):
    """The commits that were *made*, those that changed nothing any more, and how many paths changed.

    *head* is where HEAD is, and *stopped* the commit that is in conflict.
    """

    head: ObjectId
    made: list[ObjectId] = []
    skipped: list[ObjectId] = []
    changed: int = 0
    stopped: ObjectId | None = None
    conflicts: list[Conflict] = []


def replay(
    worktree: Worktree,
    verb: Verb,
    commit_ids: Sequence[ObjectId],
    options: ReplayOptions,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Replayed:
    """Apply what *commit_ids* changed, in that order, or with `revert` take it back, each in a commit of its own.

    Raises:
        NoCommitYetError: HEAD has no commit.
        MainlineError: One is a merge, or is none.
        UnfinishedError, SwitchInterruptedError: Something else comes first.
        StagedChangesError: Something is staged, and would be committed with it.
        MidwayConflictError: A commit is in conflict, and nothing is to be committed.
        LocalChangesError: Files would be overwritten.
    In each case nothing is changed.
    """
    state = worktree.store.state()
    session = worktree.session(state)
    head = session.commit(state)
    if head is None:
        raise NoCommitYetError
    refuse_unfinished(session)
    if options.commits:
        refuse_staged(worktree, state)
    strategy = None if options.strategy is None else options.strategy.value
    series = Series(verb, "", head.hex(), mainline=options.mainline, signed=options.signed, strategy=strategy)
    with Outcome(worktree, state) as outcome:
        run = _Replay(outcome, series, commit_ids)
        run.check_mainlines()
        if not options.commits:
            return run.stage(head, workers=workers, progress=progress)
        return run.go(head, workers=workers, progress=progress)


def rebase(
    worktree: Worktree,
    onto: ObjectId,
    options: ReplayOptions,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Replayed:
    """Let the current branch be *onto* with those of its commits on top that *onto* lacks; merges are left out.

    Raises:
        NoCommitYetError, UnfinishedError, StagedChangesError, LocalChangesError: As in `replay`.
    """
    state = worktree.store.state()
    session = worktree.session(state)
    refuse_unfinished(session)
    refuse_staged(worktree, state)
    head = session.commit(state)
    if head is None:
        raise NoCommitYetError
    commits = Commits(worktree.store.objects)
    if is_ancestor(commits, onto, head):
        return Replayed(head)
    if is_ancestor(commits, head, onto):
        changed = move_forward(worktree, session, head, onto, workers=workers, progress=progress)
        return Replayed(onto, changed=changed)
    visits = list(walk(commits, [head], [onto], topological=True))
    todo = [visit.id for visit in reversed(visits) if len(visit.commit.parents) < 2]
    strategy = None if options.strategy is None else options.strategy.value
    series = Series("rebase", "", head.hex(), branch=session.branch, strategy=strategy)
    with Outcome(worktree, state) as outcome:
        return _Replay(outcome, series, todo).go(onto, workers=workers, progress=progress)


def go_on(
    worktree: Worktree,
    verb: Verb,
    *,
    skip: bool = False,
    message: str | None = None,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Replayed:
    """Commit what was decided and go on, or with *skip* leave the commit out that is in conflict.

    Raises:
        NothingUnfinishedError, UnfinishedError: As in `begin_again`.
        UnmergedPathsError: Something is not decided yet.
        LocalChangesError: Files would be overwritten.
    """
    state, session = begin_again(worktree, verb, back=False, workers=workers, progress=progress)
    head = session.commit(state)
    series = None if session.unfinished is None else session.unfinished.series
    if head is None or series is None:
        # It was only the files that had not arrived.
        return Replayed(ObjectId.from_hex(session.head) if head is None else head)
    made: list[ObjectId] = []
    skipped: list[ObjectId] = []
    given_up: list[bytes] = []
    draft = read_draft(worktree, session)
    todo = Commits(worktree.store.objects).get(ObjectId.from_hex(series.commits)).parents
    if draft is not None and not skip:
        refuse_unmerged(worktree.store.objects, session)
    if draft is not None and not skip and _is_change(worktree, session, head, draft):
        made.append(commit(worktree, state, draft.message if message is None else message).id)
        state = worktree.store.state()
        head = made[0]
    elif draft is not None:
        given_up = [one.path for one in read_unmerged(worktree.store.objects, session)]
        skipped.append(ObjectId(todo[series.done]))
    else:
        refuse_staged(worktree, state)
    if draft is not None:
        series = msgspec.structs.replace(series, done=series.done + 1)
    with Outcome(worktree, state) as outcome:
        run = _Replay(outcome, series, list(map(ObjectId, todo)))
        done = run.go(head, given_up=given_up, workers=workers, progress=progress)
    return msgspec.structs.replace(done, made=[*made, *done.made], skipped=[*skipped, *done.skipped])


def _is_change(worktree: Worktree, session: Session, head: ObjectId, draft: Commit) -> bool:
    """Tell whether a commit of what was decided would differ from *head*."""
    is_said = session.metadata or draft.metadata != inherited(worktree.commit_of(head))
    return session.staged is not None or bool(is_said)


class _Replay:
    """One run over what is left of a series."""

    def __init__(self, outcome: Outcome, series: Series, todo: Sequence[ObjectId]) -> None:
        self._outcome = outcome
        self._commits = Commits(outcome.objects)
        self._series = series
        self._todo = todo
        self._favour = None if series.strategy is None else Strategy(series.strategy).side
        if series.branch is not None and outcome.state.value(series.branch) != series.origin:
            raise HeadMovedError(series.branch)

    def check_mainlines(self) -> None:
        for commit_id in self._todo:
            count = len(self._commits.get(commit_id).parents)
            if (count > 1) != bool(self._series.mainline) or self._series.mainline > count:
                raise MainlineError(commit_id, count, self._series.mainline)

    def go(
        self,
        head: ObjectId,
        *,
        given_up: Collection[bytes] = (),
        workers: Workers,
        progress: Progress,
    ) -> Replayed:
        """Replay on top of *head*, and bring the files to what comes of it."""
        outcome, series = self._outcome, self._series
        tree = Tree(outcome.objects, self._commits.get(head).tree)
        made: list[ObjectId] = []
        skipped: list[ObjectId] = []
        for number in range(series.done, len(self._todo)):
            one = self._todo[number]
            result, conflicts = self._apply(tree, one)
            draft = self._draft(result, head, one)
            if conflicts:
                changed = outcome.stop(
                    result,
                    conflicts,
                    head,
                    draft=draft,
                    series=msgspec.structs.replace(series, commits=self._list(draft).hex(), done=number),
                    detached=series.branch is not None,
                    given_up=given_up,
                    workers=workers,
                    progress=progress,
                )
                return Replayed(head, made, skipped, changed, one, conflicts)
            is_empty = result.root == tree.root and draft.metadata == inherited(self._commits.get(head))
            if is_empty and not self._is_kept(one):
                skipped.append(one)
                continue
            head, tree = outcome.write_commit(draft), result
            made.append(head)
        changed = outcome.finish(
            tree, head, branch=series.branch, given_up=given_up, workers=workers, progress=progress
        )
        return Replayed(head, made, skipped, changed)

    def stage(self, head: ObjectId, *, workers: Workers, progress: Progress) -> Replayed:
        """Apply everything to what is staged, and stage the result."""
        outcome = self._outcome
        tree = Tree(outcome.objects, outcome.worktree.staged_tree(outcome.state).root)
        for one in self._todo:
            tree, conflicts = self._apply(tree, one)
            if conflicts:
                raise MidwayConflictError(one, conflicts)
        return Replayed(head, changed=outcome.stop(tree, (), head, workers=workers, progress=progress))

    def _apply(self, tree: Tree, one: ObjectId) -> tuple[Tree, list[Conflict]]:
        objects = self._outcome.objects
        before, after = self._sides(one)
        base, theirs = (Tree(objects, None if side is None else side.tree) for side in (before, after))
        merged = merge_trees(
            base,
            tree,
            theirs,
            favour=self._favour,
            names=(b"HEAD", one.short.encode()),
            merge_files=FileMerger(objects, objects, tree, theirs, self._favour),
        )
        return tree.apply(objects, merged.edits), merged.conflicts

    def _sides(self, one: ObjectId) -> tuple[Commit | None, Commit | None]:
        """Return the commits before and after the change."""
        after = self._commits.get(one)
        before = None
        if after.parents:
            before = self._commits.get(after.parents[max(self._series.mainline, 1) - 1])
        return (after, before) if self._series.verb == "revert" else (before, after)

    def _is_kept(self, one: ObjectId) -> bool:
        """Tell whether *one* belongs on top although it changes nothing: it is there for what it says otherwise."""
        before, after = self._sides(one)
        return (
            self._series.verb == "rebase"
            and before is not None
            and after is not None
            and (before.tree, commit_meta(before)) == (after.tree, commit_meta(after))
        )

    def _draft(self, tree: Tree, head: ObjectId, one: ObjectId) -> Commit:
        picked = self._commits.get(one)
        metadata = replayed_metadata(self._commits.get(head), *self._sides(one), self._favour)
        context = self._outcome.worktree.store.context
        if self._series.verb == "revert":
            return new_commit(context, tree, [head], self._reverting(one, picked), metadata=metadata)
        message = picked.message
        if self._series.signed:
            message = f"{message}\n\n(cherry picked from commit {one.hex()})".lstrip()
        return new_commit(context, tree, [head], message, author=picked.author, metadata=metadata, inputs=picked.inputs)

    def _reverting(self, one: ObjectId, picked: Commit) -> str:
        what = f"This reverts commit {one.hex()}"
        if self._series.mainline:
            parent = picked.parents[self._series.mainline - 1]
            what += f", reversing\nchanges made to {parent.hex()}"
        return f'Revert "{picked.subject}"\n\n{what}.'

    def _list(self, like: Commit) -> ObjectId:
        """Write a commit in no history, whose parents are what is replayed, so that all of it is kept."""
        listed = msgspec.structs.replace(like, parents=list(map(bytes, self._todo)), message=self._series.verb)
        return self._outcome.write_commit(listed)
