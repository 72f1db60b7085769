"""Who called: the program that runs this command, and all that run that.

A program is the process that started the command: a script, a notebook, make. Its forks are it, such as a subshell in
`$(dsvc get x | tail -1)`, and what only passes a command on, such as timeout, is none. A shell where somebody types is
none either. Linux tells by `/proc`; elsewhere, and where a job is spread over machines, the variable DSVC_RUN does.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dsvc.datasets.uses import Caller, Process
from dsvc.storage.temporary import this_host

__all__ = ["arguments_of", "read_caller"]

_PROC: Final = Path("/proc")
_SHELLS: Final = frozenset(
    ["ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "pwsh", "sh", "tcsh", "xonsh", "yash", "zsh"]
)
# What only runs a command that it is given.
_WRAPPERS: Final = frozenset(
    ["doas", "env", "flock", "ionice", "nice", "nohup", "setsid", "stdbuf", "sudo", "time", "timeout", "xargs"]
)

# What starts programs for people: nothing that it has started has to do with the rest.
_SERVERS: Final = frozenset(["cron", "crond", "init", "sshd", "sshd-session", "systemd"])


class _Status(NamedTuple):
    """What the system says of a process; *parent*, *group* and *session* are numbers of processes."""

    process: Process
    name: str
    parent: int
    group: int
    session: int
    terminal: int


def read_caller(*, itself: bool = False) -> Caller:
    """Return who called, as `dsvc.datasets.uses` asks it; with *itself*, this process is a program too."""
    own = _status(os.getpid())
    above = [] if own is None else list(_above(own))
    called = None if own is None else _program(own, above)
    programs = [*([own] if itself and own is not None else []), *([] if called is None else [called])]
    return Caller(
        _machine(),
        tuple(status.process for status in programs),
        tuple(status.process for status in above),
        os.environ.get("DSVC_RUN") or None,
        _is_alive,
    )


def _above(own: _Status) -> Iterator[_Status]:
    """Yield the processes above *own*, the nearest first."""
    seen = {own.process}
    above = _status(own.parent)
    # Numbers that are used again while we look could make a ring.
    while above is not None and above.process not in seen:
        seen.add(above.process)
        yield above
        above = _status(above.parent)


def _program(own: _Status, above: Sequence[_Status]) -> _Status | None:
    """Return the program that has called *own*, of the processes *above* it; None where a person has."""
    below = own
    for number, status in enumerate(above):
        if status.name in _SERVERS or _is_typed_at(status, below):
            return None
        below = status
        words = arguments_of(status.process.number)
        is_fork = number + 1 < len(above) and words and words == arguments_of(above[number + 1].process.number)
        if not is_fork and status.name not in _WRAPPERS:
            return status
    return None


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
