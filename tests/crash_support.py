"""Commands that die: the real command line in a forked child, killed at a chosen change of the disk.

The child's own calls of the system are watched, so that a test can stop it before each of them, let one
fail, or tell afterwards what a power cut would have left: `Disk` replays what was done, and knows what
was synced. Nothing of dsvc is replaced.
"""

import builtins
import errno
import importlib
import io
import os
import pickle
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dsvc.cli.commands import COMMANDS

__all__ = [
    "FASTEST",
    "Ended",
    "Event",
    "Watch",
    "dying_at",
    "failing_at",
    "fast_folder",
    "run_forked",
    "torn_at",
    "warm_up",
]

# Memory where there is some: every step of every command is tried.
FASTEST: Final = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (folders of our own in it)

ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    "DSVC_AUTHOR_NAME": "Ada Lovelace",
    "DSVC_AUTHOR_EMAIL": "ada@example.org",
    "DSVC_DATE": "2026-08-01T12:00:00+02:00",
}

_PATHS: Final = ("mkdir", "rmdir", "unlink", "remove", "truncate", "chmod", "utime", "symlink", "link", "rename")
_DESCRIPTORS: Final = ("write", "writev", "pwrite", "fsync", "fdatasync", "ftruncate", "fchmod", "sendfile")
_WRITES: Final = frozenset({"write", "writev", "pwrite"})


@dataclass(frozen=True)
class Event:
    """One change of the disk that was done: *call*, with absolute paths, or a path and the bytes written.

    *offset* is where they were written, or the mode of a new file.
    """

    call: str
    path: str = ""
    other: str = ""
    data: bytes = b""
    offset: int = -1


@dataclass(frozen=True)
class Ended:
    """How a command ended: with *code*, None if it was killed, after *steps* changes of the disk."""

    code: int | None
    stdout: str
    stderr: str
    steps: int
    events: list[Event] = field(default_factory=list)

    @property
    def was_killed(self) -> bool:
        return self.code is None


