"""What `dsvc cherry-pick`, `revert` and `rebase` have in common."""

from collections.abc import Sequence
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History
from dsvc.cli.merging import fail_for_conflicts, tell_commit, tell_conflicts
from dsvc.cli.options import option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.history.revisions import resolve_range, split_range
from dsvc.history.walk import walk
from dsvc.model.ids import ObjectId
from dsvc.worktree.merge import abort
from dsvc.worktree.replay import Replayed, Verb, go_on
from dsvc.worktree.worktree import Worktree

__all__ = ["Abort", "Continue", "Skip", "named_commits", "resumed", "tell_replayed"]

Continue = Annotated[bool, option("--continue", help="Go on, once all conflicts are decided.")]
Skip = Annotated[bool, option("--skip", help="Leave out the commit that is in conflict, and go on.")]
Abort = Annotated[bool, option("--abort", help="Go back to before all of it.")]


def named_commits(history: History, words: Sequence[str], *, newest_first: bool = False) -> list[ObjectId]:
    """Return the commits that *words* name, in their order; those of a range oldest or newest first."""
    found: list[ObjectId] = []
    for word in words:
        if split_range(word) is None:
            found.append(history.commit(word))
            continue
        span = resolve_range(history.worktree.store, history.state, [word], head=history.head)
        visits = [visit.id for visit in walk(history.commits, span.include, span.exclude, topological=True)]
        found += visits if newest_first else reversed(visits)
    return list(dict.fromkeys(found))


def resumed(
    history: History, verb: Verb, *, continue_: bool, skip: bool, abort_: bool, words: Sequence[str], jobs: int | None
) -> Replayed | None:
    """Do what `--continue`, `--skip` or `--abort` ask for; return what came of it, None if none was given.

    Raises:
        UsageError: Two were given, or *words* as well.
    """
    if continue_ + skip + abort_ + bool(words) > 1:
        message = "choose one of `--continue`, `--skip` and `--abort`, or name versions"
        raise UsageError(message)
    if not (continue_ or skip or abort_):
        return None
    worktree = history.worktree
    work = workers(worktree.config, jobs)
    with progress_bar() as progress:
        if not abort_:
            return go_on(worktree, verb, skip=skip, workers=work, progress=progress)
        head = abort(worktree, verb, workers=work, progress=progress)
    return Replayed(ObjectId.from_hex(worktree.session(worktree.store.state()).head) if head is None else head)


def tell_replayed(worktree: Worktree, verb: Verb, replayed: Replayed, *, json: bool) -> None:
    """Say what was made.

    Raises:
        Failure: A commit is in conflict.
    """
    name = "" if replayed.stopped is None else replayed.stopped.short
    theirs = f"the parent of {name}" if verb == "revert" else name
    if json:
        tell_conflicts(worktree, replayed.conflicts, ("HEAD", theirs), json=True)
        stopped = None if replayed.stopped is None else replayed.stopped.hex()
        record: dict[str, object] = {"kind": verb, "head": replayed.head.hex(), "stopped": stopped}
        record |= {"made": [one.hex() for one in replayed.made], "skipped": [one.hex() for one in replayed.skipped]}
        console.out_json({**record, "paths": replayed.changed, "conflicts": len(replayed.conflicts)})
    else:
        for one in replayed.made:
            tell_commit(worktree, one)
        for one in replayed.skipped:
            console.say(f"left out {one.short} {worktree.commit_of(one).subject}")
        tell_conflicts(worktree, replayed.conflicts, ("HEAD", theirs), json=False)
    if replayed.conflicts:
        raise fail_for_conflicts(len(replayed.conflicts), verb, name)
    if not json and not replayed.made:
        console.say(f"HEAD is at {replayed.head.short} {worktree.commit_of(replayed.head).subject}")
