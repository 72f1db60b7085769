"""dsvc prune: room again, for data that a remote has."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError, exit_code
from dsvc.cli.exchange import remote_hints, usual_remote
from dsvc.cli.options import DryRun, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.config import set_value
from dsvc.maintenance.prune import NothingProtectedError, Pruned, prune_pushed
from dsvc.transport.remote import find_remote

__all__ = ["command"]


def command(
    remote: Annotated[str | None, argument("REMOTE", help="The remote that has the data.")] = None,
    *,
    pushed: Annotated[bool, option("--pushed", help="Drop data that the remote has.")] = False,
    force: Annotated[
        bool, option("-f", "--force", help="Rely on branches and on tags that are not published, too.")
    ] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Drop data that a remote has, to make room.

    With `--pushed`, packs go whose every object *REMOTE* has and keeps: the remote is read anew, each pack that is
    relied on is looked at there, and a published tag there has to lead to what goes, so that nobody can delete
    it. With `--force`, any branch or tag there is enough; who deletes it there then may take the only copy away.

    History and metadata stay, and so does what is staged or was not pushed, with all that is in one pack with it.
    The files of the worktree stay too. What went is promised, as in a lazy clone (see dsvc-concepts(7)): the remote
    becomes a promisor, and data comes back when it is needed, for `dsvc undo` as well.

    Without *REMOTE*, it is the one that the current branch follows, or else `origin`.

    Examples:
        $ dsvc prune --pushed --dry-run
        $ dsvc prune --pushed origin

    Exit status:
        8 the remote lacks what it should have; nothing went
        10 no published tag protects the data there

    See also:
        dsvc-tag(1), dsvc-fetch(1), dsvc-fsck(1), dsvc-concepts(7)
    """
    console.set_quiet(quiet)
    if not pushed:
        message = "nothing but `--pushed` can be pruned yet"
        raise UsageError(message, hint="to drop data that a remote has, run `dsvc prune --pushed`")
    worktree = open_worktree()
    name = remote or usual_remote(worktree)

    def promise() -> None:
        if not worktree.config.flag(f"remote.{name}.promisor"):
            set_value(worktree.control / "config.toml", f"remote.{name}.promisor", value=True)

    with remote_hints(name), progress_bar() as progress:
        other = find_remote(worktree.config, worktree.control, name, worktree.store.context)
        try:
            pruned = prune_pushed(
                worktree.store, other, promise=promise, force=force, dry_run=dry_run, progress=progress
            )
        except NothingProtectedError as error:
            hint = "to rely on its branches and tags, though somebody may delete them, use `--force`"
            raise Failure(str(error), code=exit_code(error), hint=hint) from error
        other.remember()
    _report(pruned, dry_run=dry_run, json=json)


def _report(pruned: Pruned, *, dry_run: bool, json: bool) -> None:
    if json:
        console.out_json(
            {
                "packs": pruned.packs,
                "objects": pruned.objects,
                "freed_bytes": pruned.size,
                "kept_packs": pruned.kept,
                "dry_run": dry_run,
            }
        )
        return
    verb = "would free" if dry_run else "freed"
    dropped = f"{console.plural(pruned.packs, 'pack')} with {console.plural(pruned.objects, 'object')}"
    kept = f"; {console.plural(pruned.kept, 'pack')} of data stay" if pruned.kept else ""
    console.say(f"{verb} {console.format_size(pruned.size)}: {dropped}{kept}")
