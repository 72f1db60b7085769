"""dsvc show: one version, tag, tree or file."""

from collections.abc import Iterable
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.changes import (
    ChangePrinter,
    NameOnly,
    NameStatus,
    NoRenames,
    Patch,
    Shape,
    Stat,
    entry_record,
    folder_record,
    with_renames,
)
from dsvc.cli.commit_text import CommitPrinter, Decorate, Format, Oneline, decorations
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.history.content import read_range
from dsvc.history.diff import Change
from dsvc.history.revisions import Target, resolve_any, split_path
from dsvc.history.tree import Folder, Tree
from dsvc.model.blob import Blob
from dsvc.model.codec import decode
from dsvc.model.commit import Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import display_path, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.worktree.diff import diff_versions
from dsvc.worktree.pathspec import Pathspec

__all__ = ["command"]


def command(
    objects: Annotated[
        tuple[str, ...], argument("OBJECT", help="A revision, a tag, `REV:PATH`, or any object's id; by default HEAD.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Show only changes of these.", after_dashes=True)
    ] = None,
    *,
    oneline: Oneline = False,
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    patch: Patch = False,
    no_patch: Annotated[bool, option("-s", "--no-patch", help="Show no changes.")] = False,
    no_renames: NoRenames = False,
    format: Format = None,
    decorate: Decorate = "auto",
    null: NullTerminated = False,
    json: Json = False,
) -> None:
    """Show a commit, a tag, or the content of a file.

    Of a commit, the message and the size of each file that it changed, before and after; with `-p`,
    what changed in texts. The changes of a merge, or of a dataset that inherits from several, are those
    from its first parent. A tag is shown with its commit, a tree as a list, and
    `REV:PATH` as the bytes of the file, or as a list if it is a folder.

    With `--json`, a commit is an object of kind `commit`, with an object of kind `change` after it for
    each file.

    Examples:
        $ dsvc show
        $ dsvc show v1.0 --name-status
        $ dsvc show HEAD~2:data/labels.csv

    Exit status:
        4 there is no such object, or no commit yet

    See also:
        dsvc-log(1), dsvc-diff(1), dsvc-cat(1), dsvc-ls(1), dsvc-revisions(7)
    """
    shape = Shape.chosen(names=name_only, status=name_status, stat=stat, patch=patch, json=json, null=null)
    if no_patch:
        shape = Shape(json=json)
    elif not shape:
        shape = Shape(stat=True, json=json)
    history = open_history()
    _, pathspec = history.split((), paths or ())
    with console.pager(history.worktree.config):
        shows_refs = json or decorate in ("short", "full") or (decorate == "auto" and console.is_terminal())
        refs = decorations(history, full=decorate == "full") if shows_refs else {}
        now = history.worktree.store.context.now()[0]
        printer = CommitPrinter("oneline" if oneline else format, refs, now=now, inputs=True, meta=True)
        shower = _Shower(history, printer, shape, pathspec, renames=not no_renames)
        for number, text in enumerate(objects or ("HEAD",)):
            if number and not json:
                console.out()
            shower.show(text)


class _Shower:
    """Prints whatever a text names."""

    def __init__(
        self, history: History, printer: CommitPrinter, shape: Shape, pathspec: Pathspec, *, renames: bool
    ) -> None:
        self._history = history
        self._printer = printer
        self._shape = shape
        self._pathspec = pathspec
        self._renames = renames

    def show(self, text: str) -> None:
        """Print the object that *text* names."""
        revision, path = split_path(text)
        if path is not None:
            self._show_path(text, self._history.version(revision), self._history.path_in_version(path))
            return
        history = self._history
        target = resolve_any(history.worktree.store, history.state, text, head=history.head)
        if target.kind == Kind.TAG:
            target = self._show_tags(target)
        if target.kind == Kind.COMMIT:
            self._show_commit(target.id)
        elif target.kind == Kind.PAGE:
            self._show_tree(text, Tree(history.objects, target.id), b"")
        elif target.kind == Kind.CHUNK:
            console.out_bytes(history.objects.read(Kind.CHUNK, target.id))
        elif target.kind == Kind.BLOB:
            self._show_blob(target.id)

    def _show_tags(self, target: Target) -> Target:
        """Print a tag, and the tags that it names, and return what the last one names."""
        objects = self._history.objects
        while target.kind == Kind.TAG:
            tag = decode(Tag, objects.read(Kind.TAG, target.id))
            if self._shape.json:
                console.out_json(_tag_record(target.id, tag))
            else:
                console.out(console.paint(f"tag {tag.name}", "yellow"))
                console.out(f"Tagger: {tag.tagger}")
                console.out(f"Date:   {console.format_date(tag.time, tag.offset)}")
                console.out("\n" + tag.message.rstrip("\n") + "\n")
            named = ObjectId(tag.target)
            target = Target(named, objects.kind_of(named) or Kind.COMMIT)
        return target

    def _show_commit(self, commit_id: ObjectId) -> None:
        commit = self._history.commits.get(commit_id)
        if self._shape.json:
            console.out_json(self._printer.record(commit_id, commit))
        else:
            for line in self._printer.lines(commit_id, commit):
                console.out(line)
            if self._shape and self._printer.is_block:
                console.out()
        if self._shape:
            ChangePrinter(self._shape, self._history.objects).print(self._changes(commit_id))

    def _changes(self, commit_id: ObjectId) -> Iterable[Change]:
        commits = self._history.commits
        parents = commits.parents(commit_id)
        old = commits.tree(parents[0] if parents else None)
        changes = diff_versions(old, commits.tree(commit_id), self._pathspec)
        return with_renames(changes, renames=self._renames and bool(parents))

    def _show_path(self, text: str, tree: Tree, path: bytes) -> None:
        entry = tree.get(path) if path else None
        if entry is not None and entry.kind != EntryKind.FOLDER:
            for piece in read_range(self._history.objects, entry):
                console.out_bytes(piece)
        elif entry is None and path and next(tree.list_folder(path), None) is None:
            raise PathNotFoundError(path, f"`{split_path(text)[0] or 'what is staged'}`")
        else:
            self._show_tree(text, tree, path)

    def _show_tree(self, text: str, tree: Tree, folder: bytes) -> None:
        found = [entry for entry in tree.list_folder(folder) if not (isinstance(entry, Entry) and entry.path == folder)]
        if self._shape.json:
            for entry in found:
                record = folder_record(entry) if isinstance(entry, Folder) else entry_record(entry)
                console.out_json({**console.json_path(entry.path), **record})
            return
        console.out(console.paint(f"tree {text}", "yellow") + "\n")
        for entry in found:
            name = entry.path[len(folder) + 1 :] if folder else entry.path
            slash = "/" if isinstance(entry, Folder) or entry.kind == EntryKind.FOLDER else ""
            console.out((display_path(name) if self._shape.null else quote_path(name)) + slash)

    def _show_blob(self, blob_id: ObjectId) -> None:
        blob = decode(Blob, self._history.objects.read(Kind.BLOB, blob_id))
        for item in blob.items:
            if blob.level:
                self._show_blob(ObjectId(item.id))
            else:
                console.out_bytes(self._history.objects.read(Kind.CHUNK, item.id))


def _tag_record(tag_id: ObjectId, tag: Tag) -> dict[str, object]:
    return {
        "kind": "tag",
        "tag": tag_id.hex(),
        "name": tag.name,
        "target": tag.target.hex(),
        "tagger": tag.tagger,
        "time": tag.time,
        "message": tag.message,
    }
