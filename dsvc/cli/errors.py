"""What is said, and with which exit code, when a command fails.

The only place that knows both the tree of errors and the names of commands. Classes are looked
up by name, so that an error's module is loaded only by the command that may raise it.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from dsvc.cli import console
from dsvc.errors import DsvcError, InvalidInputError

__all__ = ["EXIT_STATUS", "Failure", "UsageError", "describe", "did_you_mean", "exit_code", "guard", "hint", "report"]

Known = TypeVar("Known")

_INTERRUPTED: Final = 130
_CLOSED_PIPE: Final = 141
_NOT_FOUND: Final = 4
_STORAGE: Final = 7
_DAMAGED: Final = 8
_NO_SPACE: Final = 9
# EX_SOFTWARE of sysexits.h: a bug, so it must not look like anything that a script handles.
_UNEXPECTED: Final = 70

# The nearest class decides; see EXIT STATUS in dsvc(1).
_EXIT_CODES: Final = {
    "InvalidInputError": 2,
    "BareRepositoryError": 3,
    "NotARepositoryError": 3,
    "NotFoundError": _NOT_FOUND,
    "NothingToCommitError": 1,
    # Names that people give are resolved before; what is missing then, the store has lost.
    "ObjectNotFoundError": _DAMAGED,
    "KeyNotFoundError": _DAMAGED,
    "LackingRemoteError": _NOT_FOUND,
    "ConflictError": 5,
    "AlreadyExistsError": 5,
    "BusyError": 6,
    "StorageError": _STORAGE,
    "CorruptionError": _DAMAGED,
    "NoSpaceError": _NO_SPACE,
    "RefusedError": 10,
}

# What dsvc(1) says; the test of the frame compares the two tables.
EXIT_STATUS: Final = (
    ("0", "Done."),
    ("1", "There are differences, or nothing to do, where that was asked."),
    ("2", "The command line, a name or a value cannot be used as it is."),
    ("3", "Not in a repository."),
    ("4", "What was named is not there."),
    ("5", "A conflict: two changes meet, or the name is taken."),
    ("6", "Another process is at work on the same thing; try again."),
    ("7", "The disk or the network failed; try again."),
    ("8", "Stored data is damaged; run `dsvc fsck`."),
    ("9", "No space is left."),
    ("10", "Refused, because it would harm what is published or protected."),
    ("70", "A bug in dsvc."),
    ("130", "Interrupted."),
    ("141", "Whoever read the output stopped reading."),
)

_FSCK: Final = "to see what is damaged, run `dsvc fsck`"

_HINTS: Final[dict[str, str]] = {
    "NotARepositoryError": "to make a repository here, run `dsvc init`",
    "AccessDeniedError": "ask its owner for the right to list, read and write there; without the one to list, "
    "what is not there yet is refused too",
    "BucketNotFoundError": "dsvc makes no buckets: make it with the vendor's tools, or correct the address",
    "BareRepositoryError": "to work on files, clone it: `dsvc clone ADDRESS FOLDER`",
    "AliasNotFoundError": "`dsvc use` shows those that there are",
    "BundleBeingMadeError": "wait for it; if it is gone, run the same command again, which goes on from there",
    "BundleExistsError": "choose another name; to overwrite it, use `--force`",
    "BusyError": "another dsvc is at work here; wait for it, then try again",
    "CorruptionError": _FSCK,
    "CredentialsExpiredError": "log in again, then run the same command again; nothing was lost",
    "CredentialsInAddressError": "leave it out: `remote.NAME.secret-env` names a variable with it, and dsvc-remotes(7) "
    "tells where else credentials come from",
    "CredentialsRefusedError": "see dsvc-remotes(7) for where credentials come from, and check the name of the profile",
    "DatasetInUseError": "to delete what is not published all the same, use `--force`; to hide it, run "
    "`dsvc dataset archive NAME`",
    "DatasetNotFoundError": "`dsvc list` shows those that there are; one that is only on a remote needs `--remote`",
    "DivergedError": "to join both sides, merge without `--ff-only`; `dsvc rebase` puts yours on top of theirs",
    "DestinationExistsError": "to overwrite a file, use `dsvc mv --force`",
    "FileChangingError": "run the same command again once nothing writes to it; nothing was staged",
    "HostKeyError": "connect once with `ssh`, which shows the key and remembers it; a changed one may be an attack",
    "IgnoredPathError": "to add it all the same, use `dsvc add --force`",
    "KeyNotFoundError": _FSCK,
    "ContentElsewhereError": "`dsvc cat` reads what a link leads to, and `dsvc link vendor` brings it in",
    "FolderUrlError": "to link to all below it, use `--recursive`",
    "LackingRemoteError": "run `dsvc fetch --unshallow --data` there, or get it from where that is a clone of",
    "LinkChangedError": "to take what is there now, run `dsvc link update PATH`; `dsvc link check` tells all of them",
    "LinkGoneError": "to do without it, run `dsvc rm PATH`; `dsvc link check` tells what else is gone",
    "LinkNotAllowedError": "if you trust it, use `--links`; or set `links.allow` to patterns of URLs that may be "
    "read, which a file of this machine needs in any case",
    "LinkPathTakenError": "`dsvc add` stages a file in place of a link; to have a link in its place, remove it first",
    "LinkUnreadableError": "check address, network and credentials (see dsvc-remotes(7)), then run the same again",
    "NamelessUrlError": "use `--to PATH`",
    "SecretInUrlError": "link to the plain address; credentials come from the environment, see dsvc-remotes(7)",
    "SizelessUrlError": "with `--digest`, all of it is read once to find out",
    "LocalChangesError": "commit them, or give them up with `dsvc restore`",
    "MalformedBundleError": "copy it once more from where it came from, or make it anew",
    "NoConditionalWritesError": "use another service; or, if nobody else ever writes there, set "
    "`remote.NAME.single-writer` to true",
    "NoCredentialsError": "see dsvc-remotes(7) for where they come from, or name a profile in `remote.NAME.profile`",
    "NotABranchError": "to say it of the next version, name no revision; else make a branch there with `dsvc branch`",
    "NothingToCommitError": "to stage what changed, run `dsvc add`; `dsvc status` shows what that is",
    "ObjectNotFoundError": _FSCK,
    "OutsideSparseError": "to have it in the worktree, run `dsvc sparse add PATH`; `dsvc sparse` lists what it has",
    "MainlineError": "of a merge, name the parent to compare it with by `--mainline`; of others, none",
    "ManyHeadsConflictError": "merge one after the other, or let `-X ours`, `theirs` or `last-wins` settle it",
    "MidwayConflictError": "without `--no-commit`, conflicts can be decided one after the other",
    "NoSideError": "to take the side that has deleted it, run `dsvc rm`",
    "OutOfReachError": "once it can be reached, run the same again; `dsvc fetch --data` gets data before it is needed",
    "PublishedTagError": "to publish another version, run `dsvc publish NAME --next patch`",
    "PrerequisiteMissingError": "get those first, from an earlier bundle or from one that is made without `--since`",
    "OccupiedError": "to let them make way, use `--overwrite`; to keep them, name another folder",
    "ReadOnlyRemoteError": "to write there all the same, set `remote.NAME.read-only` to false",
    "RedirectedElsewhereError": "if you trust that too, set `links.allow` to a pattern of such URLs; see dsvc-link(1)",
    "StagedMetadataError": "commit it before, or give it up with `dsvc reset`",
    "StagedChangesError": "commit them first, or unstage them with `dsvc restore --staged`",
    "SwitchInterruptedError": "to finish it, run `dsvc switch --continue`; to go back, `dsvc switch --abort`",
    "SymlinkOutsideError": "if you trust it, use `--unsafe-symlinks`",
    "TargetExistsError": "choose another name; to overwrite an archive, use `--force`",
    "TlsError": "check the address, and the certificate of the service; a private one's is named by `AWS_CA_BUNDLE` or "
    "`SSL_CERT_FILE`",
    "UnknownInputError": "if a remote has it, run `dsvc fetch`; if it is elsewhere, write NAME@ID, with all 64 digits",
    "UnnamedInputError": "write NAME@ID",
    "UnfinishedError": "to conclude it, run that command with `--continue`; to give it up, with `--abort`",
    "UnrelatedHistoriesError": "to join them all the same, use `--allow-unrelated-histories`",
    "UnmergedPathsError": "edit them, or take a side with `dsvc restore --ours` or `--theirs`; then run `dsvc add` "
    "or `dsvc rm`",
    "UnreachableError": "check the address and the network, then run the same command again; nothing was lost",
    "VersionTakenError": "to publish another version, run `dsvc publish NAME --next patch`",
    "UnsavedChangesError": "to remove them all the same, use `dsvc rm --force`; to keep the files, `--cached`",
    "UnsupportedFormatError": "a newer dsvc wrote this; update yours",
    "ValueTooLargeError": "what goes into one volume is up to some 64 MiB: choose a larger size",
    "VolumeMissingError": "put all volumes into one folder, or apply one after the other with `dsvc bundle apply`",
    "WriteToBundleError": "make another one with `dsvc bundle create`",
    "NoSpaceError": "free some room, then run the same command again; nothing was lost",
}


Similar = tuple[str, Iterable[str]]


class UsageError(InvalidInputError):
    """The words of the command line do not fit the command.

    *similar* is a word and the names that it may have been meant for.
    """

    def __init__(self, message: str, *, hint: str | None = None, similar: Similar | None = None) -> None:
        super().__init__(message)
        self.hint = hint or (did_you_mean(*similar) if similar else None)


class Failure(DsvcError):  # noqa: N818 (raised by commands, never handled by name)
    """A command cannot go on, with the exit code *code*."""

    def __init__(self, message: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def did_you_mean(word: str, names: Iterable[str]) -> str | None:
    """Return a question after the names nearest to *word*, if any is near."""
    import difflib  # 3 ms, only after a mistake

    near = difflib.get_close_matches(word, sorted(set(names)), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else None


def exit_code(error: BaseException) -> int:
    """Return the exit code for *error*."""
    if isinstance(error, Failure):
        return error.code
    if isinstance(error, DsvcError):
        return _nearest(error, _EXIT_CODES) or _UNEXPECTED
    if isinstance(error, FileNotFoundError):
        return _NOT_FOUND
    if isinstance(error, OSError):
        return _NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else _STORAGE
    return _UNEXPECTED


def hint(error: BaseException) -> str | None:
    """Return what to do about *error*, naming the command to type where there is one."""
    if isinstance(error, UsageError):
        return error.hint or "see `dsvc help`"
    if isinstance(error, Failure):
        return error.hint
    if type(error).__name__ == "MissingExtraError":
        return f"run `pip install 'dsvc[{getattr(error, 'extra', 'all')}]'`"
    return _nearest(error, _HINTS)


def _nearest(error: BaseException, table: Mapping[str, Known]) -> Known | None:
    return next((table[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in table), None)


def report(error: Exception) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    if os.environ.get("DSVC_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    if type(error).__name__ == "BrokenProcessPool":
        error = _worker_lost()
    code = exit_code(error)
    if code == _UNEXPECTED and not isinstance(error, DsvcError):
        console.error(f"unexpected {type(error).__name__}: {error}{_place(error)}")
        console.hint("this is a bug in dsvc; run it again with DSVC_TRACEBACK=1 to see where, and report that")
        return code
    console.error(describe(error))
    if advice := hint(error):
        console.hint(advice)
    return code


def _worker_lost() -> Failure:
    """Return what to say when one of the processes of `cli.workers` ended in the middle of its work."""
    message = "a worker process was killed; where memory runs out, the system does that"
    return Failure(message, code=_STORAGE, hint="to work in one process, use `--jobs 1` or set `add.jobs`")


def describe(error: Exception) -> str:
    """Return what went wrong, as a phrase."""
    if not isinstance(error, OSError):
        return str(error)
    reason = (error.strerror or str(error)).lower()
    if error.filename is None:
        return reason
    from dsvc.model.paths import quote_path

    return f"{quote_path(os.fsencode(error.filename))}: {reason}"


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"  # noqa: PTH119 (no path is meant)


def guard(call: Callable[[], int]) -> int:
    """Run *call* and return its exit code, whatever happens in it."""
    try:
        code = _attempt(call)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough.
        _discard_output()
        return _CLOSED_PIPE
    except OSError as error:
        _discard_output()
        return report(error)
    return code


def _attempt(call: Callable[[], int]) -> int:
    try:
        return call()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (the last handler there is)
        return report(error)


def _discard_output() -> None:
    # Else Python writes what is left at exit, fails again, and says so.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
