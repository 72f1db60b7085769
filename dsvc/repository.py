"""A repository: a `.dsvc` folder with a store, remotes and configuration, and perhaps a worktree.

This module finds, makes and opens one, and wires the layers. What can be done with it are functions
beside it.
"""

import os
from pathlib import Path
from typing import Final

from dsvc.config import Config
from dsvc.errors import AlreadyExistsError, NotFoundError
from dsvc.history.store import Store
from dsvc.log.log import Log
from dsvc.model.context import Context
from dsvc.storage.local import LocalBackend, make_folder, storage_error
from dsvc.worktree.worktree import Worktree

__all__ = ["NotARepositoryError", "RepositoryExistsError", "create_repository", "find_control", "open_worktree"]

CONTROL: Final = ".dsvc"


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
        control = folder / CONTROL
        if (control / "store" / "config.json").is_file():
            return control
    raise NotARepositoryError(start)


def create_repository(root: Path, context: Context, *, store_id: str, branch: str = "main") -> Path:
    """Make a repository in *root*, with *branch* as the unborn current branch; return its control folder.

    Raises:
        RepositoryExistsError: There is one already; it is as it was.
    """
    control = root / CONTROL
    try:
        make_folder(control / "store")
    except OSError as error:
        raise storage_error(error, f"make {control}") from error
    try:
        Log.create(LocalBackend(control / "store"), store_id=store_id)
    except AlreadyExistsError:
        raise RepositoryExistsError(root) from None
    (control / "tmp").mkdir(exist_ok=True)
    if branch != "main":
        worktree = open_worktree(control, context, Config())
        worktree.store.publish(lambda state: [worktree.session(state).change(state, head=f"refs/heads/{branch}")])
    return control


def open_worktree(control: Path, context: Context, config: Config) -> Worktree:
    """Open the repository whose control folder is *control*."""
    backend = LocalBackend(control / "store")
    store = Store(backend, context, log=Log(backend, own=True))
    return Worktree(Path(os.path.abspath(control.parent)), control, store, config)  # noqa: PTH100 -- symlinks stay
