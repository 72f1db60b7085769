"""dsvc ls: the files of a version."""

from collections.abc import Iterator
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.changes import entry_record, folder_record
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import working_folder
from dsvc.history.metadata import printable
from dsvc.history.tree import Folder, Tree
from dsvc.model.canonical_json import decode_canonical
from dsvc.model.extension import Extension
from dsvc.model.paths import display_path
from dsvc.model.tree import Entry, EntryKind

__all__ = ["command"]

_TOGETHER: Final = 1000


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="A version, or `REV:PATH`; by default what is staged.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="What to list, and not this folder.", after_dashes=True)
    ] = None,
    *,
    long: Annotated[bool, option("-l", "--long", help="Show kind, size and digest too.")] = False,
    recursive: Annotated[bool, option("-r", "--recursive", help="List all files below, and no folders.")] = False,
    directory: Annotated[bool, option("-d", "--directory", help="List a folder itself, not what is in it.")] = False,
    human: Annotated[bool, option("-h", "--human-readable", help="Show sizes in KiB, MiB and so on.")] = False,
    meta: Annotated[bool, option("--meta", help="Show what is said of each file, as JSON.")] = False,
    null: NullTerminated = False,
    json: Json = False,
) -> None:
    """List the files of a version.

    Without *REVISION*, what is staged is listed: the version that the next commit would make. A
    folder ends with a slash. The files themselves are not looked at, and need not be here.

    With `-l`, the columns are kind, size in bytes, digest, and path; the digest is what `b3sum` prints
    of the file. The size of a folder is that of all files below. The content of a link, whose kind is
    `external`, is elsewhere: after its path, `->` shows where. Its digest is known once somebody has read it.

    Examples:
        $ dsvc ls
        $ dsvc ls -l v1.0 images
        $ dsvc ls -r -z HEAD | xargs -0 -n1

    Exit status:
        4 there is no such revision, or it has no such path

    See also:
        dsvc-cat(1), dsvc-du(1), dsvc-meta(1), dsvc-show(1), dsvc-status(1), dsvc-revisions(7)
    """
    history = open_history()
    text, named = history.split_version(words, paths)
    tree = history.version(text)
    printer = _Printer(history, long=long, human=human, meta=meta, null=null, json=json)
    for path in named or [working_folder(history.worktree)]:
        empty = True
        for entry in _listed(tree, path, recursive=recursive, directory=directory):
            empty = False
            printer.add(entry)
        printer.flush()
        # An empty version has an empty root, and the working folder may hold nothing that is tracked.
        if empty and path and named:
            raise PathNotFoundError(path, f"`{text}`" if text else "what is staged")


def _listed(tree: Tree, path: bytes, *, recursive: bool, directory: bool) -> Iterator[Entry | Folder]:
    entry = tree.get(path) if path else None
    if entry is not None:
        yield entry
    elif directory:
        totals = tree.totals(path)
        if next(tree.entries(path), None) is not None:
            yield Folder(path, *totals)
    else:
        yield from tree.entries(path) if recursive else tree.list_folder(path)


class _Printer:
    """Prints one entry after another; what more there is about some of them is read for many at once."""

    def __init__(self, history: History, *, long: bool, human: bool, meta: bool, null: bool, json: bool) -> None:
        self._objects = history.objects
        self._root = history.worktree.root
        self._waiting: list[Entry | Folder] = []
        self._long = long
        self._human = human
        self._meta = meta
        self._null = null
        self._json = json

    def add(self, entry: Entry | Folder) -> None:
        """Print a file or a folder, now or soon."""
        if not (self._long or self._json or self._meta):
            self._print(entry, None)
            return
        self._waiting.append(entry)
        if len(self._waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Print what was not yet printed."""
        extended = [one for one in self._waiting if isinstance(one, Entry) and one.extension is not None]
        found: dict[Entry, Extension] = {}
        if extended:
            # Most versions have none, and what checks them takes a while to load.
            from dsvc.history.extensions import read_extensions

            found = dict(zip(extended, read_extensions(self._objects, extended), strict=True))
        for entry in self._waiting:
            self._print(entry, found.get(entry) if isinstance(entry, Entry) else None)
        self._waiting.clear()

    def _print(self, entry: Entry | Folder, extension: Extension | None) -> None:
        link, said_of = (None, "{}") if extension is None else (extension.link, extension.metadata)
        if self._json:
            record = folder_record(entry) if isinstance(entry, Folder) else entry_record(entry)
            where = {} if link is None else {"url": link.url}
            said = {} if said_of == "{}" else {"meta": decode_canonical(said_of)}
            console.out_json({**console.json_path(entry.path), **record, **where, **said})
            return
        is_folder = isinstance(entry, Folder) or entry.kind == EntryKind.FOLDER
        path = entry.path + b"/" if is_folder and entry.path else entry.path
        shown = display_path(path) if self._null else shown_path(self._root, path)
        if self._long:
            size = console.format_size(entry.size) if self._human else str(entry.size)
            digest = entry.digest.hex() if isinstance(entry, Entry) else ""
            kind = "folder" if isinstance(entry, Folder) else EntryKind(entry.kind).name.lower()
            shown = f"{kind:10} {size:>12} {digest or '-':64} {shown}{'' if link is None else f' -> {link.url}'}"
        if self._meta and said_of != "{}":
            shown += f" {printable(said_of)}"
        console.out(shown, "\0" if self._null else "\n")
