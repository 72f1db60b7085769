"""dsvc fetch: what a remote has comes here."""

import os
from contextlib import suppress
from typing import Annotated

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError, describe
from dsvc.cli.exchange import (
    open_remote,
    print_json,
    rejection_code,
    remote_hints,
    show_refs,
    transferred,
    usual_remote,
)
from dsvc.cli.history import PathNotFoundError
from dsvc.cli.options import Depth, DryRun, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.paths import tree_path
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_repository
from dsvc.cli.workers import workers
from dsvc.config import set_value, unset_value
from dsvc.errors import NoSpaceError, StorageError
from dsvc.history.needs import bring_entries
from dsvc.history.revisions import resolve
from dsvc.history.tree import Tree
from dsvc.log.refs import HEADS
from dsvc.model.ids import ObjectId
from dsvc.transport.address import redact
from dsvc.transport.data import bring_all
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.offer import Into
from dsvc.transport.refspec import Refspec, parse_refspec
from dsvc.transport.remote import NoStoreError, Remote, find_remote
from dsvc.transport.updates import Exchange
from dsvc.worktree.head import read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["command", "configured", "fetch_from"]

_REFUSED = 10

_TAKE_THEIRS = "to take the remote's, run `dsvc fetch --tags --force`; what is published here stays"


