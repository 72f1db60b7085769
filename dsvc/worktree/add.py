"""Staging: the content of files goes into packs, and the staged tree names it.

What is told as added is durable, and what was not told leaves nothing but unreferenced packs.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.log.state import State
from dsvc.model.paths import key_path, path_key, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.addition import Addition, Source
from dsvc.worktree.compare import differences
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found, UnsupportedFileError, look_up
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.sparse_set import EVERYTHING, SparseSet
from dsvc.worktree.stage import Edit, stage
from dsvc.worktree.stat_cache import StatCache, entry_from_row
from dsvc.worktree.status import is_changed, is_outside, staged_cache
from dsvc.worktree.unmerged import read_unmerged
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "Added",
    "IgnoredPathError",
    "PathspecError",
    "Selecting",
    "Selection",
    "What",
    "add",
    "preview",
    "read_all",
    "select",
]

_SHOWN: Final = 10


class PathspecError(NotFoundError):
    """A word that matches no file, here or staged."""

    def __init__(self, word: bytes, among: str = "files") -> None:
        super().__init__(f"pathspec {quote_path(word)} did not match any {among}")
        self.word = word


class IgnoredPathError(InvalidInputError):
    """Named paths are ignored, and were not forced."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        shown = ", ".join(map(quote_path, paths[:_SHOWN]))
        rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        super().__init__(f"ignored by a .dsvcignore file: {shown}{rest}")
        self.paths = list(paths)


class Selection(msgspec.Struct):
    """What an `add` is about to do: paths to read, staged paths to remove, and what it passes over.

    *skipped* holds sockets, pipes and devices that were met, not named; *outside* files that a sparse worktree should
    leave out.
    """

    read: list[Found] = []
    staged: dict[bytes, Entry] = {}
    removed: list[bytes] = []
    skipped: list[Found] = []
    outside: list[bytes] = []


class Added(msgspec.Struct, frozen=True):
    """What an `add` did.

    *files* were read, of *size* bytes; *edits* are what changed in the staged tree, *known* how many of them
    replace an entry. Of the content, *raw* bytes were new, *stored* in so many bytes of packs.
    """

    files: int = 0
    size: int = 0
    edits: Sequence[Edit] = ()
    known: int = 0
    raw: int = 0
    stored: int = 0
    skipped: Sequence[Found] = ()
    outside: Sequence[bytes] = ()

    @property
    def removed(self) -> int:
        """How many entries went."""
        return sum([entry is None for _, entry in self.edits])

    @property
    def modified(self) -> int:
        """How many entries are not what they were."""
        return self.known - self.removed

    @property
    def new(self) -> int:
        """How many entries came."""
        return len(self.edits) - self.known


class What(msgspec.Struct, frozen=True):
    """Which files an `add` takes: with *tracked_only* no new ones, without *removals* none that are gone.

    With *force*, ignored ones too.
    """

    pathspec: Pathspec
    tracked_only: bool = False
    removals: bool = True
    force: bool = False


class Selecting:
    """One walk over what differs between the files below *root* and *cache*, and what is to be checked at its end.

    *sparse* is what the cache has all of.
    """

    def __init__(self, root: bytes, cache: StatCache, what: What, sparse: SparseSet = EVERYTHING) -> None:
        sparse.refuse_outside(what.pathspec.named)
        self._root = root
        self._sparse = sparse
        self._what = what
        self._cache = cache
        self._unmatched = dict.fromkeys(what.pathspec.words)
        self._folders: set[bytes] = set()
        self.removed: list[bytes] = []
        self.skipped: list[Found] = []
        self.outside: list[bytes] = []

    def files(self) -> Iterator[tuple[Found, Entry | None]]:
        """Yield what is to be read, with its staged entry; `removed` and `skipped` are complete after that.

        Raises:
            PathspecError: A word matches nothing.
            IgnoredPathError: A named file is ignored, without force.
            UnsupportedFileError: A named path is a socket, a pipe or a device.
        """
        what, pathspec = self._what, self._what.pathspec
        ignored: list[bytes] = []
        last = b""
        sparse = self._sparse
        for difference in differences(self._root, self._cache, pathspec, everything=what.force):
            path, staged, found, is_ignored = difference
            if self._unmatched and (found is None or not is_ignored):
                self._match(path)
            if sparse and not sparse.covers(path):
                if is_outside(difference):
                    self.outside.append(path)
                continue
            if found is None:
                if what.removals:
                    self.removed.append(path)
            elif staged is None and is_ignored:
                if pathspec.names(path):
                    ignored.append(path)
            elif found.kind < 0:
                if pathspec.names(path):
                    raise UnsupportedFileError(path, found.mode)
                self.skipped.append(found)
            elif staged is None and found.kind == EntryKind.FOLDER and self._is_filled(path):
                continue
            elif staged is not None or not what.tracked_only:
                folder = path.rpartition(b"/")[0]
                if folder != last:
                    self._folders.add(folder)
                    last = folder
                yield found, staged
        if ignored and not what.tracked_only:
            raise IgnoredPathError(ignored)
        self._check_words()
        self.removed.extend(self._replaced_files())

    def _is_filled(self, folder: bytes) -> bool:
        """Tell whether something stays staged in *folder*, of which nothing is on disk: it is no empty one then."""
        kept = (entry_from_row(row[0], row[2]).kind == EntryKind.EXTERNAL for row in self._cache.rows(folder))
        return any(is_link or not self._what.removals for is_link in kept)

    def all(self) -> Selection:
        """Return all of it, as `files` yields it."""
        selection = Selection(removed=self.removed, skipped=self.skipped, outside=self.outside)
        for found, staged in self.files():
            selection.read.append(found)
            if staged is not None:
                selection.staged[found.path] = staged
        return selection

    def _match(self, path: bytes) -> None:
        for word in self._what.pathspec.words_matching(path):
            self._unmatched.pop(word, None)

    def _check_words(self) -> None:
        for word in self._unmatched:
            if word in self._what.pathspec.patterns:
                pattern = Pathspec([word])
                known = any(pattern.matches(key_path(row[0])) for row in self._cache.rows())
            else:
                there = look_up(self._root, word)
                known = there is not None or next(self._cache.rows(word), None) is not None
            if word and not known:
                raise PathspecError(word)

    def _replaced_files(self) -> list[bytes]:
        """Return the staged files that have become folders, with something in them that is to be added."""
        above: set[bytes] = set()
        for start in self._folders:
            folder = start
            while folder and folder not in above:
                above.add(folder)
                folder = folder.rpartition(b"/")[0]
        rows = [row for row in map(self._cache.row, above.difference(self.removed)) if row is not None]
        return [key_path(row[0]) for row in rows if entry_from_row(row[0], row[2]).kind != EntryKind.FOLDER]


