"""Saying something of versions and of files: staged for the next commit, or in a commit of its own.

What is said of a version goes on to the next one, like its files, until it is changed. What is said of a file is
part of its entry, and stays with it when it is moved, and when its content changes.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError, RefusedError
from dsvc.history.commits import Commits, new_commit
from dsvc.history.extensions import MetadataTooLargeError, extension_metadata, read_extensions, write_extension
from dsvc.history.metadata import commit_meta, patch_between, patched, with_part
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS
from dsvc.log.state import State
from dsvc.model.canonical_json import JsonObject, decode_canonical, encode_canonical
from dsvc.model.codec import encode
from dsvc.model.extension import MAX_METADATA_LENGTH
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Entry, EntryKind
from dsvc.worktree.add import PathspecError
from dsvc.worktree.commit import read_draft
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.stage import Edit, stage
from dsvc.worktree.stat_cache import Row, entry_from_row, pack_row
from dsvc.worktree.status import staged_cache
from dsvc.worktree.worktree import Worktree

__all__ = [
    "TABLES",
    "NotABranchError",
    "change_meta",
    "change_meta_of_branch",
    "change_meta_of_files",
    "staged_as",
    "staged_meta",
    "version_meta",
]

# Tables are files of the version like any other, in this folder.
TABLES: Final = b".dsvcmeta"

Change = Callable[[JsonObject], JsonObject]


class NotABranchError(RefusedError):
    """A finished version was to be changed, which only what comes after it can."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"`{revision}` is no branch, and what was said of a finished version stays said")
        self.revision = revision


def version_meta(worktree: Worktree, commit_id: ObjectId | None) -> JsonObject:
    """Return what people say of a version, nothing before the first."""
    return {} if commit_id is None else commit_meta(worktree.commit_of(commit_id))


def staged_meta(worktree: Worktree, state: State) -> JsonObject:
    """Return what the next commit will say."""
    session = worktree.session(state)
    base = _before(worktree, state)
    return patched(base, decode_canonical(session.metadata)) if session.metadata else base


def _before(worktree: Worktree, state: State) -> JsonObject:
    """Return what the next commit would say if nothing of that were staged."""
    session = worktree.session(state)
    draft = read_draft(worktree, session)
    return version_meta(worktree, session.commit(state)) if draft is None else commit_meta(draft)


def staged_as(base: JsonObject, meta: JsonObject) -> str:
    """Return how a session holds *meta*, where the next commit would say *base*.

    Raises:
        MetadataTooLargeError: It is too much.
    """
    _check_length(encode_canonical(meta))
    patch = patch_between(base, meta)
    return encode_canonical(patch) if patch else ""


def _check_length(text: str) -> None:
    length = len(text.encode())
    if length > MAX_METADATA_LENGTH:
        raise MetadataTooLargeError(length)


def change_meta(worktree: Worktree, change: Change) -> bool:
    """Stage what *change* makes of what the next commit would say; return whether it is something else.

    Raises:
        MetadataTooLargeError, UnsayableError: It cannot be kept.
        SwitchInterruptedError: A checkout was cut short.
    """
    changed = False

    def build(state: State) -> list[RefChange] | None:
        nonlocal changed
        session = worktree.session(state)
        refuse_interrupted(session)
        meta = change(staged_meta(worktree, state))
        text = staged_as(_before(worktree, state), meta)
        changed = text != session.metadata
        return [session.change(state, metadata=text)] if changed else None

    worktree.store.publish(build)
    return changed


def change_meta_of_branch(store: Store, state: State, branch: str, change: Change, message: str) -> ObjectId | None:
    """Commit the tree of *branch* again, with what *change* makes of what its last version says.

    Returns the new commit, None if nothing changed. What is staged stays so.

    Raises:
        NotABranchError: There is no such branch.
        MetadataTooLargeError, UnsayableError: It cannot be kept.
        RefMovedError: Another process was faster.
    """
    ref = f"{HEADS}{branch}"
    value = state.value(ref)
    if value is None:
        raise NotABranchError(branch)
    old_id = ObjectId.from_hex(value)
    old = Commits(store.objects).get(old_id)
    meta = change(commit_meta(old))
    metadata = with_part(with_part(old.metadata, "meta", meta), "run", None)
    _check_length(metadata)
    if meta == commit_meta(old):
        return None
    writer = store.writer()
    made = new_commit(store.context, Tree(store.objects, old.tree), [old_id], message, metadata=metadata)
    commit_id = writer.write(Kind.COMMIT, encode(made))
    sealed = [writer.seal()]

    store.publish(lambda _: [RefChange(ref, value, commit_id.hex())], sealed)
    return commit_id


def change_meta_of_files(
    worktree: Worktree, state: State, pathspec: Pathspec, change: Callable[[bytes, JsonObject], JsonObject]
) -> int:
    """Stage what *change* makes of what is said of each file at *pathspec*; return how many are said something else of.

    Links and symlinks count as files. What is in conflict stays so: what its content is to be is another question.

    Raises:
        PathspecError: A word matches nothing that is staged.
        MetadataTooLargeError, UnsayableError: It cannot be kept.
        SwitchInterruptedError: A checkout was cut short.
        OutsideSparseError: Files are named that a sparse worktree leaves out.
    """
    refuse_interrupted(worktree.session(state))
    worktree.sparse.refuse_outside(pathspec.named)
    cache = staged_cache(worktree, state)
    found: list[tuple[Entry, bytes]] = []
    for folder in pathspec.folders:
        for key, fingerprint, packed in cache.rows(folder):
            entry = entry_from_row(key, packed)
            if entry.kind != EntryKind.FOLDER and (not pathspec.patterns or pathspec.matches(entry.path)):
                found.append((entry, fingerprint))
    for word in pathspec.unmatched([entry.path for entry, _ in found]):
        if word:
            raise PathspecError(word, "tracked files")
    writer = worktree.store.writer()
    edits: list[Edit] = []
    rows: list[Row] = []
    extensions = read_extensions(worktree.store.objects, [entry for entry, _ in found])
    try:
        for (entry, fingerprint), extension in zip(found, extensions, strict=True):
            meta = change(entry.path, extension_metadata(extension))
            new = msgspec.structs.replace(entry, extension=write_extension(writer, extension.link, meta))
            if new != entry:
                edits.append((entry.path, new))
                rows.append(pack_row(new, fingerprint))
    except InvalidInputError:
        writer.discard()
        raise
    stage(worktree, writer, edits, rows, decides=False)
    return len(edits)
