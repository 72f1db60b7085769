"""A worktree: a folder of files, the store behind it, and what is known of the files.

It wires; what can be done with it are functions beside it, one module for each verb.
"""

import errno
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from dsvc.config import Config
from dsvc.errors import NotFoundError
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.codec import decode
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import key_path
from dsvc.storage.local import storage_error
from dsvc.storage.temporary import remove_stale, temporary_name
from dsvc.worktree.catch_up import catch_up
from dsvc.worktree.session import Session, read_session
from dsvc.worktree.sparse_set import SparseSet, SparseSetChangedError, read_sparse_set
from dsvc.worktree.stat_cache import Row, StatCache

__all__ = ["BareRepositoryError", "Worktree"]


_READ_ONLY: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class BareRepositoryError(NotFoundError):
    """What needs files was asked of a repository that has none."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"{root} is a bare repository: it has versions, and no files to work on")
        self.root = root


class Worktree:
    """The worktree at *root*, whose own files are in *control*.

    Of a bare repository both are the same, and only what needs no files can be done with it.
    """

    def __init__(self, root: Path, control: Path, store: Store, config: Config) -> None:
        self.root = root
        self.control = control
        self.store = store
        self.config = config
        # What the stat cache stood for when its rows were last asked for.
        self._cached_root: bytes | None = None

    @property
    def root_bytes(self) -> bytes:
        """The root as the system's own bytes."""
        return os.fsencode(self.root)

    def need_files(self) -> None:
        """Do nothing, unless there is no worktree.

        Raises:
            BareRepositoryError: It is so.
        """
        if self.root == self.control:
            raise BareRepositoryError(self.root)

    @cached_property
    def stat_cache(self) -> StatCache:
        """What the files looked like."""
        self.need_files()
        return StatCache(self.control / "worktree.db")

    @cached_property
    def sparse(self) -> SparseSet:
        """Which part of each version has files here."""
        return read_sparse_set(self.control)

    def close(self) -> None:
        """Release the files that are open; they are opened again where they are needed."""
        cache: StatCache | None = self.__dict__.pop("stat_cache", None)
        if cache is not None:
            cache.close()

    def session(self, state: State) -> Session:
        """Return where HEAD is and what is staged in *state*."""
        return read_session(state)

    def commit_of(self, object_id: bytes) -> Commit:
        """Return the commit *object_id*."""
        return decode(Commit, self.store.objects.read(Kind.COMMIT, object_id))

    def head_tree(self, state: State) -> Tree:
        """Return the tree of HEAD's commit, an empty one before the first."""
        commit_id = self.session(state).commit(state)
        root = None if commit_id is None else self.commit_of(commit_id).tree
        return Tree(self.store.objects, root)

    def staged_tree(self, state: State) -> Tree:
        """Return the tree that the next commit would have."""
        staged = self.session(state).staged
        if staged is None:
            return self.head_tree(state)
        return Tree(self.store.objects, ObjectId.from_hex(staged))

    def clock(self) -> int:
        """Return the present time in nanoseconds on the worktree's own filesystem.

        A file is touched to ask: the clocks of a network filesystem and of this machine differ. Where that is not
        allowed, it is 0: nothing is older, and there is nowhere to take note of it anyway.
        """
        probe = self.control / "tmp" / temporary_name()
        try:
            probe.parent.mkdir(exist_ok=True)
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, b".")
                return os.fstat(descriptor).st_mtime_ns
            finally:
                os.close(descriptor)
                probe.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return 0
            raise storage_error(error, f"write {probe}") from error

    def tidy(self) -> None:
        """Remove the temporary files of processes that ended in the middle."""
        remove_stale(self.control / "tmp")
        self.store.tidy()

    def sync_cache(self, staged: Tree) -> StatCache:
        """Return the stat cache, standing for *staged*: caught up or made anew where it does not."""
        cache = self.stat_cache
        # Whoever changed the staged tree may have died before telling the cache, or the cache is new.
        catch_up(cache, self.store.objects, staged, sparse=self.sparse)
        self._cached_root = staged.root
        return cache

    def update_cache(self, old: Tree, new: Tree, rows: Sequence[Row], removed: Sequence[bytes]) -> None:
        """Let the stat cache, which stood for *old*, stand for *new*: *rows* came, *removed* went.

        Where it stands for another tree by now, it is left to catch up by itself; also where *old* is not the tree
        that the rows were found by, because another process staged something meanwhile.
        """
        if old.root == self._cached_root:
            inside = [row for row in rows if self.sparse.covers(key_path(row[0]))] if self.sparse else rows
            self.stat_cache.replace(old.root + self.sparse.mark, new.root + self.sparse.mark, inside, removed)

    def check_sparse_set(self) -> None:
        """Do nothing, unless the set is another one than what was done so far relied on.

        Raises:
            SparseSetChangedError: It is.
        """
        if read_sparse_set(self.control) != self.sparse:
            del self.sparse
            raise SparseSetChangedError

    def follow_sparse_set(self, staged: Tree, rows: Sequence[Row], removed: Sequence[bytes]) -> None:
        """Have the part of each version that the set is by now; of *staged*, *rows* came by that and *removed* went."""
        known = staged.root + self.sparse.mark
        del self.sparse
        self.stat_cache.replace(known, staged.root + self.sparse.mark, rows, removed)
