"""dsvc reset: take the current branch to another version."""

import os
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Quiet, argument, option
from dsvc.cli.paths import shown_path, split_words
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.history.revisions import UnbornHeadError, resolve
from dsvc.history.tree import Tree
from dsvc.history.versions import is_only_remote
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.worktree.head import read_head
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.reset import ResetMode, reset
from dsvc.worktree.restore import restore
from dsvc.worktree.status import read_status
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]


def command(
    words: Annotated[tuple[str, ...], argument("REVISION", help="Where to; by default the last commit.")] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Only take back what is staged there.", after_dashes=True)
    ] = None,
    *,
    soft: Annotated[bool, option("--soft", help="Leave what is staged, and the files.")] = False,
    mixed: Annotated[bool, option("--mixed", help="Leave the files, and stage nothing; the default.")] = False,
    hard: Annotated[bool, option("--hard", help="Let the files follow, and give up all edits.")] = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Take the current branch to another version.

    The branch, or a detached HEAD, moves to *REVISION*. `dsvc reflog` shows where it was, and
    `dsvc undo` takes it back. With paths, the branch stays, and what is staged at these paths
    is as in *REVISION* again.

    `--hard` overwrites edited files for good. Files that are not tracked stay, unless a tracked
    one has to be where they are.

    Examples:
        $ dsvc reset table.csv
        $ dsvc reset --soft HEAD~1
        $ dsvc reset --hard v1.2

    Exit status:
        4 there is no such revision
        5 another command moved the branch meanwhile

    See also:
        dsvc-restore(1), dsvc-undo(1), dsvc-reflog(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    chosen = [mode for mode, wanted in zip(ResetMode, (soft, mixed, hard), strict=True) if wanted]
    if len(chosen) > 1:
        message = "choose one of `--soft`, `--mixed` and `--hard`"
        raise UsageError(message)
    worktree = open_worktree()
    state = worktree.store.state()
    words, named = split_words(words, paths, lambda word: _is_revision(worktree, state, word))
    if len(words) > 1:
        message = "more than one revision"
        raise UsageError(message)
    target = _target(worktree, state, words[0] if words else "HEAD")
    pathspec = read_pathspec(worktree, named, pathspec_from_file, null=pathspec_file_nul)
    if pathspec and chosen:
        message = f"`--{chosen[0].value}` takes no paths"
        raise UsageError(message)
    if pathspec:
        _unstage(worktree, state, target, pathspec)
        return
    mode = chosen[0] if chosen else ResetMode.MIXED
    with progress_bar() as progress:
        reset(worktree, state, target, mode, workers=workers(worktree.config, jobs), progress=progress)
    if mode is ResetMode.HARD and target is not None:
        console.say(f"HEAD is now at {target.short} {worktree.commit_of(target).subject}")
    elif mode is ResetMode.MIXED:
        _tell_unstaged(worktree)


def _is_revision(worktree: Worktree, state: State, word: str) -> bool:
    if is_only_remote(state, word) and os.path.lexists(word):
        return False
    try:
        _target(worktree, state, word)
    except (NotFoundError, InvalidInputError):
        return False
    return True


def _target(worktree: Worktree, state: State, revision: str) -> ObjectId | None:
    """Return the commit, or None for HEAD before the first."""
    try:
        return resolve(worktree.store, state, revision, head=read_head(worktree, state))
    except UnbornHeadError:
        if revision not in ("HEAD", "@"):
            raise
        return None


def _unstage(worktree: Worktree, state: State, target: ObjectId | None, pathspec: Pathspec) -> None:
    tree = Tree(worktree.store.objects, None if target is None else ObjectId(worktree.commit_of(target).tree))
    restore(worktree, state, tree, pathspec, staged=True, files=False)
    _tell_unstaged(worktree)


def _tell_unstaged(worktree: Worktree) -> None:
    if console.is_quiet():
        return
    status = read_status(worktree, worktree.store.state(), Pathspec())
    if status.unstaged:
        console.say("Unstaged changes after reset:")
    for change in status.unstaged:
        console.say(f"{change.kind.value}\t{shown_path(worktree.root, change.path)}")
