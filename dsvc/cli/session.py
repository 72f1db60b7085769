"""Where this run happens, by whom and when: the environment, the clock and the files of the user.

The library is told all of it; nothing below `cli` looks any of it up.
"""

import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.config import Config, Value, environment_layer, parse_value, read_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsvc.model.canonical_json import JsonObject
    from dsvc.model.commit import Input
    from dsvc.model.context import Context
    from dsvc.worktree.worktree import Worktree

__all__ = [
    "actor",
    "author",
    "close",
    "load_config",
    "make_context",
    "nonce",
    "now",
    "open_control",
    "open_repository",
    "open_worktree",
    "record_use",
    "set_command",
    "set_flag",
    "set_record_run",
    "user",
    "user_cache_folder",
    "user_config_file",
    "uses_folder",
]

# They end the name and the address, so git drops them too.
_WITHOUT_BRACKETS: Final = dict.fromkeys(map(ord, "<>"))

_PROGRAMS: Final = ("core.pager", "core.editor")

_flags: Final[dict[str, Value]] = {}
_run: Final[dict[str, str]] = {}
_opened: "Final[list[Worktree]]" = []


def set_flag(setting: str) -> None:
    """Let *setting*, KEY=VALUE as after `dsvc -c`, stand above every other layer."""
    key, equals, text = setting.partition("=")
    if not equals:
        message = f"`-c` takes KEY=VALUE, not `{setting}`"
        raise UsageError(message)
    _flags[key] = parse_value(key, text)


def user_config_file() -> Path:
    """Return the file of the user's own settings, whether it is there or not."""
    # XDG's rule on every system, as in git; platformdirs would say the same and take 24 ms.
    stated = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(stated) if stated and stated.startswith("/") else _home() / ".config"
    return folder / "dsvc" / "config.toml"


def user_cache_folder() -> Path:
    """Return the folder of the user's cache, where the configuration names none."""
    stated = os.environ.get("XDG_CACHE_HOME")
    folder = Path(stated) if stated and stated.startswith("/") else _home() / ".cache"
    return folder / "dsvc"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # Neither HOME nor a name for the user's number, as in some containers; they say "/" where they say something.
        return Path("/")


def set_command(name: str) -> None:
    """Remember that the command *name* runs, for the log."""
    # Not its arguments: a remote's address may hold a password.
    _run["command"] = name


def load_config(control: Path | None = None) -> Config:
    """Return all layers, with that of the repository whose control folder is *control*.

    Somebody else's file does not say what is run here: whoever can write into a store that others use has such a file.
    """
    outside = Config(flags=_flags, environment=environment_layer(os.environ), user=read_layer(user_config_file()))
    if control is None:
        return outside
    file = control / "config.toml"
    config = outside.with_repository(file)
    named = [key for key in _PROGRAMS if key in config.repository]
    if named and file.stat().st_uid not in (0, os.getuid()):
        console.warn(f"{file} belongs to somebody else, so what it says of {' and '.join(named)} does not count")
        kept = {key: value for key, value in config.repository.items() if key not in named}
        return msgspec.structs.replace(config, repository=kept)
    return config


def make_context(config: Config, *, attended: bool = True) -> "Context":
    """Return who acts and when; the author is found out when asked for, which may take another process.

    Unless the run is *attended*, an author that was guessed is not warned of: there is nobody to hear it each time.
    """
    from dsvc.model.context import Context

    signature = cache(lambda: author(config, attended=attended))
    command = _run.get("command", "dsvc")
    return Context(
        author=signature,
        actor=actor(),
        command=command,
        now=now,
        nonce=nonce,
        environment=dict(os.environ),
        inputs=lambda: _inputs(config),
        run=cache(lambda: _program_record(config)),
    )


def uses_folder() -> Path:
    """Return the folder that remembers what the user's programs have got and used."""
    # XDG's, as that of the settings.
    stated = os.environ.get("XDG_STATE_HOME")
    state = Path(stated) if stated and stated.startswith("/") else _home() / ".local" / "state"
    return state / "dsvc" / "uses"


def _inputs(config: Config) -> "Sequence[Input]":
    folder = uses_folder()
    if not config.flag("commit.auto-inputs") or not folder.is_dir():
        return ()
    # Few repositories are written to by programs that got something.
    from dsvc.cli.caller import read_caller
    from dsvc.datasets.uses import inputs_of

    return inputs_of(folder, read_caller())


def set_record_run(what: str) -> None:
    """Let commits say *what* of the program that makes them, in place of `commit.record-run`."""
    _run["record"] = what


