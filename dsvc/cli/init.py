"""dsvc init: a new repository."""

import os
from pathlib import Path
from typing import Annotated

from dsvc.cli import console, session
from dsvc.cli.errors import Failure
from dsvc.cli.options import Quiet, argument, option
from dsvc.log.refs import branch_ref
from dsvc.model.paths import quote_path
from dsvc.repository import RepositoryExistsError, control_at, create_repository
from dsvc.storage.local import make_folder, storage_error

__all__ = ["command"]

_REFUSED = 10


def command(
    folder: Annotated[Path | None, argument("FOLDER", help="Where; it is made if it is not there.")] = None,
    *,
    initial_branch: Annotated[
        str, option("-b", "--initial-branch", metavar="NAME", help="Call the first branch *NAME*.")
    ] = "main",
    bare: Annotated[bool, option("--bare", help="Make a store without files, to push to.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make an empty repository.

    The repository is the folder `.dsvc` inside *FOLDER*, by default the working folder. Files
    that are there already stay as they are, and are not tracked until `dsvc add` is told so.

    In a folder that is a repository, nothing happens.

    With `--bare`, *FOLDER* itself becomes the store, as a first dsvc-push(1) makes one, and nobody works in it. See
    dsvc-concepts(7).

    Examples:
        $ dsvc init
        $ dsvc init -b dev images
        Initialized empty dsvc repository in /data/images/.dsvc/
        $ dsvc init --bare /mnt/nas/images

    Exit status:
        10 the folder of a bare repository is not empty

    See also:
        dsvc-add(1), dsvc-clone(1), dsvc-concepts(7)
    """
    console.set_quiet(quiet)
    branch_ref(initial_branch)
    root = Path(os.path.abspath(folder or Path()))  # noqa: PTH100 (links stay)
    try:
        make_folder(root)
    except OSError as error:
        raise storage_error(error, f"make {quote_path(os.fsencode(root))}") from error
    if bare and control_at(root) != root and any(root.iterdir()):
        message = f"{quote_path(os.fsencode(root))} is not empty, and a bare repository takes all of a folder"
        raise Failure(message, code=_REFUSED)
    context = session.make_context(session.load_config())
    try:
        control = create_repository(root, context, store_id=session.nonce(), branch=initial_branch, bare=bare)
    except RepositoryExistsError:
        console.say(f"There is a dsvc repository in {_shown(root if bare else root / '.dsvc')} already")
        return
    console.say(f"Initialized empty {'bare ' if bare else ''}dsvc repository in {_shown(control)}")


def _shown(folder: Path) -> str:
    return quote_path(os.fsencode(folder) + b"/")
