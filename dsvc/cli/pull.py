"""dsvc pull: fetch, and bring what came into the current branch."""

from typing import Annotated

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import open_remote, remote_hints
from dsvc.cli.fetch import configured, fetch_from
from dsvc.cli.merging import StrategyOption, chosen_strategy, tell_merge
from dsvc.cli.options import Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.replaying import tell_replayed
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.config import Config
from dsvc.history.merge_heads import Head
from dsvc.history.merge_message import merge_message
from dsvc.history.revisions import resolve
from dsvc.log.refs import HEADS, remote_ref, short_name
from dsvc.transport.remote import default_remote
from dsvc.worktree.merge import FastForward, MergeOptions, merge
from dsvc.worktree.replay import ReplayOptions, rebase
from dsvc.worktree.session import DetachedHeadError, refuse_unfinished
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_CONFLICT = 5
_NOT_FOUND = 4


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The name of a remote, or a bundle.")] = None,
    branch: Annotated[str | None, argument("BRANCH", help="The branch of the remote.")] = None,
    *,
    ff: Annotated[
        bool, option("--ff", help="Move forward without a commit where that is enough; the default.")
    ] = False,
    no_ff: Annotated[bool, option("--no-ff", help="Merge with a commit, even if moving forward were enough.")] = False,
    ff_only: Annotated[bool, option("--ff-only", help="Move forward, or do no more than fetch.")] = False,
    rebasing: Annotated[
        bool | None, option("-r", "--rebase", help="Put your commits on top of theirs; `--no-rebase` merges.")
    ] = None,
    strategy: StrategyOption = None,
    allow_unrelated: Annotated[
        bool, option("--allow-unrelated-histories", help="Merge datasets that have no version in common.")
    ] = False,
    prune: Annotated[bool, option("-p", "--prune", help="Forget branches that the remote no longer has.")] = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch, and bring what came into the current branch.

    It is `dsvc fetch`, and then the remote's branch is merged into the current one: that of the same name, or
    the one set with `dsvc push -u`. Where there is nothing of your own, the branch is only moved forward. If
    both sides have versions that the other lacks, a merge joins them, as in dsvc-merge(1); with `--rebase`,
    yours are put on top of theirs instead, as in dsvc-rebase(1), and history stays a line. `pull.rebase` and
    `pull.ff` set what is usual for you.

    Edited files stay as they are; where one would be overwritten, nothing is changed. With conflicts, `dsvc
    status` says what to do; `dsvc merge --abort`, or `dsvc rebase --abort`, goes back.

    Examples:
        $ dsvc pull
        $ dsvc pull --rebase
        $ dsvc pull backup main

    Exit status:
        5 conflicts have to be decided, local changes would be overwritten, or with `--ff-only` the branches diverged

    See also:
        dsvc-fetch(1), dsvc-merge(1), dsvc-rebase(1), dsvc-push(1)
    """
    console.set_quiet(quiet)
    if ff + no_ff + ff_only + bool(rebasing) > 1:
        message = "choose one of `--ff`, `--no-ff`, `--ff-only` and `--rebase`"
        raise UsageError(message)
    worktree = open_worktree()
    config = worktree.config
    session = worktree.session(worktree.store.state())
    refuse_unfinished(session)
    current = session.branch
    if current is None:
        raise Failure(str(DetachedHeadError()), code=_CONFLICT, hint="go to a branch with `dsvc switch BRANCH`")
    short = current.removeprefix(HEADS)
    name = remote or default_remote(config, short)
    followed = config.text(f"branch.{short}.merge") if name == config.text(f"branch.{short}.remote") else None
    theirs = branch or followed or short
    with remote_hints(name):
        other = open_remote(worktree, name)
    work = workers(config, jobs)
    options = msgspec.structs.replace(configured(worktree, name, work.jobs), prune=prune)
    fetch_from(worktree, other, [], options, verbose=verbose, json=json)
    ref = remote_ref(other.name, theirs)
    state = worktree.store.state()
    if state.value(ref) is None:
        message = f"the remote {name} has no branch `{theirs}`"
        raise Failure(message, code=_NOT_FOUND, hint=f"to make it there, run `dsvc push -u {name} {short}`")
    head = Head(resolve(worktree.store, state, ref), short_name(ref))
    way = _way(config, ff=ff, no_ff=no_ff, ff_only=ff_only)
    merging = MergeOptions(way, strategy=chosen_strategy(strategy), allow_unrelated=allow_unrelated)
    is_rebase = config.flag("pull.rebase") and not (no_ff or ff_only) if rebasing is None else rebasing
    if is_rebase and session.commit(state) is not None:
        _rebase(worktree, head, merging, work, json=json)
        return
    message = merge_message([(HEADS + theirs, theirs)], current, remote=name)
    with progress_bar() as progress:
        merged = merge(worktree, [head], message, merging, workers=work, progress=progress)
    tell_merge(worktree, merged, head.name, json=json)


def _way(config: Config, *, ff: bool, no_ff: bool, ff_only: bool) -> FastForward:
    usual = {"false": FastForward.NEVER, "only": FastForward.ONLY}.get(config.text("pull.ff") or "")
    chosen = {ff: FastForward.ALLOWED, no_ff: FastForward.NEVER, ff_only: FastForward.ONLY}.get(True)
    return chosen or usual or FastForward.ALLOWED


def _rebase(worktree: Worktree, head: Head, merging: MergeOptions, work: Workers, *, json: bool) -> None:
    options = ReplayOptions(strategy=merging.strategy)
    with progress_bar() as progress:
        done = rebase(worktree, head.commit, options, workers=work, progress=progress)
    tell_replayed(worktree, "rebase", done, json=json)
