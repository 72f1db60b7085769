"""dsvc sparse: a worktree with files of only some folders."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Json, NullTerminated, Quiet, argument
from dsvc.cli.pathspec import named_paths
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.history.tree import Tree
from dsvc.model.paths import display_path, quote_path
from dsvc.worktree.sparse import set_sparse
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command", "warn_of_nothing"]

Paths = Annotated[tuple[bytes, ...], argument("PATH", help="A folder or a file; it need not be in this version.")]


def command(*, null: NullTerminated = False, json: Json = False) -> None:
    """Have files of only some folders in the worktree.

    A sparse worktree has the files at and below some paths, and no others. What is outside is not missing: each
    commit keeps it as it was, `dsvc ls` and `dsvc cat` show it, and its data is not fetched. dsvc-status(1),
    dsvc-add(1), dsvc-switch(1), dsvc-restore(1) and all others that touch files look only at what is inside. To name a
    path outside to one of them is an error.

    A `.dsvcignore` file in a folder above is inside too: its rules hold there.

    Without a subcommand, the paths are listed; in a worktree that has everything there are none. They are kept in
    `.dsvc/sparse`. Who edits that by hand makes files seem to be deleted: use the subcommands.

    Examples:
        $ dsvc sparse set images/train labels.csv
        $ dsvc sparse add images/test
        $ dsvc sparse disable
        $ dsvc clone --sparse images/train s3://bucket/dataset

    See also:
        dsvc-clone(1), dsvc-status(1), dsvc-concepts(7)
    """
    for path in open_worktree().sparse.named:
        if json:
            console.out_json(console.json_path(path))
        else:
            console.out(display_path(path) if null else quote_path(path), "\0" if null else "\n")


def list_paths(*, null: NullTerminated = False, json: Json = False) -> None:
    """List the paths that the worktree has the files of."""
    command(null=null, json=json)


def set_paths(paths: Paths, *, jobs: Jobs = None, quiet: Quiet = False) -> None:
    """Have the files at and below some paths only.

    Tracked files elsewhere go, and those that were not here come, with their data. Files that are not tracked
    stay. Where a file that would go has changes that are not staged, nothing is done.

    Examples:
        $ dsvc sparse set images/train labels.csv

    Exit status:
        5 a file has changes that would be lost
    """
    worktree = open_worktree()
    _set(worktree, _named(worktree, paths), jobs, quiet=quiet)


def add(paths: Paths, *, jobs: Jobs = None, quiet: Quiet = False) -> None:
    """Have the files of some more paths.

    Examples:
        $ dsvc sparse add images/test
    """
    worktree = open_worktree()
    named = _named(worktree, paths)
    if not worktree.sparse:
        console.set_quiet(quiet)
        console.say("this worktree has everything already")
        return
    _set(worktree, [*worktree.sparse.named, *named], jobs, quiet=quiet)


def disable(*, jobs: Jobs = None, quiet: Quiet = False) -> None:
    """Have all files again.

    Examples:
        $ dsvc sparse disable
    """
    _set(open_worktree(), [], jobs, quiet=quiet)


SUBCOMMANDS = {"list": list_paths, "set": set_paths, "add": add, "disable": disable}


def _named(worktree: Worktree, paths: Sequence[bytes]) -> list[bytes]:
    named = named_paths(worktree, paths)
    if b"" in named:
        message = "the whole worktree is no part of itself"
        raise UsageError(message, hint="to have all files, run `dsvc sparse disable`")
    warn_of_nothing(worktree.staged_tree(worktree.store.state()), named)
    return named


def warn_of_nothing(tree: Tree, paths: Iterable[bytes]) -> None:
    """Say which of *paths* are not in *tree*: each may be in another version, or misspelt."""
    for path in paths:
        if next(tree.entries(path), None) is None:
            console.warn(f"this version has no {quote_path(path)}")


def _set(worktree: Worktree, paths: Sequence[bytes], jobs: int | None, *, quiet: bool) -> None:
    console.set_quiet(quiet)
    with progress_bar() as progress:
        resized = set_sparse(worktree, paths, workers=workers(worktree.config, jobs), progress=progress)
    parts = [(resized.written, "came"), (resized.removed, "went")]
    told = ", ".join(f"{console.plural(count, 'file')} {verb}" for count, verb in parts if count)
    console.say(told or "no file came or went")
