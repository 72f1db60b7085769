"""dsvc unlock: make files writable that share their bytes with the cache."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.options import Quiet, argument
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import named_paths
from dsvc.cli.session import open_worktree
from dsvc.worktree.unlock import unlock

__all__ = ["command"]


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="A file.")],
    *,
    quiet: Quiet = False,
) -> None:
    """Make files writable that share their bytes with the cache.

    Where `checkout.link` is `hardlink`, a file of the worktree is a second name of a file in
    dsvc's cache, and read-only, so that nobody edits both. This command puts a copy in its
    place that is all your own, and writable. With reflinks and copies there is nothing to do.

    Programs that write a new file and rename it, as most editors do, need no unlocking.

    Examples:
        $ dsvc unlock table.csv

    Exit status:
        2 a path is not a regular file
        4 a path is not there

    See also:
        dsvc-switch(1), dsvc-config(5)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    for path in named_paths(worktree, paths):
        done = unlock(worktree, path)
        console.say(f"{shown_path(worktree.root, path)} {'is unlocked' if done else 'was not locked'}")
