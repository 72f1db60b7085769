"""dsvc rm: remove files, and from what is staged."""

import os
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import DryRun, Quiet, argument, option
from dsvc.cli.paths import is_url, shown_path
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_pathspec, working_folder
from dsvc.cli.session import open_worktree
from dsvc.model.tree import EntryKind
from dsvc.worktree.add import PathspecError
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.remove import plan_removal, remove
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_INVALID = 2
_NOT_FOUND = 4


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="A file, a folder, or a pattern such as `*.csv`.")] = (),
    *,
    recursive: Annotated[bool, option("-r", "--recursive", help="Remove folders, with all in them.")] = False,
    cached: Annotated[bool, option("--cached", help="Leave the files, and only track them no more.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Remove files with changes that are in no commit.")] = False,
    ignore_unmatch: Annotated[bool, option("--ignore-unmatch", help="Let a path match nothing.")] = False,
    dry_run: DryRun = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    quiet: Quiet = False,
) -> None:
    """Remove files from the worktree and from the next commit.

    Earlier commits keep them. A file is removed only if it is as in the last commit, unless
    with `-f`; with `--cached` the file itself stays, and what is staged of it must be in the
    file or in the last commit. Folders that are empty then are removed as well. Files that are
    not tracked are left alone.

    A link goes by its path, or by its URL; a URL that ends with a slash means all links to what is below it.

    Examples:
        $ dsvc rm old.csv
        $ dsvc rm -r --cached scratch

    Exit status:
        4 a path matches no tracked file
        5 a file has changes that are in no commit

    See also:
        dsvc-add(1), dsvc-restore(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    pathspec = read_pathspec(worktree, _without_urls(worktree, paths), pathspec_from_file, null=pathspec_file_nul)
    if not pathspec:
        message = "no path given: which files should go?"
        raise UsageError(message)
    state = worktree.store.state()
    if not recursive:
        _refuse_folders(worktree, pathspec)
    removal = plan_removal(worktree, state, pathspec, keep_files=cached, force=force)
    missing = [word for word in pathspec.unmatched(removal.paths) if word]
    if missing and not ignore_unmatch:
        raise PathspecError(missing[0], "tracked files")
    if not dry_run:
        remove(worktree, removal, stay_in=working_folder(worktree))
    for path in removal.paths if not quiet else ():
        console.out(f"rm '{shown_path(worktree.root, path)}'")


def _without_urls(worktree: Worktree, words: tuple[bytes, ...]) -> list[bytes]:
    """Return *words* with the paths of links in place of their URLs."""
    urls = [word for word in words if is_url(word)]
    if not urls:
        return list(words)
    from dsvc.datasets.link_edit import staged_links

    paths = [word for word in words if word not in urls]
    links = staged_links(worktree, worktree.store.state(), Pathspec())
    for url in map(os.fsdecode, urls):
        found = [one for one in links if one.link.url == url or (url.endswith("/") and one.link.url.startswith(url))]
        if not found:
            message = f"no link leads to {url}"
            raise Failure(message, code=_NOT_FOUND, hint="`dsvc link list` shows where links lead")
        paths += [worktree.root_bytes + b"/" + one.entry.path for one in found]
    return paths


def _refuse_folders(worktree: Worktree, pathspec: Pathspec) -> None:
    staged = worktree.staged_tree(worktree.store.state())
    for word in pathspec.words:
        if word in pathspec.patterns:
            continue
        entry = staged.get(word) if word else None
        is_folder = entry.kind == EntryKind.FOLDER if entry else next(staged.entries(word), None) is not None
        if is_folder:
            message = f"not removing the folder {shown_path(worktree.root, word)} without `-r`"
            raise Failure(message, code=_INVALID)
