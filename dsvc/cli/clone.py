"""dsvc clone: a copy of a repository."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from dsvc.cli import console, session
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import remote_hints, transferred
from dsvc.cli.options import Depth, Jobs, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.sparse import warn_of_nothing
from dsvc.cli.workers import begun, workers
from dsvc.config import Value, parse_value, set_value
from dsvc.log.refs import HEADS, short_name
from dsvc.model.paths import quote_path
from dsvc.repository import RepositoryExistsError, create_repository, open_worktree
from dsvc.storage.bundle import BundleBackend
from dsvc.storage.local import make_folder, storage_error
from dsvc.storage.settings import read_settings
from dsvc.transport.address import folder_of, open_backend, redact, resolve_address
from dsvc.transport.bundle import check_whole
from dsvc.transport.clone import Cloned, choose_head, clone
from dsvc.transport.lacking import clone_of
from dsvc.transport.offer import Into
from dsvc.transport.remote import Remote, check_remote_name, find_remote
from dsvc.worktree.sparse_set import EVERYTHING, SparseSet, sparse_set, write_sparse_set
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_EXISTS = 5
# Says that a clone is not finished, and of what.
_MARK = "cloning"


def command(
    address: Annotated[str, argument("ADDRESS", help="Where the repository or its store is.")],
    folder: Annotated[
        Path | None, argument("FOLDER", help="The new folder; by default it is called as the address.")
    ] = None,
    *,
    branch: Annotated[
        str | None, option("-b", "--branch", metavar="NAME", help="Check out the branch or tag *NAME*.")
    ] = None,
    data: Annotated[bool, option("--data", help="Get the data of all versions.")] = False,
    sparse: Annotated[
        tuple[str, ...], option("--sparse", metavar="PATH", help="Write only the files at and below *PATH*.")
    ] = (),
    depth: Depth = None,
    no_checkout: Annotated[bool, option("-n", "--no-checkout", help="Write no files, and get no data.")] = False,
    bare: Annotated[bool, option("--bare", help="Make a store without files, which serves as a remote.")] = False,
    mirror: Annotated[bool, option("--mirror", help="The same, which `dsvc fetch` makes equal to *ADDRESS*.")] = False,
    origin: Annotated[str, option("-o", "--origin", metavar="NAME", help="Call the remote *NAME*.")] = "origin",
    no_hardlinks: Annotated[
        bool, option("--no-hardlinks", help="Copy packs, even where they could be shared with the remote.")
    ] = False,
    settings: Annotated[
        tuple[str, ...],
        option("-c", "--config", metavar="KEY=VALUE", help="Set *KEY* in the configuration of the clone."),
    ] = (),
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Clone a repository into a new folder.

    All branches and tags come, with their history and the names of all files. The address becomes the remote
    `origin`, and the files of the default branch are written: of the one that somebody works on there, else of `main`.
    Only their data comes. That of other versions is read from the remote when it is needed, and then kept: by
    dsvc-switch(1), dsvc-cat(1) or dsvc-diff(1), say. `dsvc fetch --data` gets it before that. See dsvc-concepts(7).

    With `--sparse`, once or several times, the worktree has only the files at and below some paths, as after
    dsvc-sparse(1), and only their data comes.

    With `--data`, the data of all versions comes at once, and the clone never needs the remote again. Of a bundle (see
    dsvc-bundle(1)), all data comes in any case.

    *ADDRESS* is the folder of a repository, or of a store that was pushed to, or one of the others in dsvc-remotes(7);
    how it is reached may be set with `-c`, as `remote.origin.profile`. On the same filesystem, packs are shared with it
    by hard links: they never change. What others may read here and not there is copied. `--no-hardlinks` makes a copy
    that has nothing in common with it, as a backup should.

    With `--depth`, only so many versions of each branch come, and the tags that name one of them. Older ones are
    promised: `dsvc log` ends where they begin and says so, what needs one gets it, and `dsvc fetch --unshallow` gets
    all. It saves what names the files of many versions; data is never brought for those that are not checked out.

    With `--bare`, *FOLDER* is a store as dsvc-push(1) makes one, by default with `.dsvc` behind its name: for a server,
    or a disk to take along. It has all data, and serves as a remote. Inside of it, `dsvc fetch` moves its branches
    forward to where they are at the address, and brings what is new; a branch that has gone another way stays. With
    `--mirror`, all branches and tags become what they are there, and what went there goes, but for published tags.
    `log`, `show`, `ls`, `cat`, `du`, `list`, `reflog`, `graph`, `diff` of two versions, `branch`, `tag`, `publish`,
    `push`, `fetch`, `remote`, `config` and `fsck` work there; what needs files refuses.

    Symlinks are written as they are in the version, wherever they lead; see dsvc-checkout(1).

    A clone that was interrupted goes on where it was when the same command is run again.

    Examples:
        $ dsvc clone /mnt/nas/images
        $ dsvc clone -b v1.2 ../images old-images
        $ dsvc clone -c remote.origin.profile=work s3://bucket/images
        $ dsvc clone --data /mnt/nas/images
        $ dsvc clone --mirror s3://bucket/images /srv/images.dsvc
        $ dsvc clone --depth 1 s3://bucket/images
        $ dsvc clone --sparse train --sparse labels.csv /mnt/nas/images

    Exit status:
        5 the folder exists, and is not empty

    See also:
        dsvc-pull(1), dsvc-sparse(1), dsvc-remote(1), dsvc-init(1)
    """
    console.set_quiet(quiet)
    into = Into.MIRROR if mirror else Into.BRANCHES if bare else Into.TRACKING
    if into is not Into.TRACKING:
        if sparse or no_checkout or depth is not None:
            message = f"a {'mirror' if mirror else 'bare clone'} has everything, and no files"
            raise UsageError(message)
        data = no_checkout = True
    full = resolve_address(address, Path.cwd())
    check_remote_name(origin)
    default = _default_folder(full) + ("" if into is Into.TRACKING else ".dsvc")
    root = Path(os.path.normpath(Path.cwd() / (folder or default)))
    wanted = dict(map(_setting, settings))
    part = sparse_set([os.path.normpath(os.fsencode(path)) for path in sparse]) if sparse else EVERYTHING
    config = session.load_config()
    config = msgspec.structs.replace(config, flags={**config.flags, **wanted})
    context = session.make_context(config)
    reached = read_settings(config, origin, context.environment)
    hands = workers(config, jobs)
    if not no_checkout:
        hands = begun(hands)
    source = Remote(redact(address), full, open_backend(full, Path.cwd(), reached), context, settings=reached)
    # All that can be wrong with it is said before anything is made.
    with remote_hints(source.name, full):
        there = source.open()
        choose_head(there.last_state(), branch)
    check_whole(there.backend)
    # One that is carried around is soon out of reach.
    data = data or isinstance(source.backend, BundleBackend)
    control = root / ".dsvc" if into is Into.TRACKING else root
    _check_free(root, control, full)
    clone_there = None if data else clone_of(there.backend)
    console.say(f"Cloning into {quote_path(os.fsencode(os.path.relpath(root)))}...")
    own: dict[str, Value] = {} if data and depth is None else {f"remote.{origin}.promisor": True}
    if depth is not None:
        own[f"remote.{origin}.shallow"] = True
    if into is not Into.TRACKING:
        own[f"remote.{origin}.fetch"] = into.value
    worktree = _make(root, control, origin, {**own, **wanted, f"remote.{origin}.url": full}, part)
    other = find_remote(worktree.config, worktree.control, origin, worktree.store.context)
    try:
        with remote_hints(origin, full), progress_bar() as progress:
            cloned = clone(
                worktree,
                other,
                branch=branch,
                checkout=not no_checkout,
                link=not no_hardlinks,
                data=data,
                into=into,
                depth=depth,
                workers=hands,
                progress=progress,
            )
    except BaseException:
        console.hint(f"what has come is kept in {quote_path(os.fsencode(root))}: run the same again to go on")
        raise
    if part and not no_checkout:
        warn_of_nothing(worktree.staged_tree(worktree.store.state()), part.named)
    if clone_there is not None:
        console.warn(f"{source.name} is itself {clone_there}: what it lacks cannot be had from it")
    _set_upstream(worktree, origin, cloned)
    (worktree.control / _MARK).unlink(missing_ok=True)
    _report(cloned)


