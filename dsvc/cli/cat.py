"""dsvc cat: the content of files, whole or in part."""

import re
from collections.abc import Iterator
from typing import Annotated, Final, NamedTuple

from dsvc.cli import console
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import AnyLinks, argument, option
from dsvc.cli.paths import tree_path
from dsvc.errors import InvalidInputError
from dsvc.history.content import NoContentError, read_range
from dsvc.history.revisions import UnknownRevisionError, split_path
from dsvc.history.tree import Tree
from dsvc.model.tree import Entry, EntryKind

__all__ = ["command"]

_RANGE: Final = re.compile(r"(-?[0-9]{1,18}[kKmMgG]?)?(?::(-?[0-9]{1,18}[kKmMgG]?)?|\+([0-9]{1,18}[kKmMgG]?))")
_UNITS: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class ByteRange(NamedTuple):
    """Bytes from *start* up to before *stop*, or *length* of them; negative places count from the end."""

    start: int | None
    stop: int | None
    length: int | None

    def of(self, size: int) -> tuple[int, int]:
        """Return the bounds in a file of *size* bytes."""
        start = _place(self.start or 0, size)
        if self.length is not None:
            return start, min(size, start + self.length)
        return start, size if self.stop is None else _place(self.stop, size)


def _place(place: int, size: int) -> int:
    return min(place, size) if place >= 0 else max(0, size + place)


def parse_range(text: str) -> ByteRange:
    """Read `START:STOP` or `START+LENGTH`; a missing side is the beginning or the end.

    Raises:
        InvalidInputError: It is neither.
    """
    found = _RANGE.fullmatch(text)
    if not found:
        message = f"not a range of bytes: `{text}`; write START:STOP or START+LENGTH"
        raise InvalidInputError(message)
    start, stop, length = (None if part is None else _number(part) for part in found.groups())
    return ByteRange(start, stop, length)


def _number(text: str) -> int:
    unit = _UNITS.get(text[-1].lower())
    return int(text[:-1]) * unit if unit else int(text)


def command(
    files: Annotated[tuple[str, ...], argument("FILE", help="`REV:PATH`, or a path of what is staged.")],
    paths: Annotated[tuple[bytes, ...] | None, argument("PATH", help="Paths only.", after_dashes=True)] = None,
    *,
    revision: Annotated[
        str | None, option("--rev", "--revision", metavar="REVISION", help="Take the paths from *REVISION*.")
    ] = None,
    range: Annotated[
        ByteRange | None,
        option("--range", metavar="RANGE", parse=parse_range, help="Only these bytes: `START:STOP` or `START+LENGTH`."),
    ] = None,
    links: AnyLinks = False,
) -> None:
    """Print the content of files.

    The bytes are printed as they are, one file after the other; of a symlink, its target. Without a
    revision, they are those that are staged, not those of the file in the working folder.
    The path in `REV:PATH` starts at the root of the repository, or, written `REV:./PATH`, at the working
    folder; `:PATH` is what is staged.

    Of a *RANGE* only the chunks are read that hold it. *START* and *STOP* count bytes from the beginning,
    or from the end if they are negative, and may end in `k`, `M` or `G`; *STOP* itself is left out.

    The content of a link is read from where it is, as dsvc-link(1) describes, and verified against what the link pins.

    Examples:
        $ dsvc cat v1.0:labels.csv | head
        $ dsvc cat --rev HEAD~1 labels.csv
        $ dsvc cat --range 1G+4k HEAD:video.mp4 > piece
        $ dsvc cat --range -100: log.txt

    Exit status:
        4 there is no such revision, or it has no such path, or nothing is where a link leads
        8 what a link leads to has changed
        10 a link leads where nobody here has allowed it

    See also:
        dsvc-ls(1), dsvc-show(1), dsvc-revisions(7)
    """
    history = open_history()
    # All are found before the first byte is printed.
    chosen = [_named(history, file, revision) for file in files]
    within = [tree_path(history.worktree.root, path) for path in paths or ()]
    chosen += [_entry(history.version(revision), path, revision) for path in within]
    for entry in chosen:
        start, stop = range.of(entry.size) if range else (0, entry.size)
        for piece in _read(history, entry, start, stop, links=links):
            console.out_bytes(piece)


def _read(history: History, entry: Entry, start: int, stop: int, *, links: bool) -> Iterator[bytes]:
    if entry.kind != EntryKind.EXTERNAL:
        return read_range(history.objects, entry, start, stop)
    # Few files are links, and what follows those takes a while to load.
    from dsvc.cli.links import open_links
    from dsvc.datasets.links import linked_entries

    (linked,) = linked_entries(history.objects, [entry])
    return open_links(history.worktree, anything=links).read(linked, start, stop)


def _named(history: History, file: str, revision: str | None) -> Entry:
    """Return what *file* names: `REV:PATH`, or a path."""
    text, path = split_path(file)
    if path is not None and revision is None:
        try:
            return _entry(history.version(text), history.path_in_version(path), text)
        except UnknownRevisionError:
            # A path may hold a colon.
            whole = tree_path(history.worktree.root, file.encode("utf-8", "surrogateescape"))
            if history.version(None).get(whole) is None:
                raise
    whole = tree_path(history.worktree.root, file.encode("utf-8", "surrogateescape"))
    return _entry(history.version(revision), whole, revision)


def _entry(tree: Tree, path: bytes, revision: str | None) -> Entry:
    entry = tree.get(path) if path else None
    if entry is not None:
        return entry
    if not path or next(tree.entries(path), None) is not None:
        raise NoContentError(path)
    raise PathNotFoundError(path, f"`{revision}`" if revision else "what is staged")
