"""dsvc du: how much room a version takes."""

from collections.abc import Iterator
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import working_folder
from dsvc.history.revisions import peel, resolve_any
from dsvc.history.tree import Tree
from dsvc.history.usage import Usage, exclusive_chunks, usage_by_folder
from dsvc.history.walk import ancestors
from dsvc.model.ids import ObjectId
from dsvc.model.paths import display_path

__all__ = ["command"]


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="A version, or `REV:PATH`; by default what is staged.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="What to measure, and not this folder.", after_dashes=True)
    ] = None,
    *,
    depth: Annotated[int, option("-d", "--max-depth", metavar="N", help="Show folders down to *N* levels too.")] = 0,
    exclusive: Annotated[
        bool, option("-x", "--exclusive", help="Also show what is shared with other versions, and what is not.")
    ] = False,
    human: Annotated[bool, option("-h", "--human-readable", help="Show sizes in KiB, MiB and so on.")] = False,
    null: NullTerminated = False,
    json: Json = False,
) -> None:
    """Show how much room the files of a version take.

    The columns are the bytes of the files (raw), and the bytes that their chunks take in the store, each
    counted once, where it is met first (stored). A chunk's room is its share of the frame that it is
    compressed in. Trees and commits are not counted.

    With `-x` there are two more: the stored bytes that at least one other version has too (shared), and those
    that no other has (exclusive). The other versions are all commits that HEAD, a branch, a tag or a
    remote's branch reaches. The trees of all of them are compared, so this takes longer where the
    history is long; memory follows the chunks of the version, 100 MB for a million.

    Examples:
        $ dsvc du -h
        532.0 MiB  530.9 MiB  .
        $ dsvc du -h -d1 v1.0
        $ dsvc du -x HEAD~3 images

    Exit status:
        4 there is no such revision, or it has no such path

    See also:
        dsvc-ls(1), dsvc-fsck(1), dsvc-revisions(7)
    """
    if depth < 0:
        message = "`--max-depth` cannot be negative"
        raise UsageError(message)
    history = open_history()
    text, named = history.split_version(words, paths)
    tree = history.version(text)
    places = named or [working_folder(history.worktree)]
    for path in places:
        if path and named and next(tree.entries(path), None) is None:
            raise PathNotFoundError(path, f"`{text}`" if text else "what is staged")
    alone = exclusive_chunks(history.objects, tree, places, _others(history, text)) if exclusive else set()
    seen: set[bytes] = set()
    absent = 0
    for path in places:
        for usage in usage_by_folder(history.objects, tree, path, depth=depth, exclusive=alone, seen=seen):
            _print(history, usage, exclusive=exclusive, human=human, null=null, json=json)
        absent += usage.absent
    if absent:
        console.warn(f"{console.format_size(absent)} of the files are not in this store, and not counted as stored")


def _others(history: History, text: str | None) -> Iterator[Tree]:
    """Yield the trees of all versions but the one that is measured."""
    own = _own(history, text)
    for commit_id in ancestors(history.commits, history.tips()):
        if commit_id != own:
            yield history.commits.tree(commit_id)


def _own(history: History, text: str | None) -> ObjectId | None:
    if text:
        store = history.worktree.store
        return peel(store, resolve_any(store, history.state, text, head=history.head)).id
    # While nothing is staged, what is staged is HEAD.
    return None if history.worktree.session(history.state).staged else history.head.commit


def _print(history: History, usage: Usage, *, exclusive: bool, human: bool, null: bool, json: bool) -> None:
    stored, alone = round(usage.stored), round(usage.exclusive)
    if json:
        record: dict[str, object] = {"files": usage.files, "raw": usage.raw, "stored": stored, "absent": usage.absent}
        if exclusive:
            record |= {"shared": stored - alone, "exclusive": alone}
        console.out_json({**console.json_path(usage.path), **record})
        return
    sizes = [usage.raw, stored, *([stored - alone, alone] if exclusive else [])]
    columns = [f"{console.format_size(size) if human else size:>10}" for size in sizes]
    shown = display_path(usage.path) if null else shown_path(history.worktree.root, usage.path).removesuffix("/")
    console.out(f"{'  '.join(columns)}  {shown}", "\0" if null else "\n")