def _program_record(config: Config) -> "JsonObject":
    asked = _run.get("record")
    if asked is None and not config.words("commit.record-run"):
        return {}
    from dsvc.cli.run_record import run_record

    return run_record(config, asked)


def record_use(name: str, commit: bytes, *, place: str, itself: bool = False) -> None:
    """Remember, for what this program may commit later, that it uses the version *commit*, called *name*, of *place*.

    The store at *place* is told without credentials. If this command is *itself* what runs the program, it is told too.
    """
    folder = uses_folder()
    # Who has no home, as some containers and services, has nowhere to remember it.
    if not (folder.is_dir() or os.environ.get("XDG_STATE_HOME") or _home().is_dir()):
        return
    from dsvc.cli.caller import read_caller
    from dsvc.datasets import uses

    uses.record_use(folder, read_caller(itself=itself), name, commit, place=place, time=now()[0])


def open_worktree(folder: Path | None = None, *, attended: bool = True) -> "Worktree":
    """Open the repository that *folder*, by default the working folder, is in; *attended* is as in `make_context`.

    Raises:
        NotARepositoryError: It is in none.
        BareRepositoryError: That has no worktree.
    """
    worktree = open_repository(folder, attended=attended)
    worktree.need_files()
    return worktree


def open_repository(folder: Path | None = None, *, attended: bool = True) -> "Worktree":
    """Open the repository that *folder*, by default the working folder, is in, also a bare one.

    Raises:
        NotARepositoryError: It is in none.
    """
    from dsvc import repository

    return open_control(repository.find_control(folder or Path.cwd()), attended=attended)


def open_control(control: Path, *, attended: bool = True) -> "Worktree":
    """Open the repository whose control folder is *control*; *attended* is as in `make_context`."""
    from dsvc import repository

    config = load_config(control)
    worktree = repository.open_worktree(control, make_context(config, attended=attended), config)
    _opened.append(worktree)
    return worktree


def close() -> None:
    """Close what this run has opened: the process ends without looking for it."""
    while _opened:
        _opened.pop().close()


def author(config: Config, *, attended: bool = True) -> str:
    """Return who makes a commit, as "Name <address>": from *config*, else git's, else a guess that is said."""
    name, address = config.text("user.name"), config.text("user.email")
    if name is None or address is None:
        from_git = _git_identity()
        name, address = name or from_git.get("user.name"), address or from_git.get("user.email")
    if name is None or address is None:
        name, address = name or user(), address or actor()
        if attended:
            console.warn(f"nobody said who you are, so the author is {name} <{address}>")
            console.hint(
                'to be named rightly, run `dsvc config --user user.name "Your Name"` and the same for user.email'
            )
    return f"{name.translate(_WITHOUT_BRACKETS)} <{address.translate(_WITHOUT_BRACKETS)}>"


def _git_identity() -> dict[str, str]:
    import subprocess

    command = ["git", "config", "--null", "--get-regexp", r"^user\.(name|email)$"]
    try:
        found = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 (no word of it is foreign)
    except OSError:
        return {}
    entries = found.stdout.decode("utf-8", "replace").split("\0")
    return {key: value.strip() for key, _, value in (entry.partition("\n") for entry in entries) if value.strip()}


def actor() -> str:
    """Return who acts, for the log: the user and the machine."""
    return f"{user()}@{os.uname().nodename}"


def user() -> str:
    """Return the name of the user on this machine."""
    for variable in ("LOGNAME", "USER"):
        if name := os.environ.get(variable):
            return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def now() -> tuple[int, int]:
    """Return the time in microseconds since 1970, and the local zone's minutes east of Greenwich.

    DSVC_DATE overrides both: seconds since 1970, or a date of ISO 8601.
    """
    if stated := os.environ.get("DSVC_DATE"):
        return _parse_date(stated)
    moment = time.time_ns()
    return moment // 1000, time.localtime(moment // 1_000_000_000).tm_gmtoff // 60


def _parse_date(text: str) -> tuple[int, int]:
    from datetime import UTC, datetime, timedelta

    if text.isdecimal():
        return int(text) * 1_000_000, 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"DSVC_DATE is not a date: `{text}`"
        raise UsageError(message, hint="write 2026-08-01T12:00:00+02:00, or seconds since 1970") from error
    if moment.tzinfo is None:
        moment = moment.astimezone()
    zone = moment.utcoffset() or timedelta()
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1), zone // timedelta(minutes=1)


def nonce() -> str:
    """Return 32 random hexadecimal digits."""
    return os.urandom(16).hex()
