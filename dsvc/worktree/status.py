"""What changed: between HEAD and what is staged, and between that and the files."""

from collections.abc import Iterable, Iterator

import msgspec

from dsvc.history.diff import Change, diff_trees
from dsvc.history.merge import Conflict
from dsvc.log.state import State
from dsvc.model.tree import Entry, EntryKind
from dsvc.worktree.compare import Difference, content_digest, differences
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found
from dsvc.worktree.session import Session
from dsvc.worktree.stat_cache import Row, StatCache, pack_row
from dsvc.worktree.unmerged import read_unmerged
from dsvc.worktree.worktree import Worktree

__all__ = [
    "Status",
    "collapse_untracked",
    "is_changed",
    "is_outside",
    "read_status",
    "staged_cache",
    "unstaged_changes",
]


class Status(msgspec.Struct):
    """What is where in a worktree.

    *staged* goes from HEAD to the staged tree, *unstaged* from that to the files, whose digests are
    left empty. *untracked* and *ignored* are paths, with a slash at the end of a folder; *outside* are those that a
    sparse worktree should leave out. What is *unmerged* is neither staged nor unstaged.
    """

    session: Session
    staged: list[Change] = []
    unstaged: list[Change] = []
    untracked: list[bytes] = []
    ignored: list[bytes] = []
    outside: list[bytes] = []
    unmerged: list[Conflict] = []

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to commit and nothing to add."""
        return not (self.staged or self.unstaged or self.untracked or self.unmerged)


def read_status(worktree: Worktree, state: State, pathspec: Pathspec) -> Status:
    """Compare HEAD, the staged tree and the files; remember fingerprints that were found to hold."""
    status = Status(worktree.session(state))
    status.unmerged = read_unmerged(worktree.store.objects, status.session, pathspec)
    undecided = {conflict.path for conflict in status.unmerged}
    staged = worktree.staged_tree(state)
    if status.session.staged is not None:
        changes = diff_trees(worktree.head_tree(state), staged)
        status.staged = [one for one in changes if one.path not in undecided and pathspec.matches(one.path)]
    cache = staged_cache(worktree, state)
    for difference in _verified(worktree, cache, pathspec):
        found = difference.found
        if difference.path in undecided:
            continue
        if difference.staged is not None:
            status.unstaged.append(Change(difference.staged, _as_entry(found)))
        elif found is not None and not worktree.sparse.covers(found.path):
            if is_outside(difference):
                status.outside.append(found.path)
        elif found is not None and _is_news(cache, found):
            paths = status.ignored if difference.ignored else status.untracked
            paths.append(found.path + b"/" if found.kind == EntryKind.FOLDER else found.path)
    return status


def is_outside(difference: Difference) -> bool:
    """Tell whether a path that a sparse worktree leaves out is worth a word: there is a file of the user's."""
    found = difference.found
    return found is not None and found.is_content and not difference.ignored


def _is_news(cache: StatCache, found: Found) -> bool:
    """Tell whether an untracked path is worth a word."""
    if found.kind == EntryKind.FOLDER:
        # Where all files of a folder are gone, that is what is told of it.
        return next(cache.rows(found.path), None) is None
    # Sockets, pipes and devices can never be added.
    return found.kind >= 0


def staged_cache(worktree: Worktree, state: State) -> StatCache:
    """Return the stat cache, standing for what is staged in *state*."""
    return worktree.sync_cache(worktree.staged_tree(state))


def unstaged_changes(worktree: Worktree, state: State, pathspec: Pathspec) -> Iterator[Difference]:
    """Yield the tracked paths whose files differ from what is staged."""
    for difference in _verified(worktree, staged_cache(worktree, state), pathspec):
        if difference.staged is not None:
            yield difference


def _verified(worktree: Worktree, cache: StatCache, pathspec: Pathspec) -> list[Difference]:
    """Return what really differs: a file whose content turns out the same is remembered, not told."""
    checked = worktree.clock()
    root = worktree.root_bytes
    told: list[Difference] = []
    held: list[Row] = []
    for difference in differences(root, cache, pathspec):
        staged, found = difference.staged, difference.found
        if staged is None or found is None or _plainly_differs(staged, found):
            told.append(difference)
            continue
        digest, seen = content_digest(root, found)
        if digest != staged.digest:
            told.append(difference)
        elif seen.changed < checked:
            held.append(pack_row(staged, seen.fingerprint))
    if held:
        cache.refresh(held)
    return told


def is_changed(root: bytes, staged: Entry, found: Found) -> bool:
    """Tell whether *found* is not what *staged* says, looking at the content where that is needed.

    Raises:
        StorageError: The file cannot be read.
    """
    return _plainly_differs(staged, found) or content_digest(root, found)[0] != staged.digest


def _plainly_differs(staged: Entry, found: Found) -> bool:
    """Tell whether no look at the content is needed."""
    return staged.kind != found.kind or staged.size != found.size or staged.kind == EntryKind.EXTERNAL


def _as_entry(found: Found | None) -> Entry | None:
    return None if found is None else Entry(found.path, max(found.kind, 0), found.size, b"")


def collapse_untracked(cache: StatCache, paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *paths*, in the order of keys, with folders in which nothing is tracked as one path with a slash."""
    shown = b"\0"
    tracked: dict[bytes, bool] = {b"": True}
    for path in paths:
        if path.startswith(shown):
            continue
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            folder = b"/".join(parts[:depth])
            if folder not in tracked:
                tracked[folder] = next(cache.rows(folder), None) is not None
            if not tracked[folder]:
                shown = folder + b"/"
                yield shown
                break
        else:
            yield path
