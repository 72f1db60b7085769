"""Bringing the files to what a merge came to, and HEAD with them: at its commit, or where it stopped.

All that is new is stored before anything is changed; then the files follow, as in a switch.
"""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

import msgspec

from dsvc.errors import ConflictError
from dsvc.history.commits import Commits
from dsvc.history.diff import diff_trees
from dsvc.history.merge import Conflict
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.codec import encode
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import listed_paths
from dsvc.odb.overlay import Overlay
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.checkout import change_files
from dsvc.worktree.session import Series, Session, Unfinished
from dsvc.worktree.unmerged import write_stages
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["Outcome", "StagedChangesError", "StagedMetadataError", "refuse_staged"]


class StagedChangesError(ConflictError):
    """What is staged would get mixed up with what is to be committed."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        super().__init__(f"changes are staged, which would be committed with it:{listed_paths(paths)}")
        self.paths = list(paths)


class StagedMetadataError(ConflictError):
    """What people say of the next version is staged, and would be said of this one instead."""

    def __init__(self) -> None:
        super().__init__("metadata is staged, which would be said of what is to be committed now")


def refuse_staged(worktree: Worktree, state: State) -> None:
    """Do nothing, if nothing is staged, neither files nor what is said of them.

    Raises:
        StagedChangesError, StagedMetadataError: Something is.
    """
    session = worktree.session(state)
    if session.metadata:
        raise StagedMetadataError
    if session.staged is not None:
        raise StagedChangesError(
            [one.path for one in diff_trees(worktree.head_tree(state), worktree.staged_tree(state))]
        )


class Outcome:
    """What is to be in *worktree* instead of what was staged in *state*, and what is written for that.

    Leaving the block by an error gives up what was written.
    """

    def __init__(self, worktree: Worktree, state: State) -> None:
        self.worktree = worktree
        self.state = state
        self.objects = Overlay(worktree.store.objects, worktree.store.writer())
        self.session = worktree.session(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.objects.discard()

    def write_commit(self, commit: Commit) -> ObjectId:
        """Write *commit* and return its id."""
        return self.objects.write(Kind.COMMIT, encode(commit))

    def finish(
        self,
        tree: Tree,
        head: ObjectId,
        *,
        branch: str | None = None,
        given_up: Collection[bytes] = (),
        workers: Workers = ALONE,
        progress: Progress = NO_PROGRESS,
    ) -> int:
        """Go to *tree* and its commit *head*, and let *branch*, or else whatever HEAD is, be there.

        Files at the paths *given_up* are overwritten even if they were edited. Returned is how many paths changed.
        """
        final = self._final(branch or self._head(head))
        return self._go(tree, head, final, given_up, workers=workers, progress=progress)

    def stop(
        self,
        tree: Tree,
        conflicts: Sequence[Conflict],
        head: ObjectId,
        *,
        draft: Commit | None = None,
        merge: Sequence[ObjectId] = (),
        series: Series | None = None,
        detached: bool = False,
        given_up: Collection[bytes] = (),
        workers: Workers = ALONE,
        progress: Progress = NO_PROGRESS,
    ) -> int:
        """Go to *tree*, with *conflicts* in it, on top of the commit *head*; return how many paths changed.

        *draft* is for the commit that will conclude this, with *merge* as further parents; the *series* goes on after
        it. A *detached* HEAD leaves the branch where it is.
        """
        stages = write_stages(self.objects, self.objects, conflicts) if conflicts else None
        draft_id = None if draft is None else self.write_commit(draft).hex()
        unfinished = Unfinished(stages, draft_id, series)
        final = self._final(
            head.hex() if detached else self._head(head),
            merge=[one.hex() for one in merge],
            staged=tree.root.hex() if tree.root != Commits(self.objects).get(head).tree else None,
            unfinished=unfinished if unfinished != Unfinished() else None,
            # What was staged before is said of what comes next, unless that has a commit of its own.
            metadata=self.session.metadata if draft is None else "",
        )
        # What is edited there would be lost by an abort, or taken for a decision.
        claimed = [one.path for one in conflicts]
        return self._go(tree, head, final, given_up, claimed=claimed, workers=workers, progress=progress)

    def _final(self, head: str, **fields: object) -> Session:
        """Return the session at *head*, with nothing staged but for *fields*."""
        return msgspec.structs.replace(
            self.session, head=head, **{"merge": [], "staged": None, "metadata": "", "unfinished": None, **fields}
        )

    def _head(self, head: ObjectId) -> str:
        return self.session.branch or head.hex()

    def _go(
        self,
        tree: Tree,
        head: ObjectId,
        final: Session,
        given_up: Collection[bytes],
        *,
        claimed: Collection[bytes] = (),
        workers: Workers,
        progress: Progress,
    ) -> int:
        moved = final.branch
        before = None if moved is None else self.state.value(moved)
        changes = [] if moved is None or before == head.hex() else [RefChange(moved, before, head.hex())]
        worktree = self.worktree
        worktree.store.publish(lambda _: [], self.objects.seal())
        return change_files(
            worktree,
            self.state,
            Tree(worktree.store.objects, tree.root),
            final,
            given_up=given_up,
            claimed=claimed,
            changes=lambda _: changes,
            workers=workers,
            progress=progress,
        )