def command(
    remote: Annotated[
        str | None, argument("REMOTE", help="The name of a remote, or a bundle; with `--data`, or a revision.")
    ] = None,
    refspecs: Annotated[
        tuple[str, ...], argument("REFSPEC", help="A branch or a tag of the remote, or `SOURCE:TARGET`.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Get the data of these only.", after_dashes=True)
    ] = None,
    *,
    data: Annotated[
        bool, option("--data", help="Get the data of all versions, or of *REVISION*, that a lazy clone lacks.")
    ] = False,
    all: Annotated[bool, option("--all", help="Fetch from every remote.")] = False,
    prune: Annotated[bool, option("-p", "--prune", help="Forget branches that the remote no longer has.")] = False,
    tags: Annotated[bool | None, option("-t", "--tags", help="Fetch all tags; `--no-tags` fetches none.")] = None,
    force: Annotated[bool, option("-f", "--force", help="Move tags and branches of ours wherever they were.")] = False,
    depth: Depth = None,
    unshallow: Annotated[bool, option("--unshallow", help="Get the versions that a shallow clone lacks.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Get versions and data from a remote.

    Without *REFSPEC*, all branches of the remote are fetched. Branches of ours stay where they are:
    `REMOTE/BRANCH` remembers where the remote's branch is. Tags come along with the versions that they name, and are
    published here if they are there; an alias such as *DATASET*`@prod` follows the remote's, unless it was moved here.
    Without *REMOTE*, it is the one that the current branch follows, or else `origin`.

    In a bare clone, the branches themselves move forward, and in a mirror all is as it is there; see dsvc-clone(1).

    Where the remote cannot be reached, another one that is configured as its mirror is asked, and the branches that
    remember it only move forward by that; see dsvc-remotes(7).

    Only what is missing here is copied, and everything is checked against its hash before it counts.
    In a lazy clone (see dsvc-concepts(7)), versions come without data, which is read when it is needed.

    In a shallow clone, of `dsvc clone --depth`, only newer versions come than there are; with `--depth`, the newest of
    each branch, and with `--unshallow` all: those of its branches with their tags, and all that it has of the history
    of any branch or tag here.

    With `--data`, all data comes too, also that of versions that are here already. `dsvc fetch --data` *REVISION*
    fetches no versions, and brings the data of one that is here, or of some *PATH*s in it: for a journey, say.

    Examples:
        $ dsvc fetch
        $ dsvc fetch --data v1.2 images/train
        $ dsvc fetch --all --prune
        $ dsvc fetch origin main

    Exit status:
        5 a ref was rejected; all others were fetched
        10 the same, because it is published here

    See also:
        dsvc-pull(1), dsvc-remote(1)
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    names = [*worktree.config.remotes()] if all else [remote or usual_remote(worktree)]
    if all and (remote or refspecs):
        message = "`--all` takes neither remote nor refspec"
        raise UsageError(message)
    if data and remote is not None and remote not in worktree.config.remotes():
        _bring(worktree, remote, [*map(os.fsencode, refspecs), *(paths or ())])
        return
    if paths:
        message = "paths are for the data of a version"
        raise UsageError(message, hint="run `dsvc fetch --data REVISION -- PATH`")
    if depth is not None and unshallow:
        message = "choose one of `--depth` and `--unshallow`"
        raise UsageError(message)
    for name in names:
        options = msgspec.structs.replace(
            configured(worktree, name, workers(worktree.config, jobs).jobs),
            tags=tags,
            prune=prune,
            force=force,
            dry_run=dry_run,
            depth=depth,
            complete=unshallow,
        )
        if depth is not None:
            _rely_on(worktree, name, dry_run=dry_run)
            options = msgspec.structs.replace(options, shallow=True)
        elif unshallow:
            options = msgspec.structs.replace(options, shallow=False)
        with remote_hints(name):
            other = open_remote(worktree, name)
        fetch_from(worktree, other, list(map(parse_refspec, refspecs)), options, verbose=verbose, json=json)
        if unshallow and not (dry_run or refspecs) and worktree.config.flag(f"remote.{name}.shallow"):
            unset_value(worktree.control / "config.toml", f"remote.{name}.shallow")
    if data and not dry_run:
        with progress_bar() as progress:
            bring_all(worktree.store, worktree.store.state(), progress)


def configured(worktree: Worktree, name: str, threads: int) -> FetchOptions:
    """Return what the configuration says of a fetch from the remote *name*."""
    config = worktree.config
    return FetchOptions(
        data=not config.flag(f"remote.{name}.promisor"),
        threads=threads,
        into=Into(config.text(f"remote.{name}.fetch") or "tracking"),
        shallow=config.flag(f"remote.{name}.shallow"),
    )


def _rely_on(worktree: Worktree, name: str, *, dry_run: bool) -> None:
    """Let older versions be promised by the remote *name*, which has to be a promisor."""
    if not worktree.config.flag(f"remote.{name}.promisor"):
        message = f"nothing older could be read: {name} is no promisor"
        hint = f"to rely on it, run `dsvc config remote.{name}.promisor true`; see dsvc-concepts(7)"
        raise Failure(message, code=_REFUSED, hint=hint)
    if not (dry_run or worktree.config.flag(f"remote.{name}.shallow")):
        set_value(worktree.control / "config.toml", f"remote.{name}.shallow", value=True)


def _bring(worktree: Worktree, revision: str, paths: list[bytes]) -> None:
    """Bring the data of *paths* in *revision*, or of all of it."""
    state = worktree.store.state()
    commit_id = resolve(worktree.store, state, revision, head=read_head(worktree, state))
    tree = Tree(worktree.store.objects, ObjectId(worktree.commit_of(commit_id).tree))
    within = [tree_path(worktree.root, path) for path in paths] or [b""]
    for path in within:
        if path and next(tree.entries(path), None) is None:
            raise PathNotFoundError(path, revision)
    with progress_bar() as progress:
        bring_entries(worktree.store.objects, (entry for path in within for entry in tree.entries(path)), progress)


def fetch_from(
    worktree: Worktree,
    other: Remote,
    refspecs: list[Refspec],
    options: FetchOptions,
    *,
    verbose: bool = False,
    json: bool = False,
) -> Exchange:
    """Fetch *refspecs* from *other* and say what came."""
    try:
        with remote_hints(other.name, other.address):
            fetched, other = _fetch(worktree, other, refspecs, options)
    except FetchRejectedError as error:
        _report(error.exchange, other, options, verbose=verbose, json=json)
        is_branch = any(update.target.startswith(HEADS) for update in error.exchange.rejected)
        advice = "to take the remote's, run the same with `--force`" if is_branch else _TAKE_THEIRS
        raise Failure(str(error), code=rejection_code(error.exchange), hint=advice) from error
    _report(fetched, other, options, verbose=verbose, json=json)
    if fetched.rejected:
        console.warn("tags here are other versions than those of the same names there, and stay")
        console.hint(_TAKE_THEIRS)
    return fetched


def _fetch(
    worktree: Worktree, other: Remote, refspecs: list[Refspec], options: FetchOptions
) -> tuple[Exchange, Remote]:
    """Fetch from *other*, or where it cannot be reached from the first of its mirrors that can; return who it was.

    Raises:
        StorageError: Nobody can be reached.
    """
    try:
        with progress_bar() as progress:
            return fetch(worktree.store, other, refspecs, options, progress=progress), other
    except NoSpaceError:
        raise
    except StorageError as error:
        for name in worktree.config.mirrors_of(other.name):
            console.warn(f"{describe(error)}; asking its mirror {name}")
            mirror = find_remote(worktree.config, worktree.control, name, worktree.store.context)
            # It is known by its own name, and what it has is what the other had.
            named = msgspec.structs.replace(mirror, name=other.name)
            with suppress(StorageError, NoStoreError), progress_bar() as progress:
                stands_in = msgspec.structs.replace(options, stands_in=True)
                return fetch(worktree.store, named, refspecs, stands_in, progress=progress), mirror
        raise


def _report(fetched: Exchange, other: Remote, options: FetchOptions, *, verbose: bool, json: bool) -> None:
    if json:
        print_json(fetched)
        return
    line = transferred(fetched, "would fetch" if options.dry_run else "fetched")
    if line:
        console.say(line)
    show_refs(fetched.updates, f"From {redact(other.address)}", verbose=verbose)
