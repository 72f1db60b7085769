"""dsvc cherry-pick: apply the changes of other commits."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import open_history
from dsvc.cli.merging import SideOption, chosen_strategy
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.replaying import Abort, Continue, Skip, named_commits, resumed, tell_replayed
from dsvc.cli.workers import workers
from dsvc.worktree.replay import ReplayOptions, replay

__all__ = ["command"]


def command(
    revisions: Annotated[tuple[str, ...], argument("REVISION", help="Commits, or ranges of them as `A..B`.")] = (),
    *,
    signed: Annotated[bool, option("-x", help="Say in the message which commit it was.")] = False,
    no_commit: Annotated[bool, option("-n", "--no-commit", help="Stage the changes of all, and commit none.")] = False,
    mainline: Annotated[
        int | None, option("-m", "--mainline", metavar="N", help="Of a merge, what changed from its parent *N*.")
    ] = None,
    strategy: SideOption = None,
    continue_: Continue = False,
    skip: Skip = False,
    abort_: Abort = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Apply the changes of other commits.

    For each commit, one is made on the current branch that changes what that one has changed, with its message
    and author. Files that both have touched are merged as by dsvc-merge(1). The commits of a range are taken
    oldest first. One whose changes are all here already is left out.

    Where a commit is in conflict, those before it have been made, and the rest waits: decide the conflicts and
    go on with `--continue`, leave the commit out with `--skip`, or go back with `--abort`. With `-n`, conflicts
    are refused. Files are written once, at the end or where it stops, so a hundred commits cost little more
    than one.

    Examples:
        $ dsvc cherry-pick fix-labels
        $ dsvc cherry-pick -x main~3..main

    Exit status:
        4 there is no such commit, or nothing to go on with
        5 conflicts have to be decided, or local changes would be lost

    See also:
        dsvc-revert(1), dsvc-rebase(1), dsvc-merge(1)
    """
    console.set_quiet(quiet)
    history = open_history()
    worktree = history.worktree
    done = resumed(history, "cherry-pick", continue_=continue_, skip=skip, abort_=abort_, words=revisions, jobs=jobs)
    if done is None:
        if not revisions:
            message = "missing commit to apply"
            raise UsageError(message)
        options = ReplayOptions(mainline or 0, signed=signed, commits=not no_commit, strategy=chosen_strategy(strategy))
        chosen = named_commits(history, revisions)
        with progress_bar() as progress:
            work = workers(worktree.config, jobs)
            done = replay(worktree, "cherry-pick", chosen, options, workers=work, progress=progress)
    tell_replayed(worktree, "cherry-pick", done, json=json)