class Watch:
    """What happens at each change of the disk, counted from 0; *act* is called before it is done."""

    def __init__(self, act: Callable[["Watch", str, int], None] | None = None, *, within: Path | None = None) -> None:
        self.act = act
        self.within = None if within is None else str(within)
        self.steps = 0
        self.is_torn = False
        self.journal: io.FileIO | None = None
        self._names: dict[int, str] = {}
        self._real: dict[str, Any] = {}

    def step(self, call: str, path: str) -> None:
        if self.within is not None and not path.startswith(self.within):
            return
        number = self.steps
        self.steps += 1
        if self.act is not None:
            self.act(self, call, number)

    def note(self, event: Event) -> None:
        if self.journal is not None:
            self._real["write"](self.journal.fileno(), pickle.dumps(event))

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    # How it gets between the child and the system.

    def install(self) -> None:
        for name in ("open", "close", "replace", *_PATHS, *_DESCRIPTORS):
            self._real[name] = getattr(os, name)
        for name in _PATHS:
            setattr(os, name, self._on_path(name))
        for name in _DESCRIPTORS:
            setattr(os, name, self._on_descriptor(name))
        os.replace = self._on_path("rename")
        os.open = self._open
        os.close = self._close
        self._real["io.open"] = io.open
        builtins.open = self._open_file
        io.open = self._open_file
        watch = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    watch.step("commit", str(self))
                return super().execute(sql, *arguments)

        connect = sqlite3.connect
        sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=Connection, **options)

    def _absolute(self, path: Any, folder: int | None) -> str:
        name = os.fsdecode(path)
        if not os.path.isabs(name) and folder is not None:
            name = os.path.join(self._names.get(folder) or os.readlink(f"/proc/self/fd/{folder}"), name)
        return os.path.abspath(name)  # noqa: PTH100 (symlinks stay)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = self._absolute(path, dir_fd)
        changes = flags & (os.O_CREAT | os.O_TRUNC)
        is_new = changes and not os.path.lexists(name)
        if changes:
            self.step("open", name)
        descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self._names[descriptor] = name
        if is_new:
            self.note(Event("create", name, offset=mode & 0o777))
        elif flags & os.O_TRUNC:
            self.note(Event("ftruncate", name))
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._names.pop(descriptor, None)
        self._real["close"](descriptor)

    def _open_file(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        """Stand for `open`: what is written through a file object is noted when it is closed, as one write."""
        if isinstance(file, int) or not set(mode) & set("wxa+"):
            return self._real["io.open"](file, mode, *arguments, **options)
        flags = {"w": os.O_CREAT | os.O_TRUNC, "x": os.O_CREAT | os.O_EXCL, "a": os.O_CREAT | os.O_APPEND}[mode[0]]
        descriptor = self._open(file, flags | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        raw = _WatchedFile(self, descriptor)
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *arguments[1:], **options)

    def _on_path(self, call: str) -> Callable[..., Any]:
        real = self._real[call]

        def changed(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, int):
                name = self._names.get(path, "")
            else:
                name = self._absolute(path, options.get("src_dir_fd", options.get("dir_fd")))
            other = ""
            if call in ("rename", "link"):
                other = self._absolute(arguments[0], options.get("dst_dir_fd"))
            elif call == "symlink":
                name, other = self._absolute(arguments[0], options.get("dir_fd")), os.fsdecode(path)
            self.step(call, other if call in ("rename", "link") else name)
            result = real(path, *arguments, **options)
            self.note(Event(call, name, other))
            return result

        return changed

    def _on_descriptor(self, call: str) -> Callable[..., Any]:
        real = self._real[call]

        def changed(descriptor: int, *arguments: Any) -> Any:
            name = self._names.get(descriptor)
            if name is None:
                # A pipe or a terminal.
                return real(descriptor, *arguments)
            is_write = call in _WRITES
            data = b""
            if is_write:
                data = b"".join(map(bytes, arguments[0])) if call == "writev" else bytes(arguments[0])
            offset = arguments[1] if call == "pwrite" else os.lseek(descriptor, 0, os.SEEK_CUR) if is_write else -1
            self.step(call, name)
            if self.is_torn and is_write:
                self._real["write"](descriptor, data[: len(data) // 2])
                self.die()
            result = real(descriptor, *arguments)
            if is_write:
                self.note(Event("write", name, "", data[:result], offset))
            else:
                self.note(Event(call, name))
            return result

        return changed


class _WatchedFile(io.RawIOBase):
    """A file opened by name, whose writes are watched as those of a descriptor are."""

    def __init__(self, watch: Watch, descriptor: int) -> None:
        self._watch = watch
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        return os.write(self._descriptor, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)


def dying_at(step: int) -> Callable[[Watch, str, int], None]:
    """Kill the process just before change number *step*."""

    def act(watch: Watch, _call: str, number: int) -> None:
        if number == step:
            watch.die()

    return act


def torn_at(step: int) -> Callable[[Watch, str, int], None]:
    """Kill the process in the middle of write number *step*; before it, where it is no write."""

    def act(watch: Watch, call: str, number: int) -> None:
        if number == step:
            if call not in _WRITES:
                watch.die()
            watch.is_torn = True

    return act


def failing_at(step: int, code: int = errno.ENOSPC, *, lasting: bool = True) -> Callable[[Watch, str, int], None]:
    """Let change number *step* fail with *code*, and if *lasting* all after it that need room."""
    needing = {"open", "write", "writev", "pwrite", "mkdir", "link", "symlink", "fsync", "fdatasync", "commit"}

    def act(_watch: Watch, call: str, number: int) -> None:
        if number == step or (lasting and number > step and call in needing):
            if call == "commit":
                message = "database or disk is full"
                raise sqlite3.OperationalError(message)
            raise OSError(code, os.strerror(code))

    return act


def warm_up() -> None:
    """Import what commands need: a forked child starts in a millisecond then."""
    for name in COMMANDS:
        importlib.import_module(f"dsvc.cli.{name}")
    importlib.import_module("dsvc.cli.main")


def run_forked(
    *words: str | bytes | Path,
    cwd: Path,
    watch: Watch | None = None,
    record: bool = False,
    user: int | None = None,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Ended:
    """Run `dsvc` with *words* in *cwd*, in a child of this process; with *record*, tell what it changed.

    *user* is the user id that it runs as; *before* is called in the child first.
    """
    watch = watch or Watch()
    with (
        tempfile.TemporaryFile(dir=FASTEST) as stdout,
        tempfile.TemporaryFile(dir=FASTEST) as stderr,
        tempfile.TemporaryFile(dir=FASTEST) as journal,
        tempfile.TemporaryFile(dir=FASTEST) as count,
    ):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.dup2(stdout.fileno(), 1)
                os.dup2(stderr.fileno(), 2)
                code = _run_child(words, cwd, watch, journal if record else None, count, user, environment, before)
            except BaseException:  # noqa: BLE001 (a child must not go on as a second test process)
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code_or_none = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if code_or_none is None:
            assert os.WTERMSIG(status) == signal.SIGKILL
        texts = [_read(file).decode("utf-8", "surrogateescape") for file in (stdout, stderr)]
        return Ended(code_or_none, *texts, int(_read(count) or b"0"), list(_events(journal)))


def _run_child(
    words: Sequence[str | bytes | Path],
    cwd: Path,
    watch: Watch,
    journal: Any,
    count: Any,
    user: int | None,
    environment: Mapping[str, str] | None,
    before: Callable[[], object] | None,
) -> int:
    os.chdir(cwd)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.environ.clear()
    os.environ.update({**ENVIRONMENT, **(environment or {})})
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 (it lives as long as the process)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115, PTH123
    sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115, PTH123
    if before is not None:
        before()
    from dsvc.cli.main import run

    watch.journal = journal
    watch.install()
    try:
        return run([os.fsdecode(word) for word in words])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        watch._real["write"](count.fileno(), str(watch.steps).encode())


def _read(file: Any) -> bytes:
    file.seek(0)
    data: bytes = file.read()
    return data


def _events(file: Any) -> Iterator[Event]:
    file.seek(0)
    while True:
        try:
            yield pickle.load(file)  # noqa: S301 (our own child wrote it)
        except EOFError:
            return


@contextmanager
def fast_folder() -> Iterator[Path]:
    """Make a folder where syncing is cheap, and remove it in the end."""
    with tempfile.TemporaryDirectory(prefix="dsvc-test-", dir=FASTEST) as folder:
        yield Path(folder)
