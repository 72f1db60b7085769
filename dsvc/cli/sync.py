"""dsvc sync: make a version equal to a folder."""

import os
import re
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, argument, option
from dsvc.cli.paths import OutsideRepositoryError, tree_path
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.push import push_branch, rejection_hint
from dsvc.cli.session import open_worktree
from dsvc.cli.snapshot_text import line, pushed, told_changes
from dsvc.cli.workers import workers
from dsvc.errors import InvalidInputError
from dsvc.history.diff import ChangeKind
from dsvc.log.refs import branch_ref, short_name
from dsvc.model.paths import quote_path, validate_path
from dsvc.transport.push import PushRejectedError
from dsvc.transport.remote import default_remote
from dsvc.worktree.session import DetachedHeadError
from dsvc.worktree.sync import Limit, Synced, Target, TooManyRemovedError, place_in_worktree, preview_sync, sync
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_NOTHING: Final = 1
_CONFLICT: Final = 5
_REFUSED: Final = 10
_LIMIT: Final = re.compile(r"([0-9]{1,15})(%?)")


def _limit(text: str) -> Limit:
    found = _LIMIT.fullmatch(text)
    if not found:
        message = f"`{text}` is neither a number nor a percentage, as `100` or `5%`"
        raise InvalidInputError(message)
    return Limit(int(found[1]), bool(found[2]))


