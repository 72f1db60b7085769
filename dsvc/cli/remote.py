"""dsvc remote: the stores that this repository exchanges versions with."""

import os
from pathlib import Path
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.cli.options import Json, Verbose, argument
from dsvc.cli.session import open_worktree
from dsvc.config import set_value, unset_value
from dsvc.transport.address import check_address, folder_of, open_backend, redact
from dsvc.transport.position import forget_position
from dsvc.transport.remote import (
    Remote,
    RemoteExistsError,
    RemoteNotFoundError,
    check_remote_name,
    remote_folder,
)
from dsvc.transport.tracking import forget_branches, rename_branches
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

Name = Annotated[str, argument("NAME", help="What the remote is called here.")]
Address = Annotated[str, argument("ADDRESS", help="A folder, as a path or as file:///path.")]

_USAGE = 2


def command(*, verbose: Verbose = False, json: Json = False) -> None:
    """Manage the remotes of the repository.

    Without a subcommand, the remotes are listed; with `-v`, with their addresses.

    A remote is a folder, on this machine or on a network filesystem, that holds a store: the same
    as in `.dsvc/store`, and without files to work on. The folder of a repository serves as well; branches that
    somebody works on there are not pushed to.

    Examples:
        $ dsvc remote add origin /mnt/nas/datasets/images
        $ dsvc remote -v

    See also:
        dsvc-push(1), dsvc-fetch(1), dsvc-clone(1), dsvc-config(5)
    """
    worktree = open_worktree()
    for name, address in worktree.config.remotes().items():
        if json:
            console.out_json({"name": name, "url": redact(address)})
        else:
            console.out(f"{name}\t{redact(address)}" if verbose else name)


def list_remotes(*, verbose: Verbose = False, json: Json = False) -> None:
    """List the remotes."""
    command(verbose=verbose, json=json)


def add(name: Name, address: Address) -> None:
    """Add a remote.

    Nothing is made at the address: a folder that is not there yet becomes a store at the first push.

    Exit status:
        5 the name is taken
    """
    worktree = open_worktree()
    check_remote_name(name)
    if name in worktree.config.remotes():
        raise RemoteExistsError(name)
    stored = _stored(worktree, address)
    remote = Remote(name, stored, open_backend(stored, worktree.root), worktree.store.context)
    if not remote.is_store:
        remote.check_creatable()
    forget_position(remote_folder(worktree.control, name))
    set_value(_file(worktree), f"remote.{name}.url", stored)


def remove(name: Name) -> None:
    """Remove a remote, and what is known of its branches."""
    worktree = open_worktree()
    _check_own(worktree, name)
    forget_branches(worktree.store, name)
    forget_position(remote_folder(worktree.control, name))
    for key, value in worktree.config.repository.items():
        if key.startswith("branch.") and key.endswith(".remote") and value == name:
            unset_value(_file(worktree), key)
            merge = f"{key.removesuffix('.remote')}.merge"
            if merge in worktree.config.repository:
                unset_value(_file(worktree), merge)
    unset_value(_file(worktree), f"remote.{name}.url")


def rename(name: Name, new_name: Annotated[str, argument("NEW", help="What it is to be called.")]) -> None:
    """Rename a remote, and what is known of its branches.

    Exit status:
        5 the new name is taken
    """
    worktree = open_worktree()
    address = _check_own(worktree, name)
    check_remote_name(new_name)
    if new_name in worktree.config.remotes():
        raise RemoteExistsError(new_name)
    set_value(_file(worktree), f"remote.{new_name}.url", address)
    rename_branches(worktree.store, name, new_name)
    old, new = (remote_folder(worktree.control, each) for each in (name, new_name))
    forget_position(new)
    if old.is_dir():
        old.rename(new)
    for key, value in worktree.config.repository.items():
        if key.startswith("branch.") and key.endswith(".remote") and value == name:
            set_value(_file(worktree), key, new_name)
    unset_value(_file(worktree), f"remote.{name}.url")


def set_url(name: Name, address: Address) -> None:
    """Change the address of a remote.

    Another store may be there: what was remembered of the old one is forgotten.
    """
    worktree = open_worktree()
    _check_own(worktree, name)
    stored = _stored(worktree, address)
    forget_position(remote_folder(worktree.control, name))
    set_value(_file(worktree), f"remote.{name}.url", stored)


def get_url(name: Name) -> None:
    """Print the address of a remote."""
    address = open_worktree().config.remotes().get(name)
    if address is None:
        raise RemoteNotFoundError(name)
    console.out(redact(address))


def accept_rewind(name: Name) -> None:
    """Accept a remote that went back in time, or that is another store than it was.

    It is for a remote that was restored from a backup, on purpose. What it is now is
    believed as at the first contact.
    """
    worktree = open_worktree()
    if name not in worktree.config.remotes():
        raise RemoteNotFoundError(name)
    forget_position(remote_folder(worktree.control, name))


SUBCOMMANDS = {
    "list": list_remotes,
    "add": add,
    "remove": remove,
    "rm": remove,
    "rename": rename,
    "set-url": set_url,
    "get-url": get_url,
    "accept-rewind": accept_rewind,
}


def _file(worktree: Worktree) -> Path:
    return worktree.control / "config.toml"


def _stored(worktree: Worktree, address: str) -> str:
    """Return *address* as it is stored: a relative one from the root, so that it means the same in every folder."""
    check_address(address)
    folder = folder_of(address, Path.cwd())
    if folder is None or Path(address).is_absolute() or "://" in address:
        return address
    return os.path.relpath(folder, worktree.root)


def _check_own(worktree: Worktree, name: str) -> str:
    """Return the address of the remote *name*, which this repository's own file has."""
    address = worktree.config.remotes().get(name)
    if address is None:
        raise RemoteNotFoundError(name)
    if f"remote.{name}.url" not in worktree.config.repository:
        message = f"the remote {name} is not set in {_file(worktree)}"
        raise Failure(message, code=_USAGE, hint="it is in your own settings: see `dsvc config --show-origin --list`")
    return address
