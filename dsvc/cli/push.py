"""dsvc push: what is here goes to a remote."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import open_remote, print_json, remote_hints, show_refs, transferred
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.config import set_value
from dsvc.log.refs import HEADS
from dsvc.transport.address import redact
from dsvc.transport.push import PushRejectedError, push
from dsvc.transport.refspec import Refspec, parse_refspec
from dsvc.transport.remote import Remote, default_remote
from dsvc.transport.updates import Exchange, Outcome
from dsvc.worktree.worktree import Worktree

__all__ = ["command", "rejection_hint"]

_CONFLICT = 5
_HINTS = {
    Outcome.CHECKED_OUT: "somebody works on that branch there; push to another one, or to a store without a worktree",
    Outcome.NOT_FAST_FORWARD: "the remote has versions that are not here: run `dsvc pull`, or overwrite them with "
    "`dsvc push --force`",
    Outcome.TAG_EXISTS: "the tag is another version there; choose another name, or overwrite it with "
    "`dsvc push --force`",
}


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The name of a remote, or an address.")] = None,
    refspecs: Annotated[
        tuple[str, ...], argument("REFSPEC", help="A branch or a tag, or `SOURCE:TARGET`; `+` in front forces it.")
    ] = (),
    *,
    set_upstream: Annotated[
        bool, option("-u", "--set-upstream", help="Let `pull` and `push` use this remote for the branch from now on.")
    ] = False,
    all: Annotated[bool, option("--all", "--branches", help="Push all branches.")] = False,
    tags: Annotated[bool, option("--tags", help="Push all tags too.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Move refs wherever they were.")] = False,
    delete: Annotated[bool, option("-d", "--delete", help="Remove the named refs there.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Send versions and data to a remote.

    Without *REFSPEC*, the current branch goes to the branch of the same name. Without *REMOTE*, it
    goes to the one that the branch follows, or else to `origin`. Only what the remote
    lacks is sent; it moves its branches in one step after all that they need is there, so nobody ever sees
    half a push. A push that was interrupted goes on where it was.

    A branch moves only forward: where the remote has versions that are not here, it is rejected,
    and all others are pushed.

    A folder that is not there yet, or is empty, becomes a store at the first push.

    Examples:
        $ dsvc push
        $ dsvc push -u origin main
        $ dsvc push --all --tags backup
        $ dsvc push origin --delete old-idea

    Exit status:
        5 a ref was rejected; all others were pushed

    See also:
        dsvc-pull(1), dsvc-remote(1), dsvc-clone(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    branch = worktree.session(worktree.store.state()).branch
    short = None if branch is None else branch.removeprefix(HEADS)
    name = remote or default_remote(worktree.config, short)
    with remote_hints(name):
        other = open_remote(worktree, name)
    wanted = [] if delete else _refspecs(refspecs, branch, all=all, tags=tags, force=force)
    if delete and not refspecs:
        message = "`--delete` needs the refs to remove"
        raise UsageError(message)
    try:
        with remote_hints(name), progress_bar() as progress:
            pushed = push(
                worktree.store,
                other,
                wanted,
                delete=refspecs if delete else (),
                dry_run=dry_run,
                threads=workers(worktree.config, jobs).jobs,
                progress=progress,
            )
    except PushRejectedError as error:
        _report(error.exchange, other, dry_run=dry_run, verbose=verbose, json=json)
        raise Failure(str(error), code=_CONFLICT, hint=rejection_hint(error)) from error
    _report(pushed, other, dry_run=dry_run, verbose=verbose, json=json)
    if set_upstream and not dry_run:
        _follow(worktree, name, pushed)


def rejection_hint(error: PushRejectedError) -> str:
    """Return what to do about refs that were rejected."""
    return "; ".join(hint for outcome, hint in _HINTS.items() if outcome in error.outcomes)


def _refspecs(texts: tuple[str, ...], branch: str | None, *, all: bool, tags: bool, force: bool) -> list[Refspec]:
    if all and texts:
        message = "`--all` pushes every branch, and takes no refspec"
        raise UsageError(message)
    wanted = list(map(parse_refspec, texts))
    if all:
        wanted.append(Refspec("refs/heads/*", "refs/heads/*"))
    if tags:
        wanted.append(Refspec("refs/tags/*", "refs/tags/*"))
    if not wanted:
        if branch is None:
            message = "HEAD is not on a branch"
            raise UsageError(message, hint="say where it is to go: `dsvc push REMOTE HEAD:BRANCH`")
        wanted.append(Refspec("HEAD", branch))
    return [Refspec(each.source, each.target, force=True) for each in wanted] if force else wanted


def _report(pushed: Exchange, other: Remote, *, dry_run: bool, verbose: bool, json: bool) -> None:
    if json:
        print_json(pushed)
        return
    line = transferred(pushed, "would send" if dry_run else "sent")
    if line:
        console.say(line)
    if not show_refs(pushed.updates, f"To {redact(other.address)}", verbose=verbose):
        console.say("Everything up-to-date")


def _follow(worktree: Worktree, name: str, pushed: Exchange) -> None:
    if name not in worktree.config.remotes():
        message = "`-u` needs a remote with a name"
        raise UsageError(message, hint=f"run `dsvc remote add NAME {redact(name)}` first")
    for update in pushed.updates:
        if update.source.startswith(HEADS) and update.target.startswith(HEADS):
            branch = update.source.removeprefix(HEADS)
            target = update.target.removeprefix(HEADS)
            set_value(worktree.control / "config.toml", f"branch.{branch}.remote", name)
            set_value(worktree.control / "config.toml", f"branch.{branch}.merge", target)
            console.say(f"branch '{branch}' follows '{name}/{target}' from now on")