def _default_folder(full: str) -> str:
    folder = folder_of(full, Path.cwd())
    path = Path(full.rstrip("/")) if folder is None else folder
    name = path.parent.name if path.name == ".dsvc" else path.name
    return name.removesuffix(".dsvc").removesuffix(".bundle") or "clone"


def _check_free(root: Path, control: Path, full: str) -> None:
    """Check that *root* is not there, is empty, or is what an interrupted clone of the same address has left."""
    found = None
    with suppress(OSError, UnicodeDecodeError):
        found = (control / _MARK).read_text("utf-8")
    if found != full and root.exists() and (not root.is_dir() or any(root.iterdir())):
        message = f"{quote_path(os.fsencode(root))} exists and is not an empty folder"
        raise Failure(message, code=_EXISTS)


def _setting(text: str) -> tuple[str, Value]:
    key, equals, value = text.partition("=")
    if not equals:
        message = f"`--config` takes KEY=VALUE, not `{text}`"
        raise UsageError(message)
    return key, parse_value(key, value)


def _make(root: Path, control: Path, origin: str, settings: Mapping[str, Value], part: SparseSet) -> Worktree:
    try:
        make_folder(control)
        (control / _MARK).write_text(str(settings[f"remote.{origin}.url"]), "utf-8")
    except OSError as error:
        raise storage_error(error, f"make {quote_path(os.fsencode(root))}") from error
    with suppress(RepositoryExistsError):
        context = session.make_context(session.load_config())
        create_repository(root, context, store_id=session.nonce(), bare=control == root)
    for key, value in settings.items():
        set_value(control / "config.toml", key, value)
    if part:
        write_sparse_set(control, part)
    config = session.load_config(control)
    return open_worktree(control, session.make_context(config), config)


def _set_upstream(worktree: Worktree, origin: str, cloned: Cloned) -> None:
    if origin != "origin" and cloned.head is not None and cloned.head.startswith(HEADS):
        name = cloned.head.removeprefix(HEADS)
        set_value(worktree.control / "config.toml", f"branch.{name}.remote", origin)
        set_value(worktree.control / "config.toml", f"branch.{name}.merge", name)


def _report(cloned: Cloned) -> None:
    line = transferred(cloned.exchange, "fetched")
    if line:
        console.say(line)
    if cloned.head is None:
        if cloned.exchange.updates:
            console.warn("there is no branch to work on; `dsvc list` shows the versions that there are")
        else:
            console.warn("you appear to have cloned an empty repository")
    elif cloned.files:
        console.say(f"checked out {short_name(cloned.head)}: {console.plural(cloned.files, 'file')}")
