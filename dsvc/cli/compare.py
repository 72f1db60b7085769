"""dsvc compare: how two versions differ, in numbers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.changes import ChangePrinter, NameStatus, NoRenames, Shape, Stat, with_renames
from dsvc.cli.elsewhere import is_elsewhere, tree_elsewhere
from dsvc.cli.errors import UsageError
from dsvc.cli.history import open_history
from dsvc.cli.options import Json, NullTerminated, Verbose, argument, option
from dsvc.cli.session import load_config
from dsvc.history.comparison import Comparison, Group, Tally, compare
from dsvc.history.diff import ChangeKind
from dsvc.history.tree import Tree
from dsvc.model.paths import quote_path
from dsvc.model.tree import EntryKind
from dsvc.odb.objects import MemoryObjects
from dsvc.worktree.diff import diff_versions
from dsvc.worktree.pathspec import Pathspec

__all__ = ["command"]

_DIFFERENT: Final = 1
_LISTED: Final = 20
_NAMES: Final = {
    ChangeKind.ADDED: "added",
    ChangeKind.DELETED: "removed",
    ChangeKind.MODIFIED: "modified",
    ChangeKind.TYPE_CHANGED: "type changed",
    ChangeKind.RENAMED: "renamed",
}


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="Two versions, or `A..B`; *B* is by default the last.")
    ],
    paths: Annotated[tuple[bytes, ...] | None, argument("PATH", help="Compare only these.", after_dashes=True)] = None,
    *,
    stat: Stat = False,
    name_status: NameStatus = False,
    no_renames: NoRenames = False,
    exit_code: Annotated[bool, option("--exit-code", help="Exit with 1 if there are differences.")] = False,
    verbose: Verbose = False,
    null: NullTerminated = False,
    json: Json = False,
) -> int:
    """Show how two versions differ, in numbers.

    Files and bytes that were added, removed, modified and renamed, and those that are the same, are counted: of all,
    by folder, and by the end of their names. No data is read, and of what both versions share, nothing is.

    Either may be a version of another store, as `URL#NAME` or `REMOTE#NAME`; of one far away, only what says which
    files there are is copied.

    With `-v` the paths follow, as with `--name-status`, which shows nothing else. `dsvc diff` shows what changed
    inside of files.

    Examples:
        $ dsvc compare v1.0 v1.1
                    files      before       after
        added           3         0 B     2.4 MiB
        removed         1   120.0 KiB         0 B
        unchanged  99,996    12.0 GiB    12.0 GiB
        $ dsvc compare v1.0..main --json
        $ dsvc compare HEAD~1 -- images
        $ dsvc compare 's3://bucket/sets#vision/raw@1.0' main

    Exit status:
        1 there are differences, with `--exit-code`
        4 there is no such version

    See also:
        dsvc-diff(1), dsvc-du(1), dsvc-log(1), dsvc-revisions(7)
    """
    shape = Shape.chosen(names=False, status=name_status, stat=stat, patch=False, json=False, null=null)
    old, new, pathspec = _sides(words, paths)
    changes = list(with_renames(diff_versions(old, new, pathspec), renames=not no_renames))
    # Nothing here looks into files.
    printer = ChangePrinter(shape or Shape(status=True, json=json, null=null), MemoryObjects())
    with console.pager(load_config()):
        if not shape:
            result = compare(changes, *_totals(old, pathspec), _folder(pathspec))
            _print_json(result, old, new) if json else _print(result)
        if shape or verbose:
            if not json and not shape:
                console.out()
            printer.print(changes)
    return _DIFFERENT if changes and exit_code else 0


def _sides(words: tuple[str, ...], paths: tuple[bytes, ...] | None) -> tuple[Tree, Tree, Pathspec]:
    """Return the two versions, and which paths are compared."""
    if any(map(is_elsewhere, words)):
        if len(words) > 2:
            message = "more than two versions"
            raise UsageError(message, hint="put `--` before paths")
        left, right = (*words, "HEAD")[:2]
        # They are those of the versions, wherever we are.
        return _tree(left), _tree(right), Pathspec(path.strip(b"/") for path in paths or ())
    history = open_history()
    revisions, pathspec = history.split(words, paths)
    if not revisions:
        message = "say which versions to compare"
        raise UsageError(message)
    old, new = history.sides(revisions) or (history.tree(revisions[0]), history.tree("HEAD"))
    return old, new, pathspec


def _tree(text: str) -> Tree:
    return tree_elsewhere(text) if is_elsewhere(text) else open_history().tree(text)


def _totals(tree: Tree, pathspec: Pathspec) -> tuple[int, int]:
    """Return how many files *tree* has at the paths, and their size."""
    if not pathspec.patterns:
        totals = [tree.totals(folder) for folder in pathspec.folders]
        return sum(one.files for one in totals), sum(one.size for one in totals)
    entries = (entry for entry in tree.entries() if entry.kind != EntryKind.FOLDER and pathspec.matches(entry.path))
    sizes = [entry.size for entry in entries]
    return len(sizes), sum(sizes)


def _folder(pathspec: Pathspec) -> bytes:
    return pathspec.folders[0] if len(pathspec.folders) == 1 else b""


def _print(result: Comparison) -> None:
    kinds = [(_NAMES[kind], result.all.tally(kind)) for kind in _NAMES]
    rows = [_row(name, tally) for name, tally in [*kinds, ("unchanged", result.unchanged)] if tally.files]
    _table(["", "files", "before", "after"], rows)
    if result.folders_added or result.folders_removed:
        console.out(f"empty folders: {result.folders_added:,} added, {result.folders_removed:,} removed")
    _print_groups("folder", {_shown(name, b"/", "."): group for name, group in result.folders.items()})
    _print_groups("type", {_shown(name, b"", "(none)"): group for name, group in result.types.items()})


def _row(name: str, tally: Tally) -> list[str]:
    return [name, f"{tally.files:,}", console.format_size(tally.old_size), console.format_size(tally.size)]


def _shown(name: bytes, end: bytes, empty: str) -> str:
    return quote_path(name + end) if name else empty


def _print_groups(what: str, groups: Mapping[str, Group]) -> None:
    """Print a line for each of *groups*, those with most changes first, if there are several."""
    if len(groups) < 2:
        return
    used = [kind for kind in _NAMES if any(kind in group.kinds for group in groups.values())]
    ordered = sorted(groups, key=lambda name: (-_changes(groups[name]), name))
    rows = []
    for name in ordered[:_LISTED]:
        counts = [f"{groups[name].tally(kind).files:,}" for kind in used]
        rows.append([name, *counts, _growth(groups[name].growth)])
    console.out()
    _table([what, *(_NAMES[kind] for kind in used), "growth"], rows)
    if len(groups) > _LISTED:
        console.out(f"and {len(groups) - _LISTED:,} more")


def _changes(group: Group) -> int:
    return sum(tally.files for tally in group.kinds.values())


def _growth(size: int) -> str:
    return f"{'-' if size < 0 else '+' if size else ''}{console.format_size(abs(size))}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for number, row in enumerate((heads, *rows)):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        text = "  ".join([f"{row[0]:{widths[0]}}", *cells])
        console.out(text if number else console.paint(text, "dim"))


def _print_json(result: Comparison, old: Tree, new: Tree) -> None:
    record: dict[str, object] = {"kind": "comparison", "old_tree": old.root.hex(), "new_tree": new.root.hex()}
    record |= {"equal": result.is_equal, **_group_record(result.all), "unchanged": _tally_record(result.unchanged)}
    record |= {"empty_folders_added": result.folders_added, "empty_folders_removed": result.folders_removed}
    record["folders"] = [{**console.json_path(name), **_group_record(one)} for name, one in result.folders.items()]
    record["types"] = [{"type": _shown(name, b"", ""), **_group_record(one)} for name, one in result.types.items()]
    console.out_json(record)


def _group_record(group: Group) -> dict[str, object]:
    return {name.replace(" ", "_"): _tally_record(group.tally(kind)) for kind, name in _NAMES.items()}


def _tally_record(tally: Tally) -> dict[str, int]:
    return {"files": tally.files, "old_bytes": tally.old_size, "bytes": tally.size}
