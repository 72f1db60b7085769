"""dsvc push: what is here goes to a remote."""

from typing import Annotated, NamedTuple

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError, report
from dsvc.cli.exchange import open_remote, print_json, rejection_code, remote_hints, show_refs, transferred
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_repository
from dsvc.cli.workers import workers
from dsvc.config import set_value
from dsvc.errors import DsvcError
from dsvc.history.versions import is_alias
from dsvc.log.refs import HEADS, TAGS
from dsvc.transport.address import redact
from dsvc.transport.push import PushRejectedError, push
from dsvc.transport.refspec import Refspec, parse_refspec
from dsvc.transport.remote import Remote, default_remote, find_remote
from dsvc.transport.updates import Exchange, Outcome
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["command", "push_branch", "rejection_hint"]

_HINTS = {
    Outcome.CHECKED_OUT: "somebody works on that branch there; push to another one, or to a store without a worktree",
    Outcome.RENAMED: "the dataset was renamed there: do so here with `dsvc dataset rename`, and push that; or make "
    "another one of that name with `dsvc push --force`",
    Outcome.NOT_FAST_FORWARD: "the remote has versions that are not here: run `dsvc pull`, or overwrite them with "
    "`dsvc push --force`",
    Outcome.TAG_EXISTS: "the tag is another version there; choose another name, or overwrite it with "
    "`dsvc push --force`",
    Outcome.PROTECTED: "a published version stays for ever: publish the other one under the next number, with "
    "`dsvc publish NAME --next patch`",
}

_ALIAS_MOVED = "somebody else moved the alias there: look with `dsvc fetch`, then push again to move it all the same"

