"""How the files differ from what is staged, or from a version."""

import os
from collections.abc import Iterator

from dsvc.history.diff import Change, diff_trees
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.paths import path_key, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.compare import content_digest
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found
from dsvc.worktree.status import is_changed, unstaged_changes
from dsvc.worktree.worktree import Worktree

__all__ = ["diff_from_version", "diff_unstaged", "diff_versions", "read_file"]


def diff_versions(old: Tree, new: Tree, pathspec: Pathspec) -> Iterator[Change]:
    """Yield the changes of the paths of *pathspec* from *old* to *new*, in order of keys."""
    for folder in pathspec.folders:
        for change in diff_trees(old, new, folder):
            if not pathspec.patterns or pathspec.matches(change.path):
                yield change


def diff_unstaged(worktree: Worktree, state: State, pathspec: Pathspec) -> Iterator[Change]:
    """Yield the changes from what is staged to the files. The digest of what has another content is left empty."""
    for difference in unstaged_changes(worktree, state, pathspec):
        yield Change(difference.staged, _entry(worktree, difference.found, difference.staged))


def diff_from_version(worktree: Worktree, state: State, old: Tree, pathspec: Pathspec) -> list[Change]:
    """Return the changes from *old* to the files that are tracked, in order of keys.

    The digest of what has another content than in *old* and than what is staged is left empty.
    """
    changes = {change.path: change for change in diff_versions(old, worktree.staged_tree(state), pathspec)}
    for difference in unstaged_changes(worktree, state, pathspec):
        path, found = difference.path, difference.found
        before = changes[path].old if path in changes else difference.staged
        if _is_same(worktree, before, found):
            changes.pop(path, None)
        else:
            changes[path] = Change(before, _entry(worktree, found, before))
    return sorted(changes.values(), key=lambda change: path_key(change.path))


def _is_same(worktree: Worktree, before: Entry | None, found: Found | None) -> bool:
    # Just as it was in the version, whatever is staged; or in neither.
    if before is None or found is None:
        return before is None and found is None
    return not is_changed(worktree.root_bytes, before, found)


def _entry(worktree: Worktree, found: Found | None, before: Entry | None) -> Entry | None:
    if found is None:
        return None
    if before is not None and _may_be_mode(before, found):
        digest, _ = content_digest(worktree.root_bytes, found)
        if digest == before.digest:
            return Entry(found.path, found.kind, found.size, digest, before.blob)
    # What no tree can hold stands where a file was: its type has changed.
    kind = found.kind if found.kind >= 0 else EntryKind.EXTERNAL
    return Entry(found.path, kind, found.size, b"")


def _may_be_mode(before: Entry, found: Found) -> bool:
    """Tell whether only the executable bit may have changed."""
    return {before.kind, found.kind} == {EntryKind.FILE, EntryKind.EXECUTABLE} and before.size == found.size


def read_file(worktree: Worktree, entry: Entry) -> bytes:
    """Return what a file of the worktree holds now, or the target of a symlink; for what is known to be small.

    Raises:
        StorageError: It cannot be read.
    """
    path = worktree.root / os.fsdecode(entry.path)
    try:
        if entry.kind == EntryKind.SYMLINK:
            return os.fsencode(path.readlink())
        # It may have become a link or a pipe since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    except OSError as error:
        raise storage_error(error, f"read {quote_path(entry.path)}") from error
