"""dsvc switch: go to another branch."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import Jobs, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.switching import Switching, remote_branch
from dsvc.cli.workers import workers
from dsvc.errors import NotFoundError
from dsvc.history.revisions import UnknownRevisionError, resolve
from dsvc.history.versions import is_only_remote
from dsvc.log.refs import HEADS, short_name
from dsvc.worktree.head import read_head
from dsvc.worktree.resume import resume
from dsvc.worktree.switch import switch_to_orphan
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_NOT_FOUND = 4


def command(
    branch: Annotated[str | None, argument("BRANCH", help="Where to go; `-` is where you were before.")] = None,
    *,
    create: Annotated[
        str | None, option("-c", "--create", metavar="NAME", help="Make the branch *NAME*, at *BRANCH* or HEAD.")
    ] = None,
    force_create: Annotated[
        str | None, option("-C", "--force-create", metavar="NAME", help="The same, moving *NAME* if it exists.")
    ] = None,
    orphan: Annotated[
        str | None, option("--orphan", metavar="NAME", help="Begin the branch *NAME*, without commits or files.")
    ] = None,
    detached: Annotated[bool, option("-d", "--detach", help="Go to a version, on no branch.")] = False,
    discard_changes: Annotated[
        bool, option("-f", "--discard-changes", "--force", help="Give up local changes.")
    ] = False,
    no_guess: Annotated[
        bool, option("--no-guess", help="Do not make the branch from that of a remote, if only a remote has it.")
    ] = False,
    continue_: Annotated[bool, option("--continue", help="Finish a switch that was interrupted.")] = False,
    abort: Annotated[bool, option("--abort", help="Go back to before a switch that was interrupted.")] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Go to another branch.

    The files become those of *BRANCH*, and HEAD moves there. Only what differs is written. What
    you have staged or edited comes along where both branches are the same; where they are
    not, and your change would be lost, nothing is done at all. That holds for files that are not
    tracked, and for ignored ones too.

    If only a remote has *BRANCH*, it is made here where the remote has it.

    Whenever a switch is interrupted, by a full disk or a power failure, say, `dsvc status` says so.
    Then `dsvc switch --continue` finishes it and `dsvc switch --abort` goes back. Before that,
    nothing can be staged or committed. Files that were edited meanwhile stay, unless with `-f`.

    Examples:
        $ dsvc switch -c vision/imagenet
        $ dsvc switch main
        $ dsvc switch -
        $ dsvc switch --detach v1.2.0

    Exit status:
        4 there is no such branch
        5 local changes would be lost, the name is taken, or a switch was interrupted

    See also:
        dsvc-branch(1), dsvc-checkout(1), dsvc-restore(1), dsvc-undo(1)
    """
    console.set_quiet(quiet)
    made = [name for name in (create, force_create, orphan) if name is not None]
    if len(made) + detached + continue_ + abort > 1:
        message = "choose one of `-c`, `-C`, `--orphan`, `--detach`, `--continue` and `--abort`"
        raise UsageError(message)
    worktree = open_worktree()
    if continue_ or abort:
        _resume(worktree, back=abort, force=discard_changes, jobs=jobs)
        return
    switching = Switching(worktree, force=discard_changes, jobs=jobs)
    if create is not None or force_create is not None:
        switching.to_new_branch(create or force_create or "", branch, reset=force_create is not None)
    elif orphan is not None:
        _begin(worktree, orphan, branch, force=discard_changes, jobs=jobs)
    elif detached:
        switching.to_commit(branch or "HEAD", advise=False)
    elif branch is None:
        message = "missing branch to switch to"
        raise UsageError(message)
    else:
        _switch(switching, branch, guess=not no_guess)


def _switch(switching: Switching, word: str, *, guess: bool) -> None:
    ref = switching.branch(word)
    if ref is not None:
        switching.to_branch(short_name(ref))
        return
    if word == "-":
        # Where HEAD was before was no branch.
        switching.to_commit(word, advise=False)
        return
    remote = remote_branch(switching.state, word) if guess else None
    if remote is not None:
        switching.to_tracking_branch(word, remote)
        return
    if is_only_remote(switching.state, word):
        # It is a version, but what is asked for is a branch here, and not to guess.
        raise UnknownRevisionError(word, "there is no such branch")
    try:
        head = read_head(switching.worktree, switching.state)
        resolve(switching.worktree.store, switching.state, word, head=head)
    except NotFoundError as error:
        raise UnknownRevisionError(word, "there is no such branch") from error
    message = f"a branch is expected, and `{word}` is another version"
    raise Failure(message, code=2, hint=f"to look at it, run `dsvc switch --detach {word}`")


def _begin(worktree: Worktree, name: str, start: str | None, *, force: bool, jobs: int | None) -> None:
    if start is not None:
        message = "`--orphan` starts from nothing"
        raise UsageError(message)
    with progress_bar() as progress:
        switch_to_orphan(worktree, name, force=force, workers=workers(worktree.config, jobs), progress=progress)
    console.say(f"Switched to a new branch '{name}'")


def _resume(worktree: Worktree, *, back: bool, force: bool, jobs: int | None) -> None:
    with progress_bar() as progress:
        session = resume(worktree, back=back, force=force, workers=workers(worktree.config, jobs), progress=progress)
    if session is None:
        message = "no switch was interrupted"
        raise Failure(message, code=_NOT_FOUND)
    head = session.head
    where = f"branch '{short_name(head)}'" if head.startswith(HEADS) else f"HEAD {head[:10]}"
    console.say(f"Back on {where}" if back else f"Switched to {where}")