def command(
    folder: Annotated[Path, argument("DIR", help="The folder: any one, in the worktree or elsewhere.")],
    *,
    message: Annotated[
        str | None, option("-m", "--message", metavar="TEXT", help="The message of the version.")
    ] = None,
    prefix: Annotated[
        bytes | None,
        option("--prefix", metavar="PATH", help="Where in the version, from its root; the rest stays as it is."),
    ] = None,
    branch: Annotated[
        str | None, option("-b", "--branch", metavar="NAME", help="Commit to this branch, and not to the current one.")
    ] = None,
    max_delete: Annotated[
        Limit | None,
        option("--max-delete", metavar="N", parse=_limit, help="Refuse to remove more than *N* paths, or *N*`%`."),
    ] = None,
    push: Annotated[bool, option("--push", help="Push the branch then.")] = False,
    exit_code: Annotated[bool, option("--exit-code", help="Exit with 1 if nothing had changed.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Make a version equal to a folder.

    A new version of the current branch has, below *PATH*, exactly what *DIR* has: what is new there is added, what
    changed is taken as it is now, and what is gone is removed. Executable bits, symlinks and empty folders count. What
    a `.dsvcignore` in *DIR* ignores is left out. Links (see dsvc-link(1)) stay, as they have no files. Where nothing
    changed, no version is made.

    *DIR* may be any folder, such as one where a data lake is mounted; nothing is written to it. What its files look
    like is remembered in `.dsvc/sync`, so the next time only what changed is read. If *DIR* is in the worktree, this is
    `dsvc add -A DIR` and `dsvc commit DIR`.

    The version is made in one step, or not at all. If it is one of the current branch, the files of the worktree
    follow, as in `dsvc pull`; where one that was edited would be overwritten, nothing is done. With `--branch`, the
    worktree is left alone and needs no room: that branch gets the version, and is made if it is not there yet, as a
    dataset of its own without a version before. `dsvc undo` takes a sync back.

    A disk that is not mounted looks like an empty folder. So if *DIR* is empty and the version is not, nothing is done,
    unless `--max-delete=100%` allows it. Of a file that was renamed, the old path counts as removed.

    Examples:
        $ dsvc sync /mnt/lake/images --prefix images -m "Images of July"
        [main 1a2b3c4d5e] 3 new, 1 changed, 2 removed (2.4 MiB)
        $ dsvc sync /mnt/lake --branch lake --max-delete 5% --push
        $ dsvc sync .

    Exit status:
        0 done, or nothing had changed
        1 nothing had changed, with `--exit-code`
        4 there is no such folder
        5 edited files would be overwritten, or somebody moved the branch meanwhile
        6 a file changed while it was read, or another sync of the same is running
        7 the folder could not be read, or the push failed
        10 more would be removed than was allowed

    See also:
        dsvc-snapshot(1), dsvc-add(1), dsvc-verify(1), dsvc-undo(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    target = _target(worktree, folder, prefix, branch, max_delete)
    name = default_remote(worktree.config, short_name(target.ref)) if push else None
    try:
        if dry_run:
            counts = preview_sync(worktree, folder, target)
            _report(target, Synced(None, counts), planned=True, json=json)
            return _NOTHING if exit_code and not counts else 0
        shown = quote_path(os.fsencode(os.path.abspath(folder)))  # noqa: PTH100 (symlinks stay)
        with progress_bar() as progress:
            synced = sync(
                worktree,
                folder,
                target,
                lambda counts: message if message is not None else f"Sync {shown}: {told_changes(counts)}",
                workers=workers(worktree.config, jobs),
                progress=progress,
            )
    except TooManyRemovedError as error:
        raise _too_many(error) from error
    _report(target, synced, planned=False, json=json)
    if name is not None and worktree.store.state().value(target.ref) is not None:
        _push(worktree, name, target.ref, workers(worktree.config, jobs))
    return _NOTHING if exit_code and synced.commit is None else 0


def _target(worktree: Worktree, folder: Path, prefix: bytes | None, branch: str | None, limit: Limit | None) -> Target:
    """Return what is to become equal to *folder*."""
    path = (prefix or b"").strip(b"/")
    if path:
        validate_path(path)
    current = worktree.session(worktree.store.state()).branch
    within = place_in_worktree(worktree, folder)
    if within is None:
        if prefix is None and _seems_within(worktree, folder):
            message = f"{quote_path(os.fsencode(folder))} is a link that leads out of the worktree"
            raise UsageError(message, hint="say with `--prefix` what is to be equal to what it leads to")
    elif prefix is not None and path != within:
        message = f"{quote_path(os.fsencode(folder))} is in the worktree, and in the version where it is there"
        raise UsageError(message, hint="leave `--prefix` out")
    else:
        path = within
    ref = current if branch is None else branch_ref(branch)
    if ref is None:
        raise Failure(str(DetachedHeadError()), code=_CONFLICT, hint="go to a branch with `dsvc switch BRANCH`")
    if within is not None and ref != current:
        message = f"{quote_path(os.fsencode(folder))} is in the worktree, and goes to the current branch"
        raise UsageError(message, hint=f"run `dsvc switch {branch}` first")
    return Target(ref, path, limit)


def _seems_within(worktree: Worktree, folder: Path) -> bool:
    try:
        tree_path(worktree.root, os.fsencode(folder))
    except OutsideRepositoryError:
        return False
    return True


def _too_many(error: TooManyRemovedError) -> Failure:
    if error.is_empty:
        advice = "see whether its disk is mounted; if all of it is to go, use `--max-delete=100%`"
    else:
        advice = "`-n` counts what would be done, and `--max-delete` says how much may be"
    return Failure(str(error), code=_REFUSED, hint=advice)


def _report(target: Target, synced: Synced, *, planned: bool, json: bool) -> None:
    branch = short_name(target.ref)
    if json:
        status = "planned" if planned else "unchanged" if synced.commit is None else "committed"
        record: dict[str, object] = {"kind": "sync", "status": status, "branch": branch}
        record |= {"commit": None if synced.commit is None else synced.commit.hex()}
        record |= console.json_path(target.prefix)
        record |= {kind.name.lower(): synced.counts[kind] for kind in ChangeKind}
        console.out_json(record | {"size": synced.size, "left_out": synced.left_out})
        return
    changes = told_changes(synced.counts)
    if planned:
        console.say(line(branch, f"would commit {changes}" if synced.counts else changes))
        return
    size = f" ({console.format_size(synced.size)})" if synced.size else ""
    left_out = console.plural(synced.left_out, "socket, pipe or device", "sockets, pipes and devices")
    where = branch if synced.commit is None else f"{branch} {synced.commit.short}"
    console.say(line(where, changes + size, f"left out {left_out}" if synced.left_out else None))


def _push(worktree: Worktree, name: str, ref: str, work: Workers) -> None:
    try:
        exchange = push_branch(worktree, name, ref, workers=work)
    except PushRejectedError as error:
        text = f"the push to {name} failed: {error}"
        raise Failure(text, code=_CONFLICT, hint=rejection_hint(error)) from error
    console.say(line(short_name(ref), pushed(exchange, name)))
