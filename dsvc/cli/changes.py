"""Changes between two versions, as names, sizes, patches or JSON: for `dsvc diff`, `log` and `show`."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Annotated, Final

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.options import option
from dsvc.history.content import chunks_between, read_content
from dsvc.history.diff import Change, ChangeKind, detect_renames
from dsvc.history.needs import bring_files
from dsvc.history.patch import TEXT_LIMIT, hunks, is_text
from dsvc.history.tree import Folder
from dsvc.model.extension import Link
from dsvc.model.paths import display_path, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectReader

__all__ = [
    "KIND_NAMES",
    "ChangePrinter",
    "NameOnly",
    "NameStatus",
    "NoRenames",
    "Patch",
    "Shape",
    "Stat",
    "entry_record",
    "folder_record",
    "with_renames",
]

NameOnly = Annotated[bool, option("--name-only", help="Show only the paths that changed.")]
NameStatus = Annotated[bool, option("--name-status", help="Show only the paths, and a letter for what happened.")]
Stat = Annotated[bool, option("--stat", help="Show the size of each file before and after.")]
Patch = Annotated[bool, option("-p", "--patch", "-u", help="Show what changed in texts, line by line.")]
NoRenames = Annotated[bool, option("--no-renames", help="Show a renamed file as one that went and one that came.")]

KIND_NAMES: Final = {kind: kind.name.lower() for kind in EntryKind}
_STATES: Final = {kind: kind.name.lower().replace("_", "-") for kind in ChangeKind}
_MODES: Final = {
    EntryKind.FILE: "100644",
    EntryKind.EXECUTABLE: "100755",
    EntryKind.SYMLINK: "120000",
    EntryKind.FOLDER: "040000",
    EntryKind.EXTERNAL: "160000",
}
# How many changes are looked at to choose the width of the column of paths.
_MEASURED: Final = 1000
_WIDEST: Final = 60
_TOGETHER = 256


class Shape(msgspec.Struct, frozen=True):
    """How changes are shown; several of them one after another."""

    names: bool = False
    status: bool = False
    stat: bool = False
    patch: bool = False
    json: bool = False
    null: bool = False

    @classmethod
    def chosen(cls, *, names: bool, status: bool, stat: bool, patch: bool, json: bool, null: bool) -> "Shape":
        """Return what options ask for.

        Raises:
            UsageError: They do not go together.
        """
        if names + status + (stat or patch) > 1:
            message = "choose one of `--name-only`, `--name-status`, and `--stat` or `--patch`"
            raise UsageError(message)
        return cls(names=names, status=status, stat=stat, patch=patch, json=json, null=null)

    def __bool__(self) -> bool:
        return self.names or self.status or self.stat or self.patch


def with_renames(changes: Iterable[Change], *, renames: bool) -> Iterable[Change]:
    """Return *changes*, if *renames* with each deletion and addition of the same content as one."""
    return detect_renames(changes) if renames else changes


class ChangePrinter:
    """Prints changes in one *shape*.

    *read* returns the whole content of an entry. *objects* holds all entries that have a digest.
    """

    def __init__(self, shape: Shape, objects: ObjectReader, read: Callable[[Entry], bytes] | None = None) -> None:
        self._shape = shape
        self._objects = objects
        self._read = read or (lambda entry: read_content(objects, entry))

    def print(self, changes: Iterable[Change]) -> bool:
        """Print *changes*, and tell whether there were any."""
        found = False
        if self._shape.json:
            for change in changes:
                found = True
                console.out_json(change_record(change))
            return found
        end = "\0" if self._shape.null and (self._shape.names or self._shape.status) else "\n"
        for line in self.lines(changes):
            found = True
            console.out(line, end)
        return found

    def lines(self, changes: Iterable[Change]) -> Iterator[str]:
        """Yield what is shown of *changes*, line by line."""
        shape = self._shape
        if shape.names:
            yield from (self._path(change.path) for change in changes)
        elif shape.status:
            yield from map(self._status_line, changes)
        else:
            # Both were asked for together, so the changes are needed twice.
            kept = list(changes) if shape.stat and shape.patch else changes
            if shape.stat:
                yield from _stat(iter(kept))
            if shape.stat and shape.patch and kept:
                yield ""
            if shape.patch:
                for change in self._with_data(kept):
                    yield from self._patch(change)

    def _with_data(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Yield *changes*; the texts of many come together, where they are only promised."""
        remaining = iter(changes)
        while some := list(islice(remaining, _TOGETHER)):
            sides = [side for change in some for side in change if side is not None and side.digest]
            bring_files(self._objects, [side for side in sides if side.size <= TEXT_LIMIT])
            yield from some

    def _path(self, path: bytes) -> str:
        return display_path(path) if self._shape.null else quote_path(path)

    def _status_line(self, change: Change) -> str:
        tab = "\0" if self._shape.null else "\t"
        if change.kind is ChangeKind.RENAMED and change.old is not None:
            # Renames are found by content, so git's percentage is always this one.
            return f"R100{tab}{self._path(change.old.path)}{tab}{self._path(change.path)}"
        return f"{change.kind.value}{tab}{self._path(change.path)}"

    def _patch(self, change: Change) -> Iterator[str]:
        if change.kind is ChangeKind.TYPE_CHANGED:
            # As git: what went and what came have nothing in common.
            yield from self._patch(Change(change.old, None))
            yield from self._patch(Change(None, change.new))
            return
        yield from (console.paint(line, "bold") for line in _header(change))
        for line, colour in self._extension(change):
            yield console.paint(line, colour)
        old, new = change
        if old is not None and new is not None and old.digest == new.digest and old.digest:
            return
        for line, colour in self._body(change):
            yield console.paint(line, colour) if colour else line

    def _body(self, change: Change) -> Iterator[tuple[str, str]]:
        sides = [side for side in change if side is not None and side.kind <= EntryKind.SYMLINK]
        if not any(side.size for side in sides):
            return
        names = [_name(b"a/", change.old), _name(b"b/", change.new)]
        old = new = b"\0"
        if all(side.size <= TEXT_LIMIT for side in sides):
            old, new = (self._read(side) if side in sides else b"" for side in change)
        if not (is_text(old) and is_text(new)):
            yield f"Binary files {names[0]} and {names[1]} differ: {self._difference(change)}", ""
            return
        yield f"--- {names[0]}", "bold"
        yield f"+++ {names[1]}", "bold"
        for hunk in hunks(old, new):
            yield display_path(hunk.header), "cyan"
            for line in hunk.lines:
                yield display_path(line), {b"-": "red", b"+": "green"}.get(line[:1], "")

    def _extension(self, change: Change) -> Iterator[tuple[str, str]]:
        """Yield what changed of what more there is about an entry: where its content is, and what people say of it."""
        old, new = change
        if (None if old is None else old.extension) == (None if new is None else new.extension):
            return
        from dsvc.history.extensions import read_extensions  # few entries have one
        from dsvc.history.metadata import printable

        for side, sign, colour in zip(change, "-+", ("red", "green"), strict=True):
            if side is None:
                continue
            (extension,) = read_extensions(self._objects, [side])
            if extension.link is not None:
                yield f"{sign}link {_link(side, extension.link)}", colour
            if extension.metadata != "{}":
                yield f"{sign}metadata {printable(extension.metadata)}", colour

    def _difference(self, change: Change) -> str:
        sizes = _sizes(change)
        old, new = change
        if old is None or new is None or not (old.digest and new.digest):
            return sizes
        known = {span.chunk.id for span in chunks_between(self._objects, old)}
        here = [span.chunk.id for span in chunks_between(self._objects, new)]
        shared = sum(chunk in known for chunk in here)
        return f"{sizes}, {shared:,} of {console.plural(len(here), 'chunk')} shared"