def _selecting(worktree: Worktree, state: State, what: What) -> Selecting:
    refuse_interrupted(worktree.session(state))
    return Selecting(worktree.root_bytes, staged_cache(worktree, state), what, worktree.sparse)


def select(worktree: Worktree, state: State, what: What) -> Selection:
    """Return what adding would do.

    Raises:
        PathspecError: A word matches nothing.
        IgnoredPathError: A named file is ignored, without force.
        UnsupportedFileError: A named path is a socket, a pipe or a device.
        OutsideSparseError: Files are named that a sparse worktree leaves out.
    """
    return _selecting(worktree, state, what).all()


def preview(root: bytes, selection: Selection) -> list[tuple[bytes, bool]]:
    """Return each path below *root* that `add` would change, and whether something comes there, in order of keys.

    Raises:
        StorageError: A file cannot be read.
    """
    changes = [(path, False) for path in selection.removed]
    for found in selection.read:
        staged = selection.staged.get(found.path)
        if staged is None or is_changed(root, staged, found):
            changes.append((found.path, True))
    return sorted(changes, key=lambda change: path_key(change[0]))


def read_all(addition: Addition, selecting: Selecting, progress: Progress) -> None:
    """Let *addition* have all that is found by *selecting*.

    Raises:
        FileChangingError, StorageError: A file could not be read.
        And what `Selecting.files` raises.
    """
    progress.start("add")
    files = 0
    for found, staged in selecting.files():
        addition.append(found, staged)
        files += 1
    # How large they are is known when they are read.
    progress.expect(files=files, size=0)
    addition.finish()
    for path in selecting.removed:
        addition.remove(path)
    progress.finish()


def add(
    worktree: Worktree,
    state: State,
    what: What,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Added:
    """Stage what differs between the files and what is staged in *state*, and return what was done.

    Raises:
        PathspecError, IgnoredPathError, UnsupportedFileError, OutsideSparseError: As in `select`.
        FileChangingError, StorageError: A file could not be read.
        PathConflictError: A path would be a file and a folder at once.
        SessionChangedError: Another process has switched meanwhile.
    In each case nothing is staged.
    """
    selecting = _selecting(worktree, state, what)
    worktree.tidy()
    writer = worktree.store.writer()
    source = Source(worktree.root_bytes, worktree.stat_cache, worktree.clock(), os.stat(worktree.control).st_dev)
    # To add what is in conflict decides it, even where the file is as it was; where nobody can see it, nobody has.
    session = worktree.session(state)
    unmerged = read_unmerged(worktree.store.objects, session, what.pathspec)
    decided = [one.path for one in unmerged if worktree.sparse.covers(one.path)]
    with Addition(worktree.store, source, writer, workers, progress) as addition:
        read_all(addition, selecting, progress)
        stage(worktree, writer, addition.edits, addition.rows, decided=decided, seen=session)
    return Added(
        files=addition.files,
        size=addition.size,
        edits=addition.edits,
        known=addition.known,
        raw=addition.raw,
        stored=addition.stored,
        skipped=selecting.skipped,
        outside=selecting.outside,
    )
