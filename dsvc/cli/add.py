"""dsvc add: stage the content of files."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import DryRun, Jobs, Quiet, Verbose, argument, option
from dsvc.cli.paths import is_url, shown_path
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import workers
from dsvc.model.paths import display_path, path_key
from dsvc.worktree.add import Added, Selection, What, add, preview, select
from dsvc.worktree.worktree import Worktree

__all__ = ["command", "summary"]


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="A file, a folder, or a pattern such as `*.csv`.")] = (),
    *,
    all: Annotated[  # (git's name)
        bool | None, option("-A", "--all", help="Stage everything; with `--no-all`, what is gone stays staged.")
    ] = None,
    update: Annotated[bool, option("-u", "--update", help="Stage only files that are tracked already.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Stage ignored files too.")] = False,
    dry_run: DryRun = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Stage the content of files.

    The content is stored, and the next commit will have it. Files that are gone from a
    *PATH* are removed from the next commit. What has not changed since it was added last is not
    read again, and what is stored already, under whatever name, is not stored again.

    Empty folders are staged too. Sockets, pipes and devices are passed over with a warning.
    Files that `.dsvcignore` names are left alone; to name one of them is an error, unless with `-f`. In a sparse
    worktree, what is outside stays in the next commit as it is; see dsvc-sparse(1).

    If a file cannot be read, or does not keep still while it is read, nothing is staged.

    Examples:
        $ dsvc add data
        $ dsvc add -A
        $ find . -newer stamp -print0 | dsvc add --pathspec-from-file=- --pathspec-file-nul

    Exit status:
        2 a path is ignored, outside the repository, or nothing that can be stored
        4 a path matches no file
        6 a file changes while it is read
        10 a path is outside of what a sparse worktree has

    See also:
        dsvc-status(1), dsvc-restore(1), dsvc-commit(1)
    """
    console.set_quiet(quiet)
    if all and update:
        message = "`-A` and `-u` cannot be used together"
        raise UsageError(message)
    for word in filter(is_url, paths):
        message = f"{display_path(word)} is no file here"
        raise UsageError(message, hint="to link to what stays elsewhere, use `dsvc link add`")
    worktree = open_worktree()
    pathspec = read_pathspec(worktree, paths, pathspec_from_file, null=pathspec_file_nul)
    if not pathspec and not (all or update):
        console.say("Nothing specified, nothing added.")
        if pathspec_from_file is None:
            console.hint("maybe you wanted to say `dsvc add .`?")
        return
    state = worktree.store.state()
    what = What(pathspec, tracked_only=update, removals=all is not False, force=force)
    if dry_run:
        selection = select(worktree, state, what)
        _warn(worktree, selection)
        _tell(worktree, preview(worktree.root_bytes, selection))
        return
    with progress_bar() as progress:
        added = add(worktree, state, what, workers=workers(worktree.config, jobs), progress=progress)
    _warn(worktree, added)
    if verbose:
        changes = [(path, entry is not None) for path, entry in added.edits]
        _tell(worktree, sorted(changes, key=lambda change: path_key(change[0])))
    console.say(summary(added))


def _warn(worktree: Worktree, done: Added | Selection) -> None:
    for found in done.skipped:
        console.warn(f"{shown_path(worktree.root, found.path)} is neither a file, a link nor a folder; it is left out")
    if done.outside:
        first = shown_path(worktree.root, done.outside[0])
        count = console.plural(len(done.outside), "file")
        console.warn(f"left out, as this worktree is sparse: {count}, such as {first}")
        console.hint("to have a file or folder in it, run `dsvc sparse add PATH`, then add it")


def _tell(worktree: Worktree, changes: list[tuple[bytes, bool]]) -> None:
    for path, comes in changes:
        console.out(f"{'add' if comes else 'remove'} '{shown_path(worktree.root, path)}'")


def summary(added: Added) -> str:
    """Return what was new, what was there already and what was saved, in one line."""
    if not added.edits:
        return "nothing changed"
    counts = ((added.new, "new"), (added.modified, "changed"), (added.removed, "removed"))
    parts = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    text = f"added {console.plural(len(added.edits), 'file')}: {parts}"
    if not added.size:
        return text
    read, raw, stored = map(console.format_size, (added.size, added.raw, added.stored))
    return f"{text}; {read} read, {f'{raw} new, stored in {stored}' if added.raw else 'all of it stored already'}"
