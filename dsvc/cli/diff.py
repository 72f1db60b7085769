"""dsvc diff: what changed between files, what is staged, and versions."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.changes import ChangePrinter, NameOnly, NameStatus, NoRenames, Patch, Shape, Stat, with_renames
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.history.content import read_content
from dsvc.history.diff import Change
from dsvc.history.merge import Conflict
from dsvc.history.revisions import split_range
from dsvc.model.paths import display_path, quote_path
from dsvc.model.tree import Entry
from dsvc.worktree.diff import diff_from_version, diff_unstaged, diff_versions, read_file
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.unmerged import read_unmerged

__all__ = ["command"]

_DIFFERENT: Final = 1
_NOT_FOUND: Final = 4


def command(
    words: Annotated[tuple[str, ...], argument("REVISION", help="One version, or two, or `A..B`, or `A...B`.")] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Show only changes of these.", after_dashes=True)
    ] = None,
    *,
    staged: Annotated[bool, option("--staged", "--cached", help="Compare what is staged, not the files.")] = False,
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    patch: Patch = False,
    no_renames: NoRenames = False,
    exit_code: Annotated[bool, option("--exit-code", help="Exit with 1 if there are differences.")] = False,
    quiet: Annotated[
        bool, option("-q", "--quiet", help="Print nothing, and exit with 1 if there are differences.")
    ] = False,
    null: NullTerminated = False,
    json: Json = False,
) -> int:
    """Show changes between files, what is staged, and versions.

    Without arguments: from what is staged to the files. With `--staged`: from the last commit, or from
    *REVISION*, to what is staged. With one revision: from that to the files. With two, or
    `A..B`: from the first to the second; `A...B` is from where both parted to the second. Files that
    are not tracked are not looked at.

    Without a revision, paths that a merge has left undecided are named first.

    Texts up to 1 MiB are shown as a patch, which `git apply` and `patch -p1` take. Of other files
    the sizes are shown, and how many chunks both versions share. Renames are found by content.

    Examples:
        $ dsvc diff
        $ dsvc diff --staged --stat
        $ dsvc diff v1.0 v1.1 --name-status -- labels
        $ dsvc diff --quiet || echo "there are edits"

    Exit status:
        1 there are differences, with `--exit-code` or `--quiet`
        4 there is no such revision

    See also:
        dsvc-status(1), dsvc-log(1), dsvc-show(1), dsvc-revisions(7)
    """
    shape = Shape.chosen(names=name_only, status=name_status, stat=stat, patch=patch, json=json, null=null)
    shape = shape or Shape(patch=True, json=json)
    history = open_history()
    revisions, pathspec = history.split(words, paths)
    changes, with_files = _changes(history, revisions, pathspec, staged=staged)
    changes = with_renames(changes, renames=not no_renames)
    # What a merge has left undecided is told of the files, not of what is staged.
    session = history.worktree.session(history.state)
    unmerged = read_unmerged(history.objects, session, pathspec) if with_files and not revisions else []
    if quiet:
        return _DIFFERENT if unmerged or next(iter(changes), None) is not None else 0
    printer = ChangePrinter(shape, history.objects, _reader(history) if with_files else None)
    with console.pager(history.worktree.config):
        for conflict in unmerged:
            _print_unmerged(conflict, shape)
        found = printer.print(changes)
    return _DIFFERENT if (found or unmerged) and exit_code else 0


def _print_unmerged(conflict: Conflict, shape: Shape) -> None:
    if shape.json:
        console.out_json({"kind": "unmerged", **console.json_path(conflict.path), "type": conflict.kind.value})
        return
    is_raw = shape.null and (shape.names or shape.status)
    path = display_path(conflict.path) if is_raw else quote_path(conflict.path)
    before = "" if shape.names else "U\t" if shape.status else "* Unmerged path "
    console.out(before + path, "\0" if is_raw else "\n")


def _changes(
    history: History, revisions: Sequence[str], pathspec: Pathspec, *, staged: bool
) -> tuple[Iterable[Change], bool]:
    """Return what changed, and whether that is about files of the worktree."""
    worktree, state = history.worktree, history.state
    if staged:
        if len(revisions) > 1 or any(map(split_range, revisions)):
            message = "`--staged` takes one revision"
            raise UsageError(message)
        old = history.tree(revisions[0] if revisions else "HEAD")
        return diff_versions(old, worktree.staged_tree(state), pathspec), False
    if not revisions:
        return diff_unstaged(worktree, state, pathspec), True
    sides = history.sides(revisions)
    if sides is None:
        return diff_from_version(worktree, state, history.tree(revisions[0]), pathspec), True
    return diff_versions(*sides, pathspec), False


def _reader(history: History) -> Callable[[Entry], bytes]:
    def read(entry: Entry) -> bytes:
        # A file that is not as it is staged has no digest yet.
        return read_content(history.objects, entry) if entry.digest else read_file(history.worktree, entry)

    return read
