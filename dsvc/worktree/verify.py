"""Verifying: whether a folder holds what a version says, to the last byte.

Nothing that was remembered of the files is believed: each one is read and hashed.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import msgspec

from dsvc.errors import StorageError
from dsvc.history.tree import Tree
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.compare import Difference, content_digest, differences
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found
from dsvc.worktree.sparse_set import EVERYTHING, SparseSet
from dsvc.worktree.stat_cache import Row, pack_row
from dsvc.worktree.workers import ALONE, Workers

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Check", "Finding", "Problem", "Scope", "verify"]

_BATCH_FILES: Final = 512
_BATCH_BYTES: Final = 64 * 1024 * 1024
# How many batches may be under way: enough for all workers, and not all files of a folder at once.
_AHEAD: Final = 32


class Problem(Enum):
    """What is wrong with a path."""

    MISSING = "missing"
    CHANGED = "changed"
    TYPE = "of another type"
    UNREADABLE = "unreadable"
    MODE = "of another mode"
    EXTRA = "extra"
    UNVERIFIED = "unverified"

    @property
    def is_damage(self) -> bool:
        """Whether something of the version is not there as it should be."""
        return self in (Problem.MISSING, Problem.CHANGED, Problem.TYPE, Problem.UNREADABLE)


class Finding(msgspec.Struct, frozen=True):
    """A *problem* with *path*, where the version has *entry*, if it has one; *reason* says more for people."""

    path: bytes
    problem: Problem
    entry: Entry | None = None
    reason: str = ""


class Scope(msgspec.Struct, frozen=True):
    """What is compared: of the version, what is below *prefix*; and of that and of the folder, what *pathspec* means.

    With *quick*, sizes stand for content; without *extra*, what the version has not is no matter. With *linked*, links
    are to have files, as they have in a copy; in a worktree they have none. What is outside of *sparse* may be missing.
    """

    prefix: bytes = b""
    pathspec: Pathspec = msgspec.field(default_factory=Pathspec)
    quick: bool = False
    extra: bool = True
    linked: bool = True
    sparse: SparseSet = EVERYTHING


class Check(msgspec.Struct):
    """How much was looked at so far: *files* of the version, and how many bytes were read."""

    files: int = 0
    size: int = 0


def verify(
    root: bytes,
    tree: Tree,
    scope: Scope,
    check: Check,
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Finding]:
    """Yield what is wrong with the folder *root*, in the order of keys, and count in *check* what was looked at.

    What is ignored in the folder is not extra. Of an external file whose content nobody has read yet, only the size is
    known: it is told as not verified.

    Raises:
        StorageError: A folder cannot be read.
    """
    expected = _Rows(tree, scope.prefix)
    found = differences(root, expected, scope.pathspec, linked=scope.linked)
    totals = tree.totals(scope.prefix)
    progress.start("verify", files=totals.files, size=0 if scope.quick else totals.size)
    for findings, files, size in _hashed(root, _batches(found, expected, scope, check), workers):
        check.size += size
        progress.advance(files, size)
        yield from findings
    progress.finish()


class _Rows:
    """The entries of *tree* below *prefix* as rows of which nothing is known."""

    def __init__(self, tree: Tree, prefix: bytes) -> None:
        self._tree = tree
        self._prefix = prefix

    def holds(self, folder: bytes) -> bool:
        """Tell whether there is anything in *folder*: one that is empty now is needed for what is missing."""
        return next(self.rows(folder), None) is not None

    def rows(self, folder: bytes = b"") -> Iterator[Row]:
        prefix = self._prefix
        if not prefix:
            return (pack_row(entry, b"") for entry in self._tree.entries(folder))
        below = b"%s/%s" % (prefix, folder) if folder else prefix
        entries = (entry for entry in self._tree.entries(below) if entry.path != prefix)
        return (pack_row(msgspec.structs.replace(entry, path=entry.path[len(prefix) + 1 :]), b"") for entry in entries)


# What is known already, or a file to be hashed with what it should be.
_Item = Finding | tuple[Found, Entry]
_Result = tuple[list[Finding], int, int]


def _batches(found: Iterable[Difference], expected: _Rows, scope: Scope, check: Check) -> Iterator[list[_Item]]:
    """Yield what is *found* in pieces of work."""
    batch: list[_Item] = []
    size = 0
    for difference in found:
        if difference.found is None and not scope.sparse.covers(difference.path):
            continue
        check.files += difference.staged is not None and difference.staged.kind != EntryKind.FOLDER
        for item in _judge(difference, expected, scope):
            batch.append(item)
            size += 0 if isinstance(item, Finding) else item[0].size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _judge(difference: Difference, expected: _Rows, scope: Scope) -> Iterator[_Item]:
    """Yield what can be said without reading, and the file where it has to be read."""
    path, entry, found = difference.path, difference.staged, difference.found
    if entry is None:
        is_needed = found is not None and found.kind == EntryKind.FOLDER and expected.holds(path)
        if scope.extra and not difference.ignored and not is_needed:
            yield Finding(path, Problem.EXTRA)
        return
    if found is None:
        yield Finding(path, Problem.MISSING, entry, "it is kept elsewhere" if entry.kind == EntryKind.EXTERNAL else "")
        return
    is_external = entry.kind == EntryKind.EXTERNAL
    if _type(entry.kind) != _type(found.kind):
        yield Finding(path, Problem.TYPE, entry)
        return
    if entry.kind != found.kind and not is_external:
        yield Finding(path, Problem.MODE, entry)
    if entry.size != found.size:
        yield Finding(path, Problem.CHANGED, entry, f"{found.size:,} bytes, and not {entry.size:,}")
    elif is_external and not entry.digest:
        yield Finding(path, Problem.UNVERIFIED, entry, "nobody has read it yet, so its digest is not known")
    elif not scope.quick and found.is_content:
        yield found, entry


def _type(kind: int) -> int:
    return EntryKind.FILE if kind in (EntryKind.EXECUTABLE, EntryKind.EXTERNAL) else kind


def _hashed(root: bytes, batches: Iterator[list[_Item]], workers: Workers) -> Iterator[_Result]:
    """Yield the results of *batches* in their order; of several, several are hashed at once."""
    first = list(islice(batches, 2))
    if len(first) < 2 or workers.pool is None or workers.jobs < 2:
        for batch in chain(first, batches):
            yield _hash(root, batch)
        return
    running: deque[Future[_Result]] = deque()
    with workers.pool(workers.jobs) as pool:
        try:
            for batch in chain(first, batches):
                running.append(pool.submit(_hash, root, batch))
                while running and (len(running) >= _AHEAD or running[0].done()):
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            # Nobody waits for what is left.
            for future in running:
                future.cancel()


def _hash(root: bytes, batch: Sequence[_Item]) -> _Result:
    """Return what is wrong in *batch*, and how many files of how many bytes were read."""
    findings: list[Finding] = []
    files = size = 0
    for item in batch:
        if isinstance(item, Finding):
            findings.append(item)
            continue
        found, entry = item
        files += 1
        try:
            digest, seen = content_digest(root, found)
        except StorageError as error:
            is_gone = isinstance(error.__cause__, FileNotFoundError)
            findings.append(Finding(found.path, Problem.MISSING if is_gone else Problem.UNREADABLE, entry, str(error)))
            continue
        size += seen.size
        if digest != entry.digest:
            findings.append(Finding(found.path, Problem.CHANGED, entry, f"its digest is {digest.hex()}"))
    return findings, files, size
