"""Any store as a source of versions, with no repository at hand.

A store in a folder is read where it is. One far away has a lazy clone in the user's cache, of its metadata only: data
comes into a store of its own, and goes from there into files. What a name meant is remembered; of a version that is
published, or is named by its id, that is all that has to be known, so nobody is asked twice.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Final
from weakref import finalize

import msgspec
from blake3 import blake3

from dsvc.datasets.source import UnknownOfflineError, Version, offline_promisor, version_of
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.history.needs import bring_files
from dsvc.history.revisions import resolve
from dsvc.history.store import Store
from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.log.store import CONFIG_KEY, StoreExistsError
from dsvc.model.context import Context
from dsvc.model.tree import Entry
from dsvc.odb.database import ObjectDatabase
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.settings import Settings
from dsvc.transport.address import open_backend, redact
from dsvc.transport.bundle import check_whole
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.position import mirror
from dsvc.transport.promise import Promise
from dsvc.transport.remote import Remote
from dsvc.worktree.materialise import StoredObjects, stored_objects

__all__ = ["RemoteSource", "open_remote_source"]

_FULL_ID: Final = re.compile(r"[0-9a-f]{64}")
# Within so many microseconds it is not worth a write that somebody has asked again.
_SOON: Final = 600_000_000
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")


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
    """The store of *backend*, at *address*, and what is known of it in the user's *cache*; *offline*, no more.

    It is asked for what is new once, so for all that is got by one of these, names mean the same.
    """

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
        self._backend: Final = backend
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
        version = version_of(self._store, state, name, resolve(self._store, state, name))
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
            check_whole(self._backend)
            here = self._store if not self._is_near else None
            with self._cache.only_one(self._key):
                state = self._remote.open().state()
                if here is not None:
                    # Of several thousand names, only those that are new or moved cost anything.
                    options = FetchOptions(tags=True, prune=True, force=True, data=False)
                    with suppress(FetchRejectedError):
                        fetch(here, self._remote, options=options, progress=self._progress)
                    self._state = self._remote.open().log.last()
                else:
                    self._remote.remember()
                    self._state = state
        return self._state

    @cached_property
    def _store(self) -> Store:
        """Where metadata is: the store itself, or the clone of it."""
        if self._is_near:
            return self._remote.open()
        lease = ExitStack()
        lease.enter_context(self._cache.lease(self._cache.store_lease(self._key), self.place))
        store = _own_store(self.folder / "store", self._context)
        # Nobody evicts it while somebody reads from it, whoever that is by then.
        finalize(store.objects, lease.close)
        return store

    def objects(self, root: bytes) -> ObjectDatabase:
        """Return where the pages of the tree *root* are read from."""
        if not self._offline and (self._is_near or root not in self._store.objects):
            self._connect()
        return self._store.objects

    def bring(self, entries: Sequence[Entry], coming: str, progress: Progress) -> StoredObjects:
        """Let the data of *entries* be in a folder: that of the store, or one that goes when it is released."""
        if self._is_near:
            # Of a lazy clone, it may not be all there.
            bring_files(self._store.objects, entries, progress)
            return stored_objects(self._store)
        store = self._incoming.get(coming)
        if store is None:
            store = self._incoming[coming] = _own_store(self._folder_of(coming), self._context)
            # Lists of chunks are metadata, and are in the clone.
            store.objects.nearer = self._store.objects
            if self._offline:
                store.promise(offline_promisor(store.objects, self.label))
            else:
                store.promise(Promise(store, [self._remote]))
        bring_files(store.objects, entries, progress)
        return stored_objects(store, stored_objects(self._store))

    def _folder_of(self, coming: str) -> Path:
        return self._cache.root / "incoming" / coming

    def release(self, coming: str) -> None:
        """Let what was brought as *coming* go: it is in files by now."""
        if self._incoming.pop(coming, None) is not None:
            remove_folder(self._folder_of(coming))


def _own_store(folder: Path, context: Context) -> Store:
    backend = LocalBackend(folder)
    if not backend.path(CONFIG_KEY).is_file():
        with suppress(StoreExistsError):
            Log.create(backend, store_id=context.nonce())
    return Store(backend, context, log=Log(backend, own=True))
