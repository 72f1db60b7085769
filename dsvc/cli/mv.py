"""dsvc mv: move and rename files."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.options import DryRun, Quiet, Verbose, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import named_paths, working_folder
from dsvc.cli.session import open_worktree
from dsvc.worktree.move import BadDestinationError, move, plan_moves

__all__ = ["command"]


def command(
    sources: Annotated[tuple[bytes, ...], argument("SOURCE", help="A tracked file, or a folder with such files.")],
    destination: Annotated[bytes, argument("DESTINATION", help="The new name, or the folder to move into.")],
    *,
    force: Annotated[bool, option("-f", "--force", help="Overwrite a file that is in the way.")] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Move or rename files, folders and links.

    It happens on disk and in the next commit. No content is read or stored, however large. Changes
    that are not staged stay so. Into a *DESTINATION* that is a folder, the sources are moved
    under their own names.

    Examples:
        $ dsvc mv raw.csv clean.csv
        $ dsvc mv 2024 2025 archive

    Exit status:
        4 a source is not there, or not tracked
        5 the destination exists, or a source is in conflict

    See also:
        dsvc-rm(1), dsvc-add(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    *named, target = named_paths(worktree, (*sources, destination))
    state = worktree.store.state()
    moves = plan_moves(worktree, state, named, target, force=force)
    if destination.endswith(b"/") and any(one.destination == target for one in moves):
        raise BadDestinationError(named[0], target, "the folder is not there")
    if not dry_run:
        move(worktree, moves, stay_in=working_folder(worktree))
    if verbose or dry_run:
        for one in moves:
            source, into = (shown_path(worktree.root, path) for path in (one.source, one.destination))
            console.out(f"Renaming {source} to {into}")
