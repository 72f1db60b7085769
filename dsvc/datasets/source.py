"""Where versions are got from: what every source is, and the repository that somebody works in as one.

Stores that are elsewhere are in `remote_source`, which knows all of transport.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dsvc.errors import StorageError
from dsvc.history.commits import Commits
from dsvc.history.needs import bring_files
from dsvc.history.revisions import find_ref, resolve
from dsvc.history.store import Store
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.model.tree import Entry
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import OutOfReachError
from dsvc.progress import Progress
from dsvc.transport.lacking import NotAsked
from dsvc.worktree.head import read_head
from dsvc.worktree.materialise import StoredObjects, stored_objects
from dsvc.worktree.worktree import Worktree

__all__ = ["RepositorySource", "Source", "UnknownOfflineError", "Version", "offline_promisor", "version_of"]


class UnknownOfflineError(StorageError):
    """A version that was never got from a store, which is not to be asked."""

    def __init__(self, name: str, store: str) -> None:
        super().__init__(f"what `{name}` is in {store} is not known here, and nobody is to be asked")
        self.name = name


class Version(msgspec.Struct, frozen=True):
    """What a *name* is: a *commit*, and the tree *root* of it, as of *seen*, in microseconds since 1970.

    One that *is_final* can never be anything else.
    """

    name: str
    commit: str
    root: str
    is_final: bool
    seen: int

    @property
    def commit_id(self) -> ObjectId:
        """The id of the commit."""
        return ObjectId.from_hex(self.commit)

    @property
    def tree(self) -> ObjectId:
        """The root of the tree."""
        return ObjectId.from_hex(self.root)


class Source(Protocol):
    """Where versions come from: *label* is what it is called, *place* where it is, without credentials.

    Elsewhere, its names begin with *prefix*.
    """

    label: str
    prefix: str
    place: str

    @property
    def is_lazy(self) -> bool:
        """Whether data has to be brought before it is read."""

    def resolve(self, name: str) -> Version:
        """Return what *name* is.

        Raises:
            UnknownRevisionError: There is no such version.
            StorageError: It has to be asked for, and cannot.
        """

    def objects(self, root: bytes) -> ObjectDatabase:
        """Return where the pages of the tree *root*, which `resolve` has returned, are read from."""

    def bring(self, entries: Sequence[Entry], coming: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in a folder of this machine; while it is *coming*, that is its name.

        Raises:
            OutOfReachError: Who has some of it cannot be reached.
            CorruptionError: What came is not what its id says.
        """

    def release(self, coming: str) -> None:
        """Let what was brought as *coming* go."""


def offline_promisor(objects: ObjectDatabase, remote: str) -> NotAsked:
    """Return the promisor of a store that has *objects*, where *remote*, who has promised more, is not to be asked."""
    return NotAsked(objects, OutOfReachError("an object", remote, "nobody is to be asked"))


class RepositorySource:
    """The repository of *worktree*; its promisor remotes are asked, unless *offline*."""

    label = "this repository"
    prefix = ""

    def __init__(self, worktree: Worktree, *, offline: bool = False) -> None:
        self._worktree = worktree
        self.place = str(worktree.root)
        store = worktree.store
        if offline and store.promisor is not None:
            store.promise(offline_promisor(store.objects, "a remote"))

    @property
    def is_lazy(self) -> bool:
        """Whether data has to be brought before it is read."""
        return self._worktree.store.promisor is not None

    def resolve(self, name: str) -> Version:
        """Return what *name* is."""
        store, state = self._worktree.store, self._worktree.store.state()
        return version_of(store, state, name, resolve(store, state, name, head=read_head(self._worktree, state)))

    def objects(self, root: bytes) -> ObjectDatabase:
        """Return where the pages of the tree *root* are read from."""
        del root
        return self._worktree.store.objects

    def bring(self, entries: Sequence[Entry], coming: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in the repository, as for every other command."""
        del coming
        bring_files(self._worktree.store.objects, entries, progress)
        return stored_objects(self._worktree.store)

    def release(self, coming: str) -> None:
        """Keep what was brought."""


def version_of(store: Store, state: State, name: str, commit_id: ObjectId) -> Version:
    """Return what *name*, which is the commit *commit_id* in *state*, is; *store* has that."""
    ref = find_ref(state, name)
    is_final = commit_id.hex() == name.lower() or (ref is not None and state.refs[ref].published)
    root = Commits(store.objects).get(commit_id).tree
    return Version(name, commit_id.hex(), root.hex(), is_final, store.context.now()[0])
