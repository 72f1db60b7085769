"""Where versions are got from: the repository that somebody works in, or any other store, with no repository at hand.

A store in a folder is read where it is. One far away has a lazy clone in the user's cache, of its metadata only: data
comes into a store of its own, and goes from there into files. What a name meant is remembered; of a version that is
published, or is named by its id, that is all that has to be known, so nobody is asked twice.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

import msgspec
from blake3 import blake3

from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.errors import StorageError
from dsvc.history.commits import Commits
from dsvc.history.needs import bring_files
from dsvc.history.revisions import find_ref, resolve
from dsvc.history.store import Store
from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.log.store import CONFIG_KEY, StoreExistsError
from dsvc.model.context import Context
from dsvc.model.ids import ObjectId
from dsvc.model.tree import Entry
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import OutOfReachError
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.settings import Settings
from dsvc.transport.address import open_backend, redact
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.position import mirror
from dsvc.transport.promise import Promise
from dsvc.transport.remote import Remote
from dsvc.worktree.head import read_head
from dsvc.worktree.materialise import StoredObjects, stored_objects
from dsvc.worktree.worktree import Worktree

__all__ = ["RemoteSource", "RepositorySource", "Source", "UnknownOfflineError", "Version", "open_remote_source"]

_FULL_ID: Final = re.compile(r"[0-9a-f]{64}")
# Within so many microseconds it is not worth a write that somebody has asked again.
_SOON: Final = 600_000_000
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")


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

    def bring(self, entries: Sequence[Entry], tree_id: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in a folder of this machine, for the tree *tree_id* of the user's cache.

        Raises:
            OutOfReachError: Who has some of it cannot be reached.
            CorruptionError: What came is not what its id says.
        """

    def release(self, tree_id: str) -> None:
        """Let what was brought for the tree *tree_id* go."""


class _NotAsked:
    """The promisor that says no, of a store that has *objects*."""

    def __init__(self, objects: ObjectDatabase, remote: str) -> None:
        self._objects = objects
        self._remote = remote

    def bring(self, object_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
        del progress
        for object_id in object_ids:
            if object_id not in self._objects:
                self._refuse(object_id)
        return []

    def stream(self, kind: int, object_ids: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | bytearray | memoryview]]:
        del kind
        self._refuse(object_ids[0])
        return iter(())

    def _refuse(self, object_id: bytes) -> None:
        what = f"object {object_id.hex()}"
        raise OutOfReachError(what, self._remote, "nobody is to be asked")


