"""A remote: another store, under the name that this repository knows it by."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.config import Config
from dsvc.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError, RefusedError
from dsvc.history.store import Store
from dsvc.log.log import Log, RewoundError
from dsvc.log.state import State
from dsvc.log.store import CONFIG_KEY, StoreExistsError, StoreNotFoundError
from dsvc.model.context import Context
from dsvc.odb.database import ObjectDatabase
from dsvc.storage.backend import Backend, Listing
from dsvc.storage.bundle import BundleBackend, WriteToBundleError
from dsvc.storage.faults import ReadOnlyRemoteError
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.storage.mirror import MirroredBackend
from dsvc.storage.settings import NO_SETTINGS, Settings, read_settings
from dsvc.transport.address import CONTROL, check_address, folder_of, has_worktree, open_backend, redact
from dsvc.transport.lacking import LackingRemoteError, NotAsked, clone_of
from dsvc.transport.position import check_position, known_state, mirror, remember_position
from dsvc.transport.probe import PROBE_PREFIX, is_probed, needs_probe, probe, remember_probe

__all__ = [
    "NoStoreError",
    "NotEmptyError",
    "Remote",
    "RemoteDamagedError",
    "RemoteExistsError",
    "RemoteNotFoundError",
    "base_folder",
    "check_remote_name",
    "default_remote",
    "find_remote",
    "remote_folder",
]

_SENDING: Final = "sending"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class RemoteNotFoundError(NotFoundError):
    """No remote is called so."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no remote `{name}`")
        self.name = name


class RemoteExistsError(AlreadyExistsError):
    """A remote is called so already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a remote `{name}` already")
        self.name = name


class RemoteDamagedError(CorruptionError):
    """What a remote has is not what it should be. Nothing of it was taken."""

    def __init__(self, remote: str, reason: CorruptionError) -> None:
        super().__init__(f"the remote {remote}: {reason}")
        self.remote = remote


class NoStoreError(NotFoundError):
    """There is no store at an address."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{redact(address)} is no dsvc store")
        self.address = address


class NotEmptyError(RefusedError):
    """A place that holds other things, and would become a store."""

    def __init__(self, place: Path | str) -> None:
        super().__init__(f"{place} is not empty and is no dsvc store")
        self.place = place


def check_remote_name(name: str) -> str:
    """Return *name* if a remote may be called so.

    Raises:
        InvalidInputError: It may not: it is part of names of refs, files and settings.
    """
    if not _NAME.fullmatch(name) or name.endswith((".lock", ".")) or ".." in name:
        message = f"a remote cannot be called {name!r}: letters, digits, `-`, `_` and `.` are allowed"
        raise InvalidInputError(message)
    return name


def remote_folder(control: Path, name: str) -> Path:
    """Return the folder for what is known of the remote *name*."""
    return control / "remotes" / name


def default_remote(config: Config, branch: str | None) -> str:
    """Return the remote that the branch, by its short name, is pushed to and pulled from.

    Raises:
        RemoteNotFoundError: There is none.
    """
    remotes = config.remotes()
    configured = config.text(f"branch.{branch}.remote") if branch else None
    if configured is not None:
        return configured
    return next(iter(remotes)) if len(remotes) == 1 else "origin"


