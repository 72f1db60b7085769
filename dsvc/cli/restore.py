"""dsvc restore: files, or what is staged of them, as they were."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Quiet, argument, option
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.sides import Ours, Theirs, chosen_side
from dsvc.cli.workers import workers
from dsvc.history.revisions import resolve
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.worktree.head import read_head
from dsvc.worktree.restore import Restored, restore, take_side
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="A file, a folder, or a pattern such as `*.csv`.")] = (),
    *,
    source: Annotated[
        str | None, option("-s", "--source", metavar="REVISION", help="Take the content from *REVISION*.")
    ] = None,
    staged: Annotated[bool, option("-S", "--staged", help="Restore what is staged.")] = False,
    worktree: Annotated[bool, option("-W", "--worktree", help="Restore the files; so it is without `-S`.")] = False,
    ours: Ours = False,
    theirs: Theirs = False,
    overlay: Annotated[bool, option("--overlay", help="Leave what is not in the source.")] = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Restore files, or what is staged of them.

    Without options, edits of the files are given up: they are as they are staged again. With
    `-S`, what is staged is as in the last commit again, and the files stay as they are. With
    both `-S` and `-W`, both are as in the last commit.

    In the middle of a merge, `--ours` and `--theirs` take one side of files that are in conflict. They stay so until
    you `dsvc add` them. See dsvc-merge(1).

    Tracked files that are not in the source are removed, unless with `--overlay`. Files that
    are not tracked stay, and if one is in the way, nothing is done.

    Examples:
        $ dsvc restore table.csv
        $ dsvc restore --staged .
        $ dsvc restore --source HEAD~2 -SW images
        $ dsvc restore --theirs labels.csv

    Exit status:
        4 a path matches nothing, or there is no such revision
        5 a file that is not tracked is in the way

    See also:
        dsvc-reset(1), dsvc-switch(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    opened = open_worktree()
    pathspec = read_pathspec(opened, paths, pathspec_from_file, null=pathspec_file_nul)
    if not pathspec:
        message = "no path given: which files should be restored?"
        raise UsageError(message, hint="for all of them, run `dsvc restore .`")
    state = opened.store.state()
    side = chosen_side(ours=ours, theirs=theirs)
    if side is not None:
        if source is not None or staged:
            message = "`--ours` and `--theirs` are about files, and say themselves where from"
            raise UsageError(message)
        with progress_bar() as progress:
            restored = take_side(opened, state, pathspec, side, workers=workers(opened.config, jobs), progress=progress)
        console.say(_summary(restored, staged=False, files=True))
        return
    with progress_bar() as progress:
        restored = restore(
            opened,
            state,
            _source(opened, state, source, staged=staged),
            pathspec,
            staged=staged,
            files=worktree or not staged,
            overlay=overlay,
            workers=workers(opened.config, jobs),
            progress=progress,
        )
    console.say(_summary(restored, staged=staged, files=worktree or not staged))


def _source(worktree: Worktree, state: State, revision: str | None, *, staged: bool) -> Tree:
    if revision is not None:
        commit_id = resolve(worktree.store, state, revision, head=read_head(worktree, state))
        return Tree(worktree.store.objects, ObjectId(worktree.commit_of(commit_id).tree))
    return worktree.head_tree(state) if staged else worktree.staged_tree(state)


def _summary(restored: Restored, *, staged: bool, files: bool) -> str:
    parts = []
    if files:
        parts.append(f"restored {console.plural(restored.files, 'file')}")
    if staged:
        parts.append(f"unstaged {console.plural(restored.staged, 'change')}")
    return ", ".join(parts)
