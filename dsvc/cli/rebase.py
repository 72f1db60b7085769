"""dsvc rebase: put the commits of this branch on top of another version."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.history import open_history
from dsvc.cli.merging import SideOption, chosen_strategy
from dsvc.cli.options import Jobs, Json, Quiet, argument
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.replaying import Abort, Continue, Skip, resumed, tell_replayed
from dsvc.cli.workers import workers
from dsvc.worktree.replay import ReplayOptions, rebase

__all__ = ["command"]


def command(
    upstream: Annotated[
        str | None, argument("UPSTREAM", help="The version to go on from; by default the branch that this one follows.")
    ] = None,
    *,
    strategy: SideOption = None,
    continue_: Continue = False,
    skip: Skip = False,
    abort_: Abort = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the commits of this branch on top of another version.

    The current branch becomes *UPSTREAM*, with those of its own commits on top that *UPSTREAM* lacks, one after
    the other, each with its message and author. History is a line then. What was pushed already has other ids
    afterwards, so do this with what is only here. Merges are left out, and so is what *UPSTREAM* has already.
    A commit that never changed a file, as one of inputs only, stays.

    Where a commit is in conflict, HEAD is on no branch, and the branch stays where it was. In conflict, *ours*
    is *UPSTREAM* and what was put on it so far, and *theirs* is the commit of yours. Decide and go on with
    `--continue`, leave the commit out with `--skip`, or go back with `--abort`.

    Examples:
        $ dsvc rebase main
        $ dsvc rebase --continue

    Exit status:
        4 there is no such version, or nothing to go on with
        5 conflicts have to be decided, or local changes would be lost

    See also:
        dsvc-pull(1), dsvc-merge(1), dsvc-cherry-pick(1), dsvc-reflog(1)
    """
    console.set_quiet(quiet)
    history = open_history()
    worktree = history.worktree
    words = [] if upstream is None else [upstream]
    done = resumed(history, "rebase", continue_=continue_, skip=skip, abort_=abort_, words=words, jobs=jobs)
    if done is None:
        onto = history.commit("@{upstream}" if upstream is None else upstream)
        options = ReplayOptions(strategy=chosen_strategy(strategy))
        with progress_bar() as progress:
            done = rebase(worktree, onto, options, workers=workers(worktree.config, jobs), progress=progress)
    tell_replayed(worktree, "rebase", done, json=json)
