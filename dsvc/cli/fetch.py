"""dsvc fetch: what a remote has comes here."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import print_json, remote_hints, show_refs, transferred
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.log.refs import HEADS
from dsvc.transport.address import redact
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.refspec import Refspec, parse_refspec
from dsvc.transport.remote import Remote, default_remote, find_remote
from dsvc.transport.updates import Exchange
from dsvc.worktree.worktree import Worktree

__all__ = ["command", "fetch_from"]

_CONFLICT = 5


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The name of a remote.")] = None,
    refspecs: Annotated[
        tuple[str, ...], argument("REFSPEC", help="A branch or a tag of the remote, or `SOURCE:TARGET`.")
    ] = (),
    *,
    all: Annotated[bool, option("--all", help="Fetch from every remote.")] = False,
    prune: Annotated[bool, option("-p", "--prune", help="Forget branches that the remote no longer has.")] = False,
    tags: Annotated[bool | None, option("-t", "--tags", help="Fetch all tags; `--no-tags` fetches none.")] = None,
    force: Annotated[bool, option("-f", "--force", help="Move tags and branches of ours wherever they were.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Get versions and data from a remote.

    Without *REFSPEC*, all branches of the remote are fetched. Branches of ours stay where they are:
    `REMOTE/BRANCH` remembers where the remote's branch is. Tags come along with the versions that they name.
    Without *REMOTE*, it is the one that the current branch follows, or else `origin`.

    Only what is missing here is copied, and everything is checked against its hash before it counts.

    Examples:
        $ dsvc fetch
        $ dsvc fetch --all --prune
        $ dsvc fetch origin main

    Exit status:
        5 a ref was rejected; all others were fetched

    See also:
        dsvc-pull(1), dsvc-remote(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    names = [*worktree.config.remotes()] if all else [remote or _default(worktree)]
    if all and (remote or refspecs):
        message = "`--all` takes neither remote nor refspec"
        raise UsageError(message)
    options = FetchOptions(
        tags=tags, prune=prune, force=force, dry_run=dry_run, threads=workers(worktree.config, jobs).jobs
    )
    for name in names:
        with remote_hints(name):
            other = find_remote(worktree.config, worktree.control, name, worktree.store.context)
        fetch_from(worktree, other, list(map(parse_refspec, refspecs)), options, verbose=verbose, json=json)


def _default(worktree: Worktree) -> str:
    branch = worktree.session(worktree.store.state()).branch
    return default_remote(worktree.config, None if branch is None else branch.removeprefix(HEADS))


def fetch_from(
    worktree: Worktree,
    other: Remote,
    refspecs: list[Refspec],
    options: FetchOptions,
    *,
    verbose: bool = False,
    json: bool = False,
) -> Exchange:
    """Fetch *refspecs* from *other* and say what came."""
    try:
        with remote_hints(other.name, other.address), progress_bar() as progress:
            fetched = fetch(worktree.store, other, refspecs, options, progress=progress)
    except FetchRejectedError as error:
        _report(error.exchange, other, options, verbose=verbose, json=json)
        hint = "to take the remote's, run the same with `--force`"
        raise Failure(str(error), code=_CONFLICT, hint=hint) from error
    _report(fetched, other, options, verbose=verbose, json=json)
    return fetched


def _report(fetched: Exchange, other: Remote, options: FetchOptions, *, verbose: bool, json: bool) -> None:
    if json:
        print_json(fetched)
        return
    line = transferred(fetched, "would fetch" if options.dry_run else "fetched")
    if line:
        console.say(line)
    show_refs(fetched.updates, f"From {redact(other.address)}", verbose=verbose)
