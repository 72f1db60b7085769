"""dsvc revert: take back the changes of commits, in a new one."""

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
    """Take back the changes of commits, in a new one.

    For each commit, one is made on the current branch that undoes what that one has changed. All that came
    later stays, so it may be in conflict, as in dsvc-merge(1). The commits of a range are taken newest first.
    History stays as it is, which is right for what others have; `dsvc undo` and `dsvc reset` are for what is
    only here.

    Where a commit is in conflict, decide that and go on with `--continue`, leave the commit out with `--skip`,
    or go back with `--abort`. With `-n`, conflicts are refused.

    Examples:
        $ dsvc revert HEAD~2
        $ dsvc revert -m 1 v1.1

    Exit status:
        4 there is no such commit, or nothing to go on with
        5 conflicts have to be decided, or local changes would be lost

    See also:
        dsvc-cherry-pick(1), dsvc-undo(1), dsvc-reset(1), dsvc-merge(1)
    """
    console.set_quiet(quiet)
    history = open_history()
    worktree = history.worktree
    done = resumed(history, "revert", continue_=continue_, skip=skip, abort_=abort_, words=revisions, jobs=jobs)
    if done is None:
        if not revisions:
            message = "missing commit to take back"
            raise UsageError(message)
        options = ReplayOptions(mainline or 0, commits=not no_commit, strategy=chosen_strategy(strategy))
        chosen = named_commits(history, revisions, newest_first=True)
        with progress_bar() as progress:
            work = workers(worktree.config, jobs)
            done = replay(worktree, "revert", chosen, options, workers=work, progress=progress)
    tell_replayed(worktree, "revert", done, json=json)
