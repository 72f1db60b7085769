"""From the words of a command line to the call of one command."""

import os

from dsvc.cli import console, session
from dsvc.cli.commands import load, load_subcommands
from dsvc.cli.errors import UsageError, guard
from dsvc.cli.parser import Command, HelpRequested, parse
from dsvc.errors import CorruptionError

__all__ = ["run"]


def run(words: list[str]) -> int:
    """Do what *words* ask for and return the exit code."""
    console.prepare()
    code = guard(lambda: _run(words))
    session.close()
    return code


def _run(words: list[str]) -> int:
    words = _read_global_options(words)
    if not words or words[0] in ("-h", "--help"):
        from dsvc.cli.usage import overview

        console.out(overview())
        return 0 if words else 2
    if words[0] == "--version":
        words[0] = "version"
    return _call(words[0], words[1:])


def _read_global_options(words: list[str]) -> list[str]:
    """Act on the options before the command, and return the rest."""
    remaining = list(words)
    while remaining and remaining[0].startswith("-") and remaining[0] not in ("-h", "--help", "--version"):
        option = remaining.pop(0)
        if option == "--no-pager":
            console.set_paging(False)
        elif option in ("-C", "-c"):
            if not remaining:
                message = f"option `{option}` needs a value"
                raise UsageError(message, hint="see `dsvc help`")
            _GLOBAL_OPTIONS[option](remaining.pop(0))
        else:
            message = f"unknown option `{option}` before the command"
            raise UsageError(message, hint="options of a command stand after its name; see `dsvc help`")
    return remaining


def _enter(folder: str) -> None:
    if folder:
        os.chdir(folder)


_GLOBAL_OPTIONS = {"-C": _enter, "-c": session.set_flag}


def _call(name: str, words: list[str]) -> int:
    command = load(name)
    session.set_command(name)
    try:
        command, words = _choose(name, command, words)
        return _run_twice(command, parse(command, words))
    except HelpRequested:
        from dsvc.cli.usage import help_text

        console.out(help_text(name))
        return 0
    except UsageError as error:
        error.hint = error.hint or f"see `dsvc {name} --help`"
        raise


def _run_twice(command: Command, arguments: dict[str, object]) -> int:
    """Run *command*, and once more where `worktree.db` turned out damaged: by then it is made anew."""
    try:
        return command(**arguments) or 0
    except CorruptionError as error:
        # By name, so that a command without a worktree need not load the stat cache.
        if type(error).__name__ != "DamagedCacheError":
            raise
    return command(**arguments) or 0


def _choose(name: str, command: Command, words: list[str]) -> tuple[Command, list[str]]:
    subcommands = load_subcommands(name)
    if not subcommands or not words or words[0].startswith("-"):
        return command, words
    if words[0] in subcommands:
        return subcommands[words[0]], words[1:]
    message = f"`{words[0]}` is not a subcommand of `dsvc {name}`"
    raise UsageError(message, similar=(words[0], subcommands))