class Remote(msgspec.Struct):
    """The store at *address*; *folder* remembers what is known of it, None for one without a name.

    *way* is its backend, or makes that when it is first needed, with *settings*: to load what reaches a store far away
    takes half a second.
    """

    name: str
    address: str
    way: Backend | Callable[[], Backend]
    context: Context
    folder: Path | None = None
    settings: Settings = NO_SETTINGS
    _store: Store | None = None

    @property
    def is_reached(self) -> bool:
        """Whether there is a backend by now."""
        return not callable(self.way)

    @property
    def backend(self) -> Backend:
        """The store's backend."""
        if callable(self.way):
            self.way = self.way()
        return self.way

    @property
    def origin(self) -> Backend:
        """The backend over there, without the copy of it that is here."""
        return self.backend.origin if isinstance(self.backend, MirroredBackend) else self.backend

    @property
    def is_store(self) -> bool:
        """Whether a store is there."""
        return self._store is not None or self.backend.read_many([CONFIG_KEY])[0] is not None

    @property
    def has_worktree(self) -> bool:
        """Whether somebody works in the repository that the store is part of."""
        return has_worktree(self.backend, self.address)

    def open(self) -> Store:
        """Return the store, after a look at whether it is what it was.

        Raises:
            NoStoreError: There is none.
            StoreGoneError, OtherStoreError, RemoteRewoundError: It is not what it was.
        """
        if self._store is None:
            log = Log(self.backend)
            known = known_state(self.folder) if self.folder is not None else None
            if known is not None:
                log.resume(known)
            try:
                log.head()
            except StoreNotFoundError:
                if self.folder is not None:
                    check_position(self.folder, self.name, None)
                raise NoStoreError(self.address) from None
            except RewoundError:
                # Looked at without what is known of it, it says which of the two it is.
                self._check_position(Log(self.backend))
                raise
            if known is None:
                self._check_position(log)
            self._store = Store(self.backend, self.context, log=log)
            clone = clone_of(self.origin)
            if clone is not None:
                refusal = LackingRemoteError("an object", self.name, clone)
                self._store.promise(NotAsked(self._store.objects, refusal))
        return self._store

    def _check_position(self, log: Log) -> None:
        if self.folder is not None:
            check_position(self.folder, self.name, log)

    def open_or_create(self) -> Store:
        """Return the store, made now if there is none.

        Raises:
            NotEmptyError: There is something else.
            NotFoundError: The folder or the bucket that it would be in is not there.
            StoreGoneError, OtherStoreError, RemoteRewoundError: It is not what it was.
            ReadOnlyRemoteError: It is configured so.
            NoConditionalWritesError: Several writers would lose each other's work there.
        """
        if self.settings.read_only:
            raise ReadOnlyRemoteError(redact(self.address))
        if isinstance(self.backend, BundleBackend):
            raise WriteToBundleError(self.backend.path)
        try:
            store = self.open()
        except NoStoreError:
            self.check_creatable()
        else:
            self.check_exclusive()
            return store
        self.check_exclusive()
        try:
            log = Log.create(self.backend, store_id=self.context.nonce())
        except StoreExistsError:
            # Another first push was faster; its store serves as well.
            return self.open()
        # Nothing has to be looked for in a log that begins here.
        log.resume(State.empty(log.store.genesis))
        log.head()
        self._store = Store(self.backend, self.context, log=log)
        return self._store

    def check_creatable(self) -> None:
        """Check what `open_or_create` would.

        Raises:
            NotEmptyError: There is something else.
            NotFoundError: The folder that it would be in is not there.
        """
        if not isinstance(self.backend, LocalBackend):
            self._check_vacant()
            return
        folder = self.backend.root
        # A first push that was killed leaves a `tmp`. Last of all: another one may make the store just now.
        taken = any(path.name != "tmp" for path in folder.iterdir()) if folder.is_dir() else folder.exists()
        if taken and not self.is_store:
            raise NotEmptyError(folder)
        if not folder.is_dir() and not folder.parent.is_dir():
            # Perhaps a disk that is not mounted: a store made in its place would vanish under it.
            message = f"{folder.parent} is not there, so no store can be made in it"
            raise NotFoundError(message)

    def _check_vacant(self) -> None:
        # Others may probe it just now, and one of them may make the store.
        if isinstance(self.origin, Listing):
            taken = any(not name.startswith(PROBE_PREFIX) for name in self.origin.names())
            if taken and not self.is_store:
                raise NotEmptyError(redact(self.address))

    def check_exclusive(self) -> None:
        """Check, once for each address, that the store keeps its writers apart; a single one needs nothing of it.

        Raises:
            NoConditionalWritesError: It does not.
            StorageError: It could not be found out.
        """
        if self.settings.single_writer or not needs_probe(self.origin):
            return
        if self.folder is not None and is_probed(self.folder, self.address):
            return
        probe(self.origin, redact(self.address), self.context.nonce)
        if self.folder is not None:
            remember_probe(self.folder, self.address)

    def empty_database(self) -> ObjectDatabase:
        """Return the database of a store that is still to be made."""
        return ObjectDatabase(self.backend)

    def begin_sending(self) -> bool:
        """Note that packs are being sent; tell whether some may be there already, of a push whose end was not noted."""
        if self.folder is None:
            return True
        note = self.folder / _SENDING
        try:
            if note.exists():
                return True
            self.folder.mkdir(parents=True, exist_ok=True)
            note.touch()
        except OSError as error:
            raise storage_error(error, f"write {note}") from error
        return False

    def end_sending(self) -> None:
        """Note that all that was sent has come to its end."""
        if self.folder is not None:
            # A note that stays costs the next push some requests.
            with suppress(OSError):
                (self.folder / _SENDING).unlink(missing_ok=True)

    def remember(self) -> None:
        """Remember how far the remote's log has been read."""
        if self.folder is not None and self._store is not None:
            remember_position(self.folder, self._store.log, with_state=isinstance(self.backend, MirroredBackend))


def base_folder(control: Path) -> Path:
    """Return what paths in the configuration of the repository whose control folder is *control* are relative to."""
    # A bare repository is its own control folder.
    return control.parent if control.name == CONTROL else control


def find_remote(config: Config, control: Path, name: str, context: Context) -> Remote:
    """Return the configured remote *name* of the repository whose control folder is *control*.

    Raises:
        RemoteNotFoundError: There is none.
    """
    address = config.remotes().get(name)
    if address is None:
        raise RemoteNotFoundError(name)
    folder, settings = remote_folder(control, name), read_settings(config, name, context.environment)
    base = base_folder(control)

    def reach() -> Backend:
        return mirror(folder, open_backend(address, base, settings))

    if folder_of(check_address(address), base) is None:
        return Remote(name, address, reach, context, folder, settings)
    backend = open_backend(address, base, settings)
    # The next bundle at the same place is another store, and as good.
    known = None if isinstance(backend, BundleBackend) else folder
    return Remote(name, address, backend, context, known, settings)
