"""What `dsvc switch` and `dsvc checkout` have in common: which branch is meant, and saying where HEAD went."""

from collections.abc import Callable
from typing import Final

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.history.commits import commits_here
from dsvc.history.datasets import current_name
from dsvc.history.revisions import Target, UnbornHeadError, UnknownRevisionError, peel, resolve, resolve_ref
from dsvc.history.walk import walk
from dsvc.log.refs import HEADS, REMOTES, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.progress import Progress
from dsvc.worktree.head import read_head
from dsvc.worktree.switch import Switched, detach, switch_to_branch, switch_to_new_branch
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["ADVICE", "Switching", "remote_branch", "start_commit"]

ADVICE: Final = """\
Note: switching to '{target}'.

You are in 'detached HEAD' state. You can look around, make experimental
changes and commit them, and you can discard any commits you make in this
state without impacting any branches by switching back to a branch.

If you want to create a new branch to retain commits you create, you may
do so (now or later) by using -c with the switch command. Example:

  dsvc switch -c <new-branch-name>

Or undo this operation with:

  dsvc switch -
"""

_CONFLICT: Final = 5
_SHOWN: Final = 4


def start_commit(worktree: Worktree, state: State, revision: str) -> ObjectId | None:
    """Return the commit that *revision* names, None for HEAD before the first one."""
    try:
        return resolve(worktree.store, state, revision, head=read_head(worktree, state))
    except UnbornHeadError:
        if revision not in ("HEAD", "@"):
            raise
        return None


def remote_branch(state: State, name: str) -> str | None:
    """Return the only ref of a remote's branch *name*, None if no remote has one.

    Raises:
        Failure: Several have.
    """
    found = sorted(ref for ref in state.refs if ref.startswith(REMOTES) and ref.split("/", 3)[3:] == [name])
    if len(found) > 1:
        shown = ", ".join(map(short_name, found))
        message = f"'{name}' is a branch of several remotes: {shown}"
        raise Failure(message, code=_CONFLICT, hint=f"name one: `dsvc switch -c {name} {short_name(found[0])}`")
    return found[0] if found else None


class Switching:
    """One run of a command that switches."""

    def __init__(self, worktree: Worktree, *, force: bool, jobs: int | None) -> None:
        self.worktree = worktree
        self.state = worktree.store.state()
        self._force = force
        self._workers = workers(worktree.config, jobs)

    def to_branch(self, name: str) -> None:
        """Go to the branch *name*."""
        switched = self._run(
            lambda force, workers, progress: switch_to_branch(
                self.worktree, name, force=force, workers=workers, progress=progress
            )
        )
        verb = "Already on" if switched.head == switched.old_head else "Switched to branch"
        self._tell(switched, f"{verb} '{name}'")

    def to_new_branch(self, name: str, start: str | None, *, reset: bool = False) -> None:
        """Make the branch *name* at *start*, and go there."""
        existed = reset and f"{HEADS}{name}" in self.state.refs
        commit = start_commit(self.worktree, self.state, start or "HEAD")
        switched = self._run(
            lambda force, workers, progress: switch_to_new_branch(
                self.worktree, name, commit, reset=reset, force=force, workers=workers, progress=progress
            )
        )
        if existed:
            verb = "Reset branch" if switched.head == switched.old_head else "Switched to and reset branch"
            self._tell(switched, f"{verb} '{name}'")
            return
        self._tell(switched, f"Switched to a new branch '{name}'")

    def to_tracking_branch(self, name: str, remote_ref: str) -> None:
        """Make the branch *name* where the remote has it, and go there."""
        self.to_new_branch(name, remote_ref)
        console.say(f"branch '{name}' set up to track '{short_name(remote_ref)}'")

    def to_commit(self, revision: str, *, advise: bool) -> None:
        """Go to *revision*, on no branch."""
        commit = resolve(self.worktree.store, self.state, revision, head=read_head(self.worktree, self.state))
        switched = self._run(
            lambda force, workers, progress: detach(
                self.worktree, commit, force=force, workers=workers, progress=progress
            )
        )
        if advise and switched.old_head.startswith(HEADS):
            console.say(ADVICE.format(target=revision))
        self._tell(switched, f"HEAD is now at {_described(self.worktree, commit)}")

    def branch(self, word: str) -> str | None:
        """Return the full name of the branch that *word* means, `-` and `@{-1}` included; None if it means none."""
        ref = f"{HEADS}{word}"
        if ref in self.state.refs or ref == self.worktree.session(self.state).head:
            return ref
        current = f"{HEADS}{current_name(self.state, word)}"
        if current in self.state.refs and f"{TAGS}{word}" not in self.state.refs:
            # What the branch was called before.
            return current
        if word == "-" or word.startswith("@{-"):
            found = resolve_ref(self.worktree.store, self.state, word, head=read_head(self.worktree, self.state))
            if found is not None and found not in self.state.refs:
                raise UnknownRevisionError(word, f"the branch {short_name(found)} is no longer there")
            return found if found is None or found.startswith(HEADS) else None
        return None

    def _run(self, switch: Callable[[bool, Workers, Progress], Switched]) -> Switched:
        with progress_bar() as progress:
            return switch(self._force, self._workers, progress)

    def _tell(self, switched: Switched, where: str) -> None:
        self._tell_left(switched)
        console.say(where)
        if switched.changed:
            console.say(f"updated {console.plural(switched.changed, 'path')}")

    def _tell_left(self, switched: Switched) -> None:
        """Say what was left, if it was no branch: it may be hard to find again."""
        old = switched.old_commit
        if switched.old_head.startswith(HEADS) or old is None or old == switched.commit or console.is_quiet():
            return
        state = self.worktree.store.state()
        named = {ref.value for name, ref in state.refs.items() if name.startswith((HEADS, TAGS, REMOTES))}
        if old.hex() not in named:
            self._warn_of_lost(old, self._named_commits(named))
        console.say(f"Previous HEAD position was {_described(self.worktree, old)}")

    def _named_commits(self, values: set[str]) -> list[ObjectId]:
        store = self.worktree.store
        named = map(ObjectId.from_hex, values)
        found = [Target(one, kind) for one in named if (kind := store.objects.kind_of(one)) is not None]
        return [target.id for target in (peel(store, one) for one in found) if target.kind == Kind.COMMIT]

    def _warn_of_lost(self, old: ObjectId, kept: list[ObjectId]) -> None:
        left = list(walk(commits_here(self.worktree.store.objects), [old], kept))
        if not left:
            return
        commits = console.plural(len(left), "commit")
        console.warn(f"you are leaving {commits} behind, not connected to any of your branches:")
        for visit in left[:_SHOWN]:
            console.say(f"  {visit.id.short} {visit.commit.subject}")
        if len(left) > _SHOWN:
            console.say(f"  and {len(left) - _SHOWN:,} more")
        console.hint(f"to keep them, run `dsvc branch <new-branch-name> {old.short}`")


def _described(worktree: Worktree, commit: ObjectId) -> str:
    return f"{commit.short} {worktree.commit_of(commit).subject}"