def _stat(changes: Iterator[Change]) -> Iterator[str]:
    """Yield a line with the sizes for each change, and one for all of them."""
    first = list(islice(changes, _MEASURED))
    width = min(max((len(_stat_name(change)) for change in first), default=0), _WIDEST)
    counts = dict.fromkeys(ChangeKind, 0)
    more = less = 0
    for change in chain(first, changes):
        before, after = _size(change.old), _size(change.new)
        counts[change.kind] += 1
        more, less = more + max(0, after - before), less + max(0, before - after)
        yield f" {_stat_name(change):{width}} | {_sizes(change)}{_growth(after - before)}{_new_mode(change)}"
    total = sum(counts.values())
    if total:
        told = [f"{count:,} {_STATES[kind]}" for kind, count in counts.items() if count]
        yield f" {console.plural(total, 'file')} changed: {', '.join(told)}{_growth(more)}{_growth(-less)}"


def _stat_name(change: Change) -> str:
    if change.kind is ChangeKind.RENAMED and change.old is not None:
        return f"{quote_path(change.old.path)} => {quote_path(change.path)}"
    return quote_path(change.path)


def _size(entry: Entry | None) -> int:
    return 0 if entry is None else entry.size


def _sizes(change: Change) -> str:
    return f"{console.format_size(_size(change.old))} → {console.format_size(_size(change.new))}"


