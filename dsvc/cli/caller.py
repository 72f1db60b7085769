"""Who called: the processes that this command is a part of, up to where a person's shell or a scheduler started them.

Linux tells by `/proc`; elsewhere, and where a job is spread over machines, the variable DSVC_RUN does.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dsvc.datasets.uses import Caller, Process
from dsvc.storage.temporary import this_host

__all__ = ["arguments_of", "read_caller"]

_PROC: Final = Path("/proc")
_SHELLS: Final = frozenset(
    ["ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "pwsh", "sh", "tcsh", "xonsh", "yash", "zsh"]
)


class _Status(NamedTuple):
    """What the system says of a process; *parent*, *group* and *session* are numbers of processes."""

    process: Process
    name: str
    parent: int
    group: int
    session: int
    terminal: int


def read_caller(*, itself: bool = False) -> Caller:
    """Return who called, as `dsvc.datasets.uses` asks it.

    They are the processes of the same session above this one, the nearest first, up to a shell that somebody types at;
    with *itself*, this one is the first of them.
    """
    own = _status(os.getpid())
    above = [] if own is None else [status.process for status in _above(own)]
    processes = [own.process, *above] if own is not None and itself else above
    return Caller(_machine(), tuple(processes), os.environ.get("DSVC_RUN") or None, _is_alive)


def _above(own: _Status) -> Iterator[_Status]:
    below = own
    while below.process.number != own.session:
        above = _status(below.parent)
        if above is None or above.session != own.session or _is_typed_at(above, below):
            return
        yield above
        below = above


def _is_typed_at(shell: _Status, child: _Status) -> bool:
    """Tell whether *shell* is one where somebody types, and has started *child* for that."""
    if not shell.terminal or shell.name.lstrip("-") not in _SHELLS:
        return False
    number = shell.process.number
    # What is typed is a job of its own, with a group of its own; but for `$(...)`, which is in the shell's.
    return number == shell.session or child.group != shell.group or not _has_script(number)


def _has_script(shell: int) -> bool:
    return any(word == "-c" or not word.startswith(("-", "+")) for word in arguments_of(shell)[1:])


def arguments_of(process: int) -> list[str]:
    """Return the words that *process* was started with, none where the system does not tell."""
    try:
        raw = (_PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.removesuffix(b"\0").decode("utf-8", "replace").split("\0")


def _status(process: int) -> _Status | None:
    try:
        text = (_PROC / str(process) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # See proc_pid_stat(5); the name may hold spaces and brackets.
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if len(fields) < 20:
        return None
    parent, group, session, terminal = map(int, fields[1:5])
    return _Status(Process(process, int(fields[19])), name, parent, group, session, terminal)


def _is_alive(process: Process) -> bool:
    status = _status(process.number)
    return status is not None and status.process == process


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{this_host()} {boot}"
