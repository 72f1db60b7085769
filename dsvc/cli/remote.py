"""dsvc remote: the stores that this repository exchanges versions with."""

import os
from pathlib import Path
from typing import Annotated

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import Failure, exit_code, hint
from dsvc.cli.exchange import remote_hints
from dsvc.cli.options import Json, Verbose, argument, option
from dsvc.cli.session import open_repository
from dsvc.config import Value, set_value, unset_value
from dsvc.errors import StorageError
from dsvc.transport.address import check_address, check_endpoint, folder_of, redact
from dsvc.transport.position import forget_position
from dsvc.transport.remote import (
    Remote,
    RemoteExistsError,
    RemoteNotFoundError,
    check_remote_name,
    find_remote,
    remote_folder,
)
from dsvc.transport.tracking import forget_branches, rename_branches
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

Name = Annotated[str, argument("NAME", help="What the remote is called here.")]
Address = Annotated[
    str,
    argument(
        "ADDRESS", help="A folder, as a path or file:///path; or s3://, gs://, az:// or sftp://; see dsvc-remotes(7)."
    ),
]

_USAGE = 2
_REFUSED = 10


def command(*, verbose: Verbose = False, json: Json = False) -> None:
    """Manage the remotes of the repository.

    Without a subcommand, the remotes are listed; with `-v`, with their addresses.

    A remote is a store: the same as in `.dsvc/store`, and without files to work on. It is in a folder, on this
    machine or on a network filesystem, in a bucket, or behind SSH; dsvc-remotes(7) describes each kind. The folder
    of a repository serves as well; branches that somebody works on there are not pushed to.

    Examples:
        $ dsvc remote add origin /mnt/nas/datasets/images
        $ dsvc remote add origin s3://bucket/images --profile work
        $ dsvc remote test origin
        $ dsvc remote -v

    See also:
        dsvc-push(1), dsvc-fetch(1), dsvc-clone(1), dsvc-remotes(7), dsvc-config(5)
    """
    worktree = open_repository()
    for name, address in worktree.config.remotes().items():
        if json:
            console.out_json({"name": name, "url": redact(address)})
        else:
            console.out(f"{name}\t{redact(address)}" if verbose else name)


def list_remotes(*, verbose: Verbose = False, json: Json = False) -> None:
    """List the remotes."""
    command(verbose=verbose, json=json)


def add(
    name: Name,
    address: Address,
    *,
    endpoint: Annotated[
        str | None, option("--endpoint", metavar="URL", help="The service is at *URL*, not at the vendor's own.")
    ] = None,
    region: Annotated[str | None, option("--region", metavar="REGION", help="The bucket is in *REGION*.")] = None,
    profile: Annotated[
        str | None, option("--profile", metavar="PROFILE", help="The credentials are those of *PROFILE*.")
    ] = None,
    key_file: Annotated[str | None, option("--key-file", metavar="FILE", help="The credentials are in *FILE*.")] = None,
    secret_env: Annotated[
        str | None, option("--secret-env", metavar="NAME", help="The secret is in the environment variable *NAME*.")
    ] = None,
    storage_class: Annotated[
        str | None, option("--storage-class", metavar="CLASS", help="Write with the storage class *CLASS*.")
    ] = None,
    anonymous: Annotated[bool, option("--anonymous", help="Come without credentials, as to a public bucket.")] = False,
    read_only: Annotated[bool, option("--read-only", help="Never write there.")] = False,
    single_writer: Annotated[
        bool, option("--single-writer", help="Use a store that does not keep writers apart; nobody else may write.")
    ] = False,
    bandwidth: Annotated[
        str | None,
        option("--bandwidth", metavar="RATE", help="Send and receive at most *RATE*, such as `20M` a second."),
    ] = None,
) -> None:
    """Add a remote.

    Nothing is made at the address: what is not there yet becomes a store at the first push. Where it is reached
    through a network, it is tried whether it keeps several writers apart, which leaves nothing behind; if it
    does not, it is refused. If nobody answers, that is said, and done at the first push instead.

    The options are written to the configuration, as `remote.NAME.endpoint` and so on; see dsvc-config(5).

    Exit status:
        5 the name is taken
        10 the store does not keep writers apart, or there are other things at the address
    """
    worktree = open_repository()
    check_remote_name(name)
    if name in worktree.config.remotes():
        raise RemoteExistsError(name)
    stored = _stored(worktree, address)
    if endpoint is not None:
        check_endpoint(endpoint)
    given = {
        "endpoint": endpoint, "region": region, "profile": profile, "key-file": key_file, "secret-env": secret_env,
        "storage-class": storage_class, "anonymous": anonymous or None, "read-only": read_only or None,
        "single-writer": single_writer or None, "bandwidth": bandwidth,
    }  # fmt: skip
    values: dict[str, Value] = {f"remote.{name}.{key}": value for key, value in given.items() if value is not None}
    values[f"remote.{name}.url"] = stored
    config = msgspec.structs.replace(worktree.config, flags={**worktree.config.flags, **values})
    forget_position(remote_folder(worktree.control, name))
    with remote_hints(name):
        _look(find_remote(config, worktree.control, name, worktree.store.context))
    # The address last: with it, the remote is there.
    for key, value in values.items():
        set_value(_file(worktree), key, value)