def _growth(size: int) -> str:
    if not size:
        return ""
    sign, colour = ("+", "green") if size > 0 else ("-", "red")
    return "  " + console.paint(sign + console.format_size(abs(size)), colour)


def _new_mode(change: Change) -> str:
    old, new = change
    if old is None or new is None or old.kind == new.kind:
        return ""
    return f"  mode {_MODES[EntryKind(old.kind)]} → {_MODES[EntryKind(new.kind)]}"


def _name(prefix: bytes, entry: Entry | None) -> str:
    return "/dev/null" if entry is None else quote_path(prefix + entry.path)


def _header(change: Change) -> Iterator[str]:
    old, new = change
    before, after = old or new, new or old
    assert before is not None and after is not None  # noqa: S101, PT018 (a change has a side)
    yield f"diff --git {quote_path(b'a/' + before.path)} {quote_path(b'b/' + after.path)}"
    modes = [_MODES[EntryKind(side.kind)] for side in (before, after)]
    if old is None:
        yield f"new file mode {modes[1]}"
    elif new is None:
        yield f"deleted file mode {modes[0]}"
    elif modes[0] != modes[1]:
        yield f"old mode {modes[0]}"
        yield f"new mode {modes[1]}"
    if before.path != after.path:
        yield "similarity index 100%"
        yield f"rename from {quote_path(before.path)}"
        yield f"rename to {quote_path(after.path)}"
    if old is None or new is None or old.digest != new.digest or not old.digest:
        kept = f" {modes[0]}" if old is not None and new is not None and modes[0] == modes[1] else ""
        yield f"index {_short(old)}..{_short(new)}{kept}"


def _link(entry: Entry, link: Link) -> str:
    """Return where the content of an external *entry* is, and in which state."""
    tag = f"version {link.version_id}" if link.version_id else f"etag {link.etag}" if link.etag else ""
    modified = console.format_iso_date(link.modified, 0) if link.modified else ""
    return " ".join(filter(None, (link.url, console.format_size(entry.size), tag, modified)))


def _short(entry: Entry | None) -> str:
    # What is not stored yet has no digest here: as git's, its place is taken by zeros.
    return entry.digest.hex()[:10] if entry is not None and entry.digest else "0" * 10


def entry_record(entry: Entry) -> dict[str, object]:
    """Return *entry* for JSON, without its path."""
    return {
        "kind": KIND_NAMES[EntryKind(entry.kind)],
        "size": entry.size,
        "digest": entry.digest.hex() or None,
        "blob": None if entry.blob is None else entry.blob.hex(),
    }


def folder_record(folder: Folder) -> dict[str, object]:
    """Return *folder* for JSON, without its path."""
    return {"kind": "folder", "files": folder.files, "size": folder.size}


def change_record(change: Change) -> dict[str, object]:
    """Return *change* for JSON."""
    record: dict[str, object] = {"kind": "change", **console.json_path(change.path), "change": _STATES[change.kind]}
    if change.kind is ChangeKind.RENAMED and change.old is not None:
        record |= {f"old_{key}": value for key, value in console.json_path(change.old.path).items()}
    return record | {
        "old": None if change.old is None else entry_record(change.old),
        "new": None if change.new is None else entry_record(change.new),
    }