_EVERYTHING = [Refspec(f"{kind}*", f"{kind}*", force=True) for kind in (HEADS, TAGS)]


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The name of a remote, or an address.")] = None,
    refspecs: Annotated[
        tuple[str, ...], argument("REFSPEC", help="A branch or a tag, or `REVISION:TARGET`; `+` in front forces it.")
    ] = (),
    *,
    set_upstream: Annotated[
        bool, option("-u", "--set-upstream", help="Let `pull` and `push` use this remote for the branch from now on.")
    ] = False,
    all: Annotated[bool, option("--all", "--branches", help="Push all branches.")] = False,
    tags: Annotated[bool, option("--tags", help="Push all tags too.")] = False,
    all_remotes: Annotated[bool, option("--all-remotes", help="Push to each remote, one after another.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Move refs wherever they were.")] = False,
    delete: Annotated[bool, option("-d", "--delete", help="Remove the named refs there.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Send versions and data to a remote.

    Without *REFSPEC*, the current branch goes to the branch of the same name. Without *REMOTE*, it
    goes to the one that the branch follows, or else to `origin`. Only what the remote
    lacks is sent; it moves its branches in one step after all that they need is there, so nobody ever sees
    half a push. A push that was interrupted goes on where it was.

    A branch moves only forward: where the remote has versions that are not here, it is rejected,
    and all others are pushed.

    A folder that is not there yet, or is empty, becomes a store at the first push.

    A remote whose setting `remote.NAME.mirror` is true gets all branches and tags, whatever they were there, and
    loses those that are not here, unless *REFSPEC* says what to push. Published tags stay.

    A tag that is published here is published there too, and one that is published there neither moves nor goes, with
    `--force` neither. An alias such as *DATASET*`@prod` moves there as it has moved here, unless somebody else moved it
    meanwhile.

    With `--all-remotes`, each remote gets it that is not read-only; one that fails keeps none of the others from
    getting it, and the exit code is that of the first that failed.

    Examples:
        $ dsvc push
        $ dsvc push -u origin main
        $ dsvc push --all --tags backup
        $ dsvc push origin --delete old-idea
        $ dsvc push --all-remotes --all

    Exit status:
        5 a ref was rejected; all others were pushed
        10 the same, because it is published there

    See also:
        dsvc-pull(1), dsvc-remote(1), dsvc-clone(1)
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    branch = worktree.session(worktree.store.state()).branch
    short = None if branch is None else branch.removeprefix(HEADS)
    wanted = [] if delete else _refspecs(refspecs, branch, all=all, tags=tags, force=force)
    if delete and not refspecs:
        message = "`--delete` needs the refs to remove"
        raise UsageError(message)
    pushing = _Pushing(worktree, wanted, bool(refspecs), refspecs if delete else (), jobs, dry_run, verbose, json)
    if not all_remotes:
        name = remote or default_remote(worktree.config, short)
        pushed = pushing.to(name)
        if set_upstream and not dry_run:
            _follow(worktree, name, pushed)
        return 0
    if set_upstream:
        message = "a branch follows one remote: `-u` and `--all-remotes` do not go together"
        raise UsageError(message)
    # The first word is no remote then, but what to push.
    if remote is not None:
        message = f"`--all-remotes` pushes to each remote, so `{remote}` cannot be named as well"
        raise UsageError(message, hint="to push other refs than the current branch, use `--all` or `--tags`")
    return _to_all(pushing)


class _Pushing(NamedTuple):
    """What is pushed, to whichever remote; *is_chosen* where it was said which refs."""

    worktree: Worktree
    wanted: list[Refspec]
    is_chosen: bool
    delete: tuple[str, ...]
    jobs: int | None
    dry_run: bool
    verbose: bool
    json: bool

    def to(self, name: str) -> Exchange:
        """Push to the remote *name*, and say what became of it."""
        with remote_hints(name):
            other = open_remote(self.worktree, name)
        # What a mirror gets is not for each push to say.
        mirror = other.settings.mirror and not self.is_chosen
        try:
            with remote_hints(name), progress_bar() as progress:
                pushed = push(
                    self.worktree.store,
                    other,
                    _EVERYTHING if mirror else self.wanted,
                    delete=self.delete,
                    mirror=mirror,
                    dry_run=self.dry_run,
                    workers=workers(self.worktree.config, self.jobs),
                    progress=progress,
                )
        except PushRejectedError as error:
            self._report(error.exchange, other)
            raise Failure(str(error), code=rejection_code(error.exchange), hint=rejection_hint(error)) from error
        self._report(pushed, other)
        return pushed

    def _report(self, pushed: Exchange, other: Remote) -> None:
        if self.json:
            print_json(pushed)
            return
        line = transferred(pushed, "would send" if self.dry_run else "sent")
        if line:
            console.say(line)
        shown = show_refs(pushed.updates, f"To {redact(other.address)}", verbose=self.verbose)
        if pushed.described:
            console.say(f"told what is said of {console.plural(pushed.described, 'dataset')}")
        elif not shown:
            console.say("Everything up-to-date")


def _to_all(pushing: _Pushing) -> int:
    """Push to every remote; return the exit code of the first that failed, 0 if none did."""
    code = 0
    for name in pushing.worktree.config.remotes():
        read_only = pushing.worktree.config.flag(f"remote.{name}.read-only")
        if pushing.json:
            console.out_json({"kind": "remote", "name": name, "read_only": read_only})
        else:
            console.say(f"{name}: it is read-only, and left out" if read_only else f"{name}:")
        if read_only:
            continue
        try:
            pushing.to(name)
        except DsvcError as error:
            failed = report(error)
            code = code or failed
    return code


def push_branch(worktree: Worktree, name: str, ref: str, *, workers: Workers, dry_run: bool = False) -> Exchange:
    """Push the branch *ref* to the same one of the remote *name*, saying nothing.

    Raises:
        PushRejectedError: It would not move forward there.
    """
    # By its name, not as HEAD: somebody may go to another branch just now.
    wanted = [Refspec(ref, ref)]
    with remote_hints(name), progress_bar() as progress:
        other = find_remote(worktree.config, worktree.control, name, worktree.store.context)
        return push(worktree.store, other, wanted, dry_run=dry_run, workers=workers, progress=progress)


def rejection_hint(error: PushRejectedError) -> str:
    """Return what to do about refs that were rejected."""
    if all(is_alias(update.target) for update in error.exchange.rejected if update.outcome is Outcome.TAG_EXISTS):
        hints = _HINTS | {Outcome.TAG_EXISTS: _ALIAS_MOVED}
    else:
        hints = _HINTS
    return "; ".join(hint for outcome, hint in hints.items() if outcome in error.outcomes)


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
