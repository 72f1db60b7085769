"""A repository: a `.dsvc` folder with a store, remotes and configuration, in a worktree; or a bare one, without.

A bare repository is a store in a folder of its own, as a push makes one, with remotes and configuration beside it.

This module finds, makes and opens one, and wires the layers. What can be done with it are functions
beside it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dsvc.config import Config
from dsvc.errors import AlreadyExistsError, CorruptionError, NotFoundError
from dsvc.history.store import Store
from dsvc.log.entry import UnsupportedFormatError
from dsvc.log.log import Log
from dsvc.log.store import CONFIG_KEY, decode_store
from dsvc.model.context import Context
from dsvc.odb.objects import Promisor
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.local import LocalBackend, make_folder, storage_error
from dsvc.worktree.worktree import Worktree

if TYPE_CHECKING:
    from dsvc.transport.promise import Promise, PromisorRemote

__all__ = [
    "NotARepositoryError",
    "RepositoryExistsError",
    "control_at",
    "create_repository",
    "find_control",
    "open_worktree",
    "promisor_remotes",
]

CONTROL: Final = ".dsvc"
STORE: Final = "store"


class NotARepositoryError(NotFoundError):
    """No `.dsvc` here or in a folder above."""

    def __init__(self, start: Path) -> None:
        super().__init__(f"not a dsvc repository (or any of the parent folders): {start}")


class RepositoryExistsError(AlreadyExistsError):
    """There is a repository already."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"{root} is a dsvc repository already")


def find_control(start: Path) -> Path:
    """Return the `.dsvc` folder of *start* or of the nearest folder above it.

    Raises:
        NotARepositoryError: There is none.
    """
    for folder in (start, *start.parents):
        control = control_at(folder)
        if control is not None:
            return control
    raise NotARepositoryError(start)


def control_at(folder: Path) -> Path | None:
    """Return the control folder of the repository in *folder*, itself if that is a bare one, None if there is none."""
    control = folder / CONTROL
    if (control / STORE / CONFIG_KEY).is_file():
        return control
    return folder if _is_bare(folder) else None


def _is_bare(folder: Path) -> bool:
    if not (folder / CONFIG_KEY).is_file() or (folder.name == STORE and folder.parent.name == CONTROL):
        return False
    # Others have files of that name too.
    try:
        decode_store((folder / CONFIG_KEY).read_bytes())
    except UnsupportedFormatError:
        return True
    except (CorruptionError, OSError):
        return False
    return True


def create_repository(root: Path, context: Context, *, store_id: str, branch: str = "main", bare: bool = False) -> Path:
    """Make a repository in *root*, with *branch* as the unborn current branch; return its control folder.

    A *bare* one is a store and no worktree.

    Raises:
        RepositoryExistsError: There is one already; it is as it was.
    """
    control = root if bare else root / CONTROL
    store = _store_folder(control)
    try:
        make_folder(store)
    except OSError as error:
        raise storage_error(error, f"make {control}") from error
    try:
        Log.create(LocalBackend(store), store_id=store_id)
    except AlreadyExistsError:
        raise RepositoryExistsError(root) from None
    (control / "tmp").mkdir(exist_ok=True)
    if branch != "main":
        worktree = open_worktree(control, context, Config())
        worktree.store.publish(lambda state: [worktree.session(state).change(state, head=f"refs/heads/{branch}")])
    return control


class _Promised:
    """What the remotes *names* have promised to *store*; what knows about remotes is loaded when that is needed."""

    def __init__(self, store: Store, control: Path, config: Config, names: Sequence[str]) -> None:
        self._store = store
        self._control = control
        self._config = config
        self._names = names

    @cached_property
    def promise(self) -> "Promise":
        from dsvc.transport.promise import Promise
        from dsvc.transport.remote import find_remote

        context = self._store.context
        return Promise(self._store, [find_remote(self._config, self._control, name, context) for name in self._names])

    def bring(self, object_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
        here = self._store.objects
        missing = (object_id for object_id in object_ids if object_id not in here)
        first = next(missing, None)
        return [] if first is None else self.promise.bring(chain([first], missing), progress)

    def unpromised(self, object_ids: Iterable[bytes]) -> list[bytes]:
        return self.promise.unpromised(object_ids)

    def stream(self, kind: int, object_ids: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | bytearray | memoryview]]:
        return self.promise.stream(kind, object_ids)


def promisor_remotes(promisor: Promisor | None) -> Sequence["PromisorRemote"]:
    """Return the remotes behind the *promisor* of a worktree's store."""
    return promisor.promise.remotes if isinstance(promisor, _Promised) else ()


def open_worktree(control: Path, context: Context, config: Config) -> Worktree:
    """Open the repository whose control folder is *control*."""
    backend = LocalBackend(_store_folder(control))
    store = Store(backend, context, log=Log(backend, own=True))
    promisors = config.promisors()
    if promisors:
        store.promisor = _Promised(store, control, config, promisors)
    root = control.parent if control.name == CONTROL else control
    return Worktree(Path(os.path.abspath(root)), control, store, config)  # noqa: PTH100 -- symlinks stay


def _store_folder(control: Path) -> Path:
    return control / STORE if control.name == CONTROL else control
