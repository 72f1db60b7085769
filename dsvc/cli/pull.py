"""dsvc pull: fetch, and move the current branch forward."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.cli.exchange import remote_hints
from dsvc.cli.fetch import fetch_from
from dsvc.cli.options import Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.log.refs import HEADS, remote_ref
from dsvc.transport.fetch import FetchOptions
from dsvc.transport.pull import DivergedError, fast_forward
from dsvc.transport.remote import default_remote, find_remote
from dsvc.worktree.session import DetachedHeadError

__all__ = ["command"]

_CONFLICT = 5
_NOT_FOUND = 4


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The name of a remote.")] = None,
    branch: Annotated[str | None, argument("BRANCH", help="The branch of the remote.")] = None,
    *,
    ff_only: Annotated[bool, option("--ff-only", help="Only move forward, which is all that is ever done.")] = False,
    prune: Annotated[bool, option("-p", "--prune", help="Forget branches that the remote no longer has.")] = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch, and move the current branch forward.

    It is `dsvc fetch`, and then the current branch and the files go to where the remote's branch is.
    That is the branch of the same name, or the one set with `dsvc push -u`. Edited files
    stay as they are; where one would be overwritten, nothing is changed.

    If both sides have versions that the other lacks, the branch stays where it is.

    Examples:
        $ dsvc pull
        $ dsvc pull backup main

    Exit status:
        5 the branches have diverged, or local changes would be overwritten

    See also:
        dsvc-fetch(1), dsvc-push(1), dsvc-switch(1)
    """
    console.set_quiet(quiet)
    del ff_only
    worktree = open_worktree()
    config = worktree.config
    current = worktree.session(worktree.store.state()).branch
    if current is None:
        raise Failure(str(DetachedHeadError()), code=_CONFLICT, hint="go to a branch with `dsvc switch BRANCH`")
    short = current.removeprefix(HEADS)
    name = remote or default_remote(config, short)
    followed = config.text(f"branch.{short}.merge") if name == config.text(f"branch.{short}.remote") else None
    theirs = branch or followed or short
    with remote_hints(name):
        other = find_remote(config, worktree.control, name, worktree.store.context)
    work = workers(config, jobs)
    lazy = worktree.config.flag(f"remote.{name}.promisor")
    options = FetchOptions(prune=prune, data=not lazy, threads=work.jobs)
    fetch_from(worktree, other, [], options, verbose=verbose, json=json)
    ref = remote_ref(name, theirs)
    if worktree.store.state().value(ref) is None:
        message = f"the remote {name} has no branch `{theirs}`"
        raise Failure(message, code=_NOT_FOUND, hint=f"to make it there, run `dsvc push -u {name} {short}`")
    try:
        with progress_bar() as progress:
            pulled = fast_forward(worktree, ref, workers=work, progress=progress)
    except DivergedError as error:
        hint = f"to give up what is only here, run `dsvc reset --hard {error.other}`; `dsvc log` shows what that is"
        raise Failure(str(error), code=_CONFLICT, hint=hint) from error
    if json:
        old = None if pulled.old is None else pulled.old.hex()
        console.out_json({"kind": "head", "branch": short, "old": old, "new": pulled.new.hex(), "paths": pulled.paths})
    elif pulled.old == pulled.new:
        console.say("Already up to date.")
    else:
        start = "nothing" if pulled.old is None else pulled.old.short
        console.say(f"Updating {start}..{pulled.new.short}: {console.plural(pulled.paths, 'path')} changed")