def _look(remote: Remote) -> None:
    try:
        if not remote.is_store:
            remote.check_creatable()
        if not remote.settings.read_only:
            remote.check_exclusive()
    except StorageError as error:
        # The remote may be right, and the network away today.
        console.warn(f"the remote could not be tried: {error}")
        if advice := hint(error):
            console.hint(advice)


def try_out(name: Name, *, json: Json = False) -> int:
    """Try whether a remote works, and how fast it is.

    It reads, writes, creates, lists and deletes a few small objects and one of 4 MiB, and leaves nothing behind. It
    says too how many requests it would take to send all that is here.

    Exit status:
        7 something does not work
        10 the store does not keep writers apart
    """
    from dsvc.cli.trial_text import report_trial
    from dsvc.transport.trial import try_remote

    worktree = open_repository()
    with remote_hints(name):
        remote = find_remote(worktree.config, worktree.control, name, worktree.store.context)
    trial = try_remote(remote)
    report_trial(trial, sum(length for _, length in worktree.store.backend.list("packs/")), json=json)
    return 0 if trial.error is None else exit_code(trial.error)


def remove(name: Name) -> None:
    """Remove a remote, and what is known of its branches.

    Exit status:
        10 it is a promisor: data that is not here is read from it
    """
    worktree = open_repository()
    _check_own(worktree, name)
    if worktree.config.flag(f"remote.{name}.promisor"):
        message = f"data that is not here is read from {name}"
        hint = f"get it with `dsvc fetch --data`; then run `dsvc config --unset remote.{name}.promisor`, and this again"
        raise Failure(message, code=_REFUSED, hint=hint)
    forget_branches(worktree.store, name)
    forget_position(remote_folder(worktree.control, name))
    for key, value in worktree.config.repository.items():
        if key.startswith("branch.") and key.endswith(".remote") and value == name:
            unset_value(_file(worktree), key)
            merge = f"{key.removesuffix('.remote')}.merge"
            if merge in worktree.config.repository:
                unset_value(_file(worktree), merge)
    _unset_all(worktree, name)


def rename(name: Name, new_name: Annotated[str, argument("NEW", help="What it is to be called.")]) -> None:
    """Rename a remote, and what is known of its branches.

    Exit status:
        5 the new name is taken
    """
    worktree = open_repository()
    _check_own(worktree, name)
    check_remote_name(new_name)
    if new_name in worktree.config.remotes():
        raise RemoteExistsError(new_name)
    for key, value in _settings_of(worktree, name).items():
        set_value(_file(worktree), f"remote.{new_name}.{key}", value)
    rename_branches(worktree.store, name, new_name)
    old, new = (remote_folder(worktree.control, each) for each in (name, new_name))
    forget_position(new)
    if old.is_dir():
        old.rename(new)
    for key, value in worktree.config.repository.items():
        if key.startswith("branch.") and key.endswith(".remote") and value == name:
            set_value(_file(worktree), key, new_name)
    _unset_all(worktree, name)


def set_url(name: Name, address: Address) -> None:
    """Change the address of a remote.

    Another store may be there: what was remembered of the old one is forgotten.
    """
    worktree = open_repository()
    _check_own(worktree, name)
    stored = _stored(worktree, address)
    forget_position(remote_folder(worktree.control, name))
    set_value(_file(worktree), f"remote.{name}.url", stored)


def get_url(name: Name) -> None:
    """Print the address of a remote."""
    address = open_repository().config.remotes().get(name)
    if address is None:
        raise RemoteNotFoundError(name)
    console.out(redact(address))


def accept_rewind(name: Name) -> None:
    """Accept a remote that went back in time, or that is another store than it was.

    It is for a remote that was restored from a backup, on purpose. What it is now is
    believed as at the first contact.
    """
    worktree = open_repository()
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
    "test": try_out,
}


def _file(worktree: Worktree) -> Path:
    return worktree.control / "config.toml"


def _settings_of(worktree: Worktree, name: str) -> dict[str, Value]:
    """Return what this repository's own file says of the remote *name*, its address last."""
    prefix = f"remote.{name}."
    found = {
        key.removeprefix(prefix): value
        for key, value in worktree.config.repository.items()
        if key.startswith(prefix) and "." not in key.removeprefix(prefix)
    }
    return dict(sorted(found.items(), key=lambda item: (item[0] == "url", item[0])))


def _unset_all(worktree: Worktree, name: str) -> None:
    for key in reversed(_settings_of(worktree, name)):
        unset_value(_file(worktree), f"remote.{name}.{key}")


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
