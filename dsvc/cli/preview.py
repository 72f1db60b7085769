"""dsvc preview: what the files of a version look like."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Final

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import AnyLinks, Json, argument, option
from dsvc.cli.paths import shown_path
from dsvc.history.content import read_range
from dsvc.history.media import Read
from dsvc.history.preview import Preview, preview
from dsvc.history.tables import type_of
from dsvc.history.tree import Tree
from dsvc.model.canonical_json import encode_canonical
from dsvc.model.tree import Entry, EntryKind

__all__ = ["command"]

# Where nobody says which: so many, of all types, from among so many.
_FILES: Final = 10
_LOOKED_AT: Final = 10_000
_WIDEST: Final = 30


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="A version, or `REV:PATH`; by default what is staged.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="The files, or folders to choose some from.", after_dashes=True)
    ] = None,
    *,
    rows: Annotated[int, option("-n", "--rows", metavar="N", help="Show *N* rows of tables, and lines of texts.")] = 10,
    files: Annotated[int, option("--files", metavar="N", help="Choose *N* files of a folder, of all types.")] = _FILES,
    links: AnyLinks = False,
    json: Json = False,
) -> None:
    """Show what the files of a version look like.

    Of tables (CSV, TSV, JSON Lines) the first rows are shown, of Parquet the columns, of JSON and other texts the first
    lines, of images (PNG, JPEG, GIF, WebP) how large they are, and of WAV sounds how long. Only the beginning of a file
    is read, also in a lazy clone.

    What is shown is kept nowhere: no sample of a dataset gets into a commit or to a remote unless somebody adds it as a
    file. The content of links is only looked at as dsvc-link(1) describes.

    Examples:
        $ dsvc preview
        $ dsvc preview v1.0:labels.csv -n 3
        $ dsvc preview HEAD images

    Exit status:
        4 there is no such revision, or it has no such path

    See also:
        dsvc-cat(1), dsvc-stats(1), dsvc-ls(1)
    """
    if rows < 1 or files < 1:
        message = "`--rows` and `--files` cannot be less than 1"
        raise UsageError(message)
    history = open_history()
    text, named = history.split_version(words, paths)
    tree = history.version(text)
    read = _reader(history, links=links)
    for path in named or [b""]:
        entry = tree.get(path) if path else None
        chosen = [entry] if entry is not None and entry.kind != EntryKind.FOLDER else _chosen(tree, path, files)
        if not chosen and path and entry is None:
            raise PathNotFoundError(path, f"`{text}`" if text else "what is staged")
        for one in chosen:
            _show(history, one, read(one), rows, json=json)


def _chosen(tree: Tree, folder: bytes, most: int) -> list[Entry]:
    """Return some files of *folder*: the first of each type, then the second of each, and so on."""
    kinds: dict[str, list[Entry]] = {}
    for entry in islice(tree.entries(folder), _LOOKED_AT):
        if entry.kind != EntryKind.FOLDER:
            some = kinds.setdefault(type_of(entry.path), [])
            if len(some) < most:
                some.append(entry)
    rounds = [some[number] for number in range(most) for some in kinds.values() if number < len(some)]
    return sorted(rounds[:most], key=lambda entry: entry.path)


def _reader(history: History, *, links: bool) -> Callable[[Entry], Read | None]:
    """Return what reads parts of an entry; None for a link that may not be followed."""

    def read(entry: Entry) -> Read | None:
        if entry.kind != EntryKind.EXTERNAL:
            return lambda start, stop: b"".join(read_range(history.objects, entry, start, stop))
        from dsvc.cli.links import open_links
        from dsvc.datasets.link_policy import LinkNotAllowedError
        from dsvc.datasets.links import linked_entries

        (linked,) = linked_entries(history.objects, [entry])
        opened = open_links(history.worktree, anything=links)
        try:
            opened.check_allowed([linked])
        except LinkNotAllowedError:
            return None
        return lambda start, stop: b"".join(opened.read(linked, start, stop))

    return read


def _show(history: History, entry: Entry, read: Read | None, rows: int, *, json: bool) -> None:
    found = None if read is None else preview(entry.path, entry.size, read, rows=rows)
    if json:
        record = {} if found is None else _record(found)
        console.out_json({**console.json_path(entry.path), "size": entry.size, **record})
        return
    path = shown_path(history.worktree.root, entry.path)
    console.out(console.paint(f"{path} ({console.format_size(entry.size)})", "bold"))
    for line in ["a link, which nobody here has named"] if found is None else _lines(found):
        console.out(f"  {line}".rstrip())
    console.out()


def _record(found: Preview) -> dict[str, object]:
    record: dict[str, object] = {
        name: value for name, value in msgspec.structs.asdict(found).items() if value is not None and value != ()
    }
    return record | ({} if found.first is None else {"first": found.first.hex()})


def _lines(found: Preview) -> Iterator[str]:
    width = max(40, shutil.get_terminal_size((100, 24)).columns) - 2
    if found.image is not None:
        yield f"{found.image.format} image, {found.image.width:,} x {found.image.height:,} pixels"
    elif found.sound is not None:
        sound = found.sound
        channels = console.plural(sound.channels, "channel")
        yield f"{sound.format} sound, {sound.seconds:,.1f} seconds, {channels}, {sound.rate:,} Hz"
    elif found.columns:
        if found.total is not None:
            yield console.plural(found.total, "row")
            yield from (_cut(column, width) for column in found.columns)
        else:
            yield from _table(found.columns, found.rows, width)
    elif found.first is not None:
        yield f"binary, beginning with {found.first.hex(' ')}" if found.first else "empty"
    else:
        yield from (_cut(line, width) for line in found.lines or ["empty"])


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> Iterator[str]:
    """Yield the lines of a table as wide as the terminal: what does not fit is cut, and columns are left out."""
    cells = [[_cut(_cell(value), _WIDEST) for value in row] for row in [columns, *rows]]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    fitting, used = 0, 0
    while fitting < len(widths) and (not fitting or used + widths[fitting] <= width):
        used += widths[fitting] + 2
        fitting += 1
    are_numbers = [_is_number(row[number] for row in rows) for number in range(fitting)]
    for row in cells:
        shown = zip(row[:fitting], widths, are_numbers, strict=False)
        line = "  ".join(cell.rjust(size) if is_number else cell.ljust(size) for cell, size, is_number in shown)
        yield console.paint(line.rstrip(), "cyan") if row is cells[0] else line.rstrip()
    if fitting < len(columns):
        yield f"... and {console.plural(len(columns) - fitting, 'more column', 'more columns')}"


def _is_number(values: Iterable[object]) -> bool:
    """Tell whether all *values* that are not empty are numbers, as themselves or as text."""
    found = [value for value in values if value not in (None, "")]
    for value in found:
        try:
            float(value)  # type: ignore[arg-type]  # whatever is none, is not
        except (TypeError, ValueError):
            return False
    return bool(found)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str, width: int) -> str:
    """Return *text* in at most *width* characters, without any that a terminal would act upon."""
    first = text.rstrip("\r")[: width + 1]
    shown = "".join(character if character.isprintable() else _escape(character) for character in first)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def _escape(character: str) -> str:
    return "  " if character == "\t" else encode_canonical(character)[1:-1] if ord(character) < 32 else "?"
