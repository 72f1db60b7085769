"""dsvc checkout: go to a branch or version, or restore files from it."""

import os
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Quiet, argument, option
from dsvc.cli.pathspec import read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.sides import Ours, Theirs, chosen_side
from dsvc.cli.switching import Switching, remote_branch
from dsvc.cli.workers import workers
from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.history.merge import Side
from dsvc.history.revisions import UnbornHeadError, resolve
from dsvc.history.tree import Tree
from dsvc.history.versions import is_only_remote
from dsvc.log.refs import short_name
from dsvc.worktree.head import read_head
from dsvc.worktree.restore import restore, take_side

__all__ = ["command"]


def command(
    words: Annotated[tuple[str, ...], argument("REVISION", help="A branch or another version to go to.")] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Restore these files only.", after_dashes=True)
    ] = None,
    *,
    create: Annotated[
        str | None, option("-b", metavar="NAME", help="Make the branch *NAME* there, and go to it.")
    ] = None,
    force_create: Annotated[
        str | None, option("-B", metavar="NAME", help="The same, moving *NAME* if it exists.")
    ] = None,
    detached: Annotated[bool, option("-d", "--detach", help="Go to the version, not to the branch.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Give up local changes.")] = False,
    ours: Ours = False,
    theirs: Theirs = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Go to a branch or version, or restore files from it.

    As in git, this is two commands in one. With a branch, it is `dsvc switch`; with another
    version, HEAD is on no branch afterwards.

    With paths, HEAD stays: the files are as they are staged again, or with *REVISION* both the files
    and what is staged are as they were there. Edits of these files are overwritten. See
    dsvc-restore(1).

    In the middle of a merge, `--ours` and `--theirs` take one side of files that are in conflict, as with
    `dsvc restore`.

    Symlinks are written as they are in the version, wherever they lead; nothing is ever written through one. Of data of
    other people, dsvc-get(1) and dsvc-export(1) write none that lead out of the version.

    A word that is both a version and a file is refused: put `--` before paths.

    Examples:
        $ dsvc checkout -b topic
        $ dsvc checkout v1.2.0
        $ dsvc checkout HEAD~1 -- table.csv
        $ dsvc checkout -- .

    Exit status:
        4 there is no such version or path
        5 local changes would be lost, or the name is taken

    See also:
        dsvc-switch(1), dsvc-restore(1), dsvc-branch(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    if create is not None and force_create is not None:
        message = "choose one of `-b` and `-B`"
        raise UsageError(message)
    worktree = open_worktree()
    switching = Switching(worktree, force=force, jobs=jobs)
    side = chosen_side(ours=ours, theirs=theirs)
    if side is not None:
        _take_side(
            switching, (*(word.encode("utf-8", "surrogateescape") for word in words), *(paths or ())), side, jobs
        )
        return
    guessed = _guess(switching, words) if paths is None and not detached else None
    if guessed is not None and create is None and force_create is None:
        switching.to_tracking_branch(words[0], guessed)
        return
    revision, named = _split(switching, words, paths)
    if create is not None or force_create is not None:
        if named:
            message = "a new branch takes no paths"
            raise UsageError(message)
        switching.to_new_branch(create or force_create or "", revision, reset=force_create is not None)
    elif named:
        _restore(switching, revision, named, jobs)
    else:
        _go(switching, revision or "HEAD", detached=detached)


def _split(
    switching: Switching, words: tuple[str, ...], paths: tuple[bytes, ...] | None
) -> tuple[str | None, tuple[bytes, ...]]:
    """Return the revision, if one is meant, and the paths, which need not be there: they may be to be restored."""
    if paths is not None and len(words) > 1:
        message = "more than one revision"
        raise UsageError(message)
    if paths is not None or not words:
        return (words[0] if words else None), paths or ()
    named = tuple(word.encode("utf-8", "surrogateescape") for word in words)
    if not _is_revision(switching, words[0]):
        return None, named
    if os.path.lexists(words[0]):
        message = f"`{words[0]}` is both a revision and a path"
        raise UsageError(message, hint="put `--` between revisions and paths")
    return words[0], named[1:]


def _guess(switching: Switching, words: tuple[str, ...]) -> str | None:
    """Return the remote's branch that the only word can mean, if it can mean nothing else."""
    if len(words) != 1 or _is_revision(switching, words[0]) or os.path.lexists(words[0]):
        return None
    return remote_branch(switching.state, words[0])


def _is_revision(switching: Switching, word: str) -> bool:
    worktree, state = switching.worktree, switching.state
    if is_only_remote(state, word):
        return False
    try:
        # The current branch is one even before its first commit.
        if switching.branch(word) is None:
            resolve(worktree.store, state, word, head=read_head(worktree, state))
    except UnbornHeadError:
        raise
    except (NotFoundError, InvalidInputError):
        return False
    return True


def _go(switching: Switching, revision: str, *, detached: bool) -> None:
    ref = None if detached else switching.branch(revision)
    if ref is not None:
        switching.to_branch(short_name(ref))
    elif detached or revision not in ("HEAD", "@"):
        switching.to_commit(revision, advise=not detached)


def _take_side(switching: Switching, paths: tuple[bytes, ...], side: Side, jobs: int | None) -> None:
    worktree = switching.worktree
    pathspec = read_pathspec(worktree, paths)
    if not pathspec:
        message = "no path given: of which files?"
        raise UsageError(message)
    with progress_bar() as progress:
        work = workers(worktree.config, jobs)
        restored = take_side(worktree, switching.state, pathspec, side, workers=work, progress=progress)
    console.say(f"updated {console.plural(restored.files, 'path')} from {side.value}")


def _restore(switching: Switching, revision: str | None, paths: tuple[bytes, ...], jobs: int | None) -> None:
    worktree, state = switching.worktree, switching.state
    pathspec = read_pathspec(worktree, paths)
    source = worktree.staged_tree(state)
    if revision is not None:
        commit = resolve(worktree.store, state, revision, head=read_head(worktree, state))
        source = Tree(worktree.store.objects, worktree.commit_of(commit).tree)
    with progress_bar() as progress:
        restored = restore(
            worktree,
            state,
            source,
            pathspec,
            staged=revision is not None,
            overlay=True,
            workers=workers(worktree.config, jobs),
            progress=progress,
        )
    console.say(f"updated {console.plural(restored.files, 'path')} from {revision or 'what is staged'}")
