"""The table of commands: the only list of them there is.

Help, man pages and the look-up of a command come from it, without importing any. A command
NAME is the function `command` of the module `dsvc.cli.NAME`, with `_` for `-`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final, NamedTuple

from dsvc.cli.errors import UsageError
from dsvc.cli.light_typing import light_typing
from dsvc.cli.parser import Command

__all__ = ["COMMANDS", "GROUPS", "Entry", "load", "load_subcommands"]


class Entry(NamedTuple):
    """What `dsvc help` says of a command; the summary is the first line of its docstring too."""

    group: str
    summary: str


# The order of git's own help.
GROUPS: Final = {
    "start": "start a repository",
    "change": "work on the current change",
    "examine": "examine the history and state",
    "grow": "grow, mark and move the history",
    "collaborate": "collaborate",
    "maintain": "maintain",
}

COMMANDS: Final[dict[str, Entry]] = {
    "init": Entry("start", "Make an empty repository"),
    "clone": Entry("start", "Clone a repository into a new folder"),
    "demo": Entry("start", "Show what dsvc does on a small dataset"),
    "add": Entry("change", "Stage the content of files"),
    "rm": Entry("change", "Remove files from the worktree and from the next commit"),
    "mv": Entry("change", "Move or rename files, folders and links"),
    "restore": Entry("change", "Restore files, or what is staged of them"),
    "meta": Entry("change", "Say something of versions and of files"),
    "link": Entry("change", "Link to content that stays elsewhere"),
    "sparse": Entry("change", "Have files of only some folders in the worktree"),
    "unlock": Entry("change", "Make files writable that share their bytes with the cache"),
    "status": Entry("examine", "Show what changed since the last commit"),
    "log": Entry("examine", "Show the commits"),
    "graph": Entry("examine", "Show what versions were made from, and what was made from them"),
    "whouses": Entry("examine", "Show who works with a version, and what was made from it"),
    "list": Entry("examine", "List the datasets and versions"),
    "search": Entry("examine", "Search for versions"),
    "show": Entry("examine", "Show a commit, a tag, or the content of a file"),
    "diff": Entry("examine", "Show changes between files, what is staged, and versions"),
    "compare": Entry("examine", "Show how two versions differ, in numbers"),
    "verify": Entry("examine", "Check that a folder holds what a version says"),
    "ls": Entry("examine", "List the files of a version"),
    "cat": Entry("examine", "Print the content of files"),
    "du": Entry("examine", "Show how much room the files of a version take"),
    "preview": Entry("examine", "Show what the files of a version look like"),
    "stats": Entry("examine", "Show figures about the files of a version"),
    "use": Entry("examine", "Pin the versions that some code uses, in a file beside the code"),
    "get": Entry("examine", "Get a version into a folder, read-only and cached"),
    "commit": Entry("grow", "Make a version of what is staged"),
    "cherry-pick": Entry("grow", "Apply the changes of other commits"),
    "revert": Entry("grow", "Take back the changes of commits, in a new one"),
    "rebase": Entry("grow", "Put the commits of this branch on top of another version"),
    "merge": Entry("grow", "Join other versions with the current one"),
    "sync": Entry("grow", "Make a version equal to a folder"),
    "snapshot": Entry("grow", "Commit everything that changed, and push it"),
    "squash": Entry("grow", "Make one version of several"),
    "reset": Entry("grow", "Take the current branch to another version"),
    "branch": Entry("grow", "List, make, rename and delete branches"),
    "switch": Entry("grow", "Go to another branch"),
    "checkout": Entry("grow", "Go to a branch or version, or restore files from it"),
    "tag": Entry("grow", "List, make and delete tags"),
    "publish": Entry("grow", "Publish a version: nobody can move or delete it then"),
    "dataset": Entry("grow", "Make, describe, rename, archive and delete datasets"),
    "reflog": Entry("grow", "Show what HEAD, or another ref, was before"),
    "undo": Entry("grow", "Take back what was done last"),
    "fetch": Entry("collaborate", "Get versions and data from a remote"),
    "pull": Entry("collaborate", "Fetch, and bring what came into the current branch"),
    "push": Entry("collaborate", "Send versions and data to a remote"),
    "remote": Entry("collaborate", "Manage the remotes of the repository"),
    "bundle": Entry("collaborate", "Put versions into a file, for places without a network"),
    "export": Entry("collaborate", "Write a version as an archive or a folder"),
    "config": Entry("maintain", "Get and set configuration"),
    "fsck": Entry("maintain", "Check that everything stored is whole"),
    "prune": Entry("maintain", "Drop data that a remote has, to make room"),
    "cache": Entry("maintain", "Manage the cache that versions are got into"),
    "help": Entry("maintain", "Show help about dsvc or a command"),
    "version": Entry("maintain", "Show the version of dsvc"),
}


def _module(name: str) -> str:
    return f"dsvc.cli.{name.replace('-', '_')}"


def load(name: str) -> Command:
    """Return the function of the command *name*, importing its module and no other.

    Raises:
        UsageError: There is no such command.
    """
    if name not in COMMANDS:
        message = f"`{name}` is not a dsvc command"
        raise UsageError(message, similar=(name, COMMANDS))
    with light_typing():
        command: Command = import_module(_module(name)).command
    return command


def load_subcommands(name: str) -> Mapping[str, Command]:
    """Return the functions of the subcommands that the command *name* has."""
    subcommands: Mapping[str, Command] = getattr(import_module(_module(name)), "SUBCOMMANDS", {})
    return subcommands
