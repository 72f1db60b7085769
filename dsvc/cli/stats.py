"""dsvc stats: figures about the files of a version."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import Json, argument, option
from dsvc.cli.paths import shown_path
from dsvc.history.revisions import UnbornHeadError, peel, resolve_any
from dsvc.history.stats import Stats, measure
from dsvc.history.tables import TableShape
from dsvc.history.tree import Folder
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind
from dsvc.worktree.measure import kept_stats, measure_tree

__all__ = ["command"]

_WIDTH: Final = 40
_SHOWN: Final = 20
# Columns of words begin on the left, those of numbers end on the right.
_WORDS: Final = {"type", "folder", "largest", "table", "columns"}


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="A version, or `REV:PATH`; by default what is staged.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Only what is at or below this.", after_dashes=True)
    ] = None,
    *,
    tables: Annotated[bool | None, option("--tables", help="Look into tables; `--no-tables` reads no content.")] = None,
    json: Json = False,
) -> None:
    """Show figures about the files of a version.

    They are: how many files there are of each kind and type, how large they are, in which folders, and of tables the
    rows and columns. The type of a file is the end of its name. Median and 95 % are told to 3 %.

    Tables are CSV and TSV with a header, JSON Lines, and Parquet. Their rows are counted; the types of columns are
    those of the first thousand rows. Where there are more than 200, they are not described.

    What was found is remembered for each version, and follows the change: only tables that changed are read again.
    `dsvc commit --stats`, or `commit.stats`, keeps it with the commit, for everybody.

    Examples:
        $ dsvc stats
        $ dsvc stats v1.0 images --no-tables
        $ dsvc stats HEAD --json

    Exit status:
        4 there is no such revision, or it has no such path

    See also:
        dsvc-du(1), dsvc-ls(1), dsvc-preview(1), dsvc-compare(1), dsvc-commit(1)
    """
    history = open_history()
    text, named = history.split_version(words, paths)
    tree = history.version(text)
    places = [path for path in named if path]
    for path in places:
        if next(tree.entries(path), None) is None:
            raise PathNotFoundError(path, f"`{text}`" if text else "what is staged")
    if places or tables is False:
        entries = (entry for path in places or [b""] for entry in tree.entries(path))
        stats = measure(history.objects, entries, tables=tables is not False)
    else:
        commit = _commit(history, text)
        known = None if commit is None else kept_stats(commit)
        stats = known or measure_tree(history.worktree, tree, _near(history, commit))
    folders = [one for path in places or [b""] for one in tree.list_folder(path) if isinstance(one, Folder)]
    if json:
        below = [{**console.json_path(one.path), "files": one.files, "size": one.size} for one in folders]
        console.out_json(stats.to_json() | {"folders": below})
        return
    for block in filter(None, map(list, _blocks(history, stats, folders))):
        for line in block:
            console.out(line)
        console.out()


def _commit(history: History, text: str | None) -> Commit | None:
    """Return the commit that is looked at; None if it is a tree, or what is staged."""
    if not text:
        return None
    store = history.worktree.store
    try:
        found = peel(store, resolve_any(store, history.state, text, head=history.head))
    except UnbornHeadError:
        return None
    return history.commits.get(found.id) if found.kind == Kind.COMMIT else None


def _near(history: History, commit: Commit | None) -> Iterator[Commit]:
    """Yield versions that may be much like the one that is looked at."""
    near = commit.parents if commit is not None else []
    head = [] if history.head.commit is None else [history.head.commit]
    for commit_id in (*near, *head):
        yield history.commits.get(commit_id)


def _blocks(history: History, stats: Stats, folders: list[Folder]) -> Iterator[Iterator[str]]:
    yield _summary(stats)
    yield _table(
        ("type", "files", "size"),
        [
            (f".{name}" if name else "(none)", f"{one.files:,}", console.format_size(one.size))
            for name, one in sorted(stats.types.items(), key=lambda item: (-item[1].size, item[0]))
        ],
    )
    yield _histogram(stats)
    yield _table(
        ("folder", "files", "size"),
        [
            (shown_path(history.worktree.root, one.path + b"/"), f"{one.files:,}", console.format_size(one.size))
            for one in sorted(folders, key=lambda one: (-one.size, one.path))
        ],
    )
    yield _table(("largest", "size"), [(path, console.format_size(size)) for path, size in stats.largest])
    if stats.tables is not None:
        found = stats.tables.items()
        rows = [(path, "-" if one.rows is None else f"{one.rows:,}", _columns(one)) for path, one in found]
        yield _table(("table", "rows", "columns"), rows)


def _summary(stats: Stats) -> Iterator[str]:
    kinds = ", ".join(f"{number:,} {name}" for name, number in stats.kinds.items())
    yield f"files  {stats.files:,}{f' ({kinds})' if set(stats.kinds) - {'file'} else ''}"
    yield f"size   {console.format_size(stats.size)}"
    if stats.files:
        median, most = (console.format_size(stats.quantile(part)) for part in (0.5, 0.95))
        yield f"       half of the files up to {median}, 95 % up to {most}"


def _histogram(stats: Stats) -> Iterator[str]:
    octaves = list(stats.octaves())
    highest = max((count for _, count in octaves), default=0)
    if len(octaves) < 2:
        return
    yield console.paint(f"{'size from':>10} {'files':>10}", "bold")
    for lowest, count in octaves:
        bar = "#" * max(1, round(_WIDTH * count / highest))
        yield f"{console.format_size(lowest):>10} {count:>10,} {bar}"


def _columns(table: TableShape) -> str:
    told = [_printable(f"{name}:{kind}") for name, kind in table.columns[:_SHOWN]]
    rest = [f"and {table.width - len(told):,} more"] if table.width > len(told) else []
    return " ".join([*told, *rest])


def _printable(text: str) -> str:
    """Return *text*, which stands in a file of anybody, without what a terminal would act upon."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    shown = rows[:_SHOWN]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    for row in (head, *shown):
        cells = [
            cell.ljust(width) if head[number] in _WORDS else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        yield console.paint(line, "bold") if row is head else line
    if len(rows) > len(shown):
        yield f"... and {len(rows) - len(shown):,} more"