class RepositorySource:
    """The repository of *worktree*; its promisor remotes are asked, unless *offline*."""

    label = "this repository"
    prefix = ""

    def __init__(self, worktree: Worktree, *, offline: bool = False) -> None:
        self._worktree = worktree
        self.place = str(worktree.root)
        store = worktree.store
        if offline and store.promisor is not None:
            store.promise(_NotAsked(store.objects, "a remote"))

    @property
    def is_lazy(self) -> bool:
        """Whether data has to be brought before it is read."""
        return self._worktree.store.promisor is not None

    def resolve(self, name: str) -> Version:
        """Return what *name* is."""
        store, state = self._worktree.store, self._worktree.store.state()
        return _version(store, state, name, resolve(store, state, name, head=read_head(self._worktree, state)))

    def objects(self, root: bytes) -> ObjectDatabase:
        """Return where the pages of the tree *root* are read from."""
        del root
        return self._worktree.store.objects

    def bring(self, entries: Sequence[Entry], tree_id: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in the repository, as for every other command."""
        del tree_id
        bring_files(self._worktree.store.objects, entries, progress)
        return stored_objects(self._worktree.store)

    def release(self, tree_id: str) -> None:
        """Keep what was brought."""


def _version(store: Store, state: State, name: str, commit_id: ObjectId) -> Version:
    ref = find_ref(state, name)
    is_final = commit_id.hex() == name.lower() or (ref is not None and state.refs[ref].published)
    root = Commits(store.objects).get(commit_id).tree
    return Version(name, commit_id.hex(), root.hex(), is_final, store.context.now()[0])


def open_remote_source(
    cache: UserCache,
    label: str,
    address: str,
    context: Context,
    *,
    settings: Settings,
    offline: bool = False,
    progress: Progress = NO_PROGRESS,
) -> "RemoteSource":
    """Return the store at *address*, which means the same everywhere; nothing is asked before that is needed.

    Raises:
        UnsupportedAddressError: No backend serves it.
    """
    backend = open_backend(address, Path("/"), settings)
    return RemoteSource(cache, label, address, backend, context, settings=settings, offline=offline, progress=progress)


class RemoteSource:
    """The store of *backend*, at *address*, and what is known of it in the user's *cache*; *offline*, no more."""

    def __init__(
        self,
        cache: UserCache,
        label: str,
        address: str,
        backend: Backend,
        context: Context,
        *,
        settings: Settings,
        offline: bool,
        progress: Progress,
    ) -> None:
        self.label = label
        self.address: Final = address
        self.prefix = f"{label}#"
        self.place = redact(address)
        self._cache = cache
        self._context = context
        self._offline = offline
        self._progress = progress
        self._key = blake3(address.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self.folder: Final = cache.root / "stores" / self._key
        self._is_near = isinstance(backend, LocalBackend)
        if not self._is_near:
            backend = mirror(self.folder / "remote", backend)
        # A remote's name is part of refs.
        name = _NO_NAME.sub("-", redact(label)).strip("-") or "remote"
        self._remote = Remote(name, address, backend, context, self.folder / "remote", settings)
        self._state: State | None = None
        self._incoming: dict[str, Store] = {}

    @property
    def is_lazy(self) -> bool:
        """Whether data has to be brought before it is read."""
        return not self._is_near

    def resolve(self, name: str) -> Version:
        """Return what *name* is, asking only where that may have changed."""
        known = self._known()
        version = known.get(name) or next((one for one in known.values() if one.commit == name.lower()), None)
        if version is not None and (version.is_final or self._offline or _FULL_ID.fullmatch(name.lower())):
            return version
        if self._offline:
            raise UnknownOfflineError(name, self.label)
        state = self._connect()
        version = _version(self._store, state, name, resolve(self._store, state, name))
        self._remember(version)
        return version

    def _known(self) -> dict[str, Version]:
        value = self._cache.values.read_many([f"stores/{self._key}/versions.json"])[0]
        with suppress(msgspec.DecodeError):
            return {} if value is None else msgspec.json.decode(value, type=dict[str, Version])
        return {}

    def _remember(self, version: Version) -> None:
        with self._cache.only_one(self._key):
            known = self._known()
            before = known.get(version.name)
            if before is not None and version.seen - before.seen < _SOON:
                before = msgspec.structs.replace(before, seen=version.seen)
            if before == version:
                return
            known[version.name] = version
            self._cache.values.write(f"stores/{self._key}/versions.json", msgspec.json.encode(known))

    def _connect(self) -> State:
        """Return the newest state of the store; what its refs lead to can be read from then on."""
        if self._state is None:
            with self._cache.only_one(self._key):
                state = self._remote.open().state()
                if not self._is_near:
                    # Of several thousand names, only those that are new or moved cost anything.
                    options = FetchOptions(tags=True, prune=True, force=True, data=False)
                    with suppress(FetchRejectedError):
                        fetch(self._store, self._remote, options=options, progress=self._progress)
                    self._state = self._remote.open().log.last()
                else:
                    self._remote.remember()
                    self._state = state
        return self._state

    @cached_property
    def _store(self) -> Store:
        """Where metadata is: the store itself, or the clone of it."""
        return self._remote.open() if self._is_near else _own_store(self.folder / "store", self._context)

    def objects(self, root: bytes) -> ObjectDatabase:
        """Return where the pages of the tree *root* are read from."""
        if not self._offline and (self._is_near or root not in self._store.objects):
            self._connect()
        return self._store.objects

    def bring(self, entries: Sequence[Entry], tree_id: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in a folder: that of the store, or one that goes when it is released."""
        if self._is_near:
            return stored_objects(self._store)
        store = self._incoming.get(tree_id)
        if store is None:
            store = self._incoming[tree_id] = _own_store(self._folder_of(tree_id), self._context)
            # Lists of chunks are metadata, and are in the clone.
            store.objects.nearer = self._store.objects
            if self._offline:
                store.promise(_NotAsked(store.objects, self.label))
            else:
                store.promise(Promise(store, [self._remote]))
        bring_files(store.objects, entries, progress)
        return stored_objects(store, stored_objects(self._store))

    def _folder_of(self, tree_id: str) -> Path:
        return self._cache.root / "incoming" / tree_id

    def release(self, tree_id: str) -> None:
        """Let what was brought for the tree *tree_id* go: it is in files by now."""
        if self._incoming.pop(tree_id, None) is not None:
            remove_folder(self._folder_of(tree_id))


def _own_store(folder: Path, context: Context) -> Store:
    backend = LocalBackend(folder)
    if not backend.path(CONFIG_KEY).is_file():
        with suppress(StoreExistsError):
            Log.create(backend, store_id=context.nonce())
    return Store(backend, context, log=Log(backend, own=True))
