"""Commands that die: the real command line in a forked child, killed at a chosen change of the disk.

The child's own calls of the system are watched, so that a test can stop it before each of them, let one
fail, or tell afterwards what a power cut would have left: `Disk` replays what was done, and knows what
was synced. Nothing of dsvc is replaced.
"""

import builtins
import errno
import fcntl
import importlib
import io
import os
import pickle
import select
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dsvc.cli.commands import COMMANDS, load

__all__ = [
    "FASTEST",
    "Ended",
    "Event",
    "Pause",
    "Running",
    "Watch",
    "dying_at",
    "failing_at",
    "fast_folder",
    "run_forked",
    "torn_at",
    "torn_in_write",
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

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


class Watch:
    """What happens at each change of the disk, counted from 0; *act* is called before it is done.

    Only files below *within* count; with *reads*, each file that is opened to be read counts too.
    """

    def __init__(
        self,
        act: Callable[["Watch", str, int], None] | None = None,
        *,
        within: Path | None = None,
        reads: bool = False,
    ) -> None:
        self.act = act
        self.reads = reads
        self.within = None if within is None else str(within)
        self.steps = 0
        self.is_torn = False
        self.locks: set[object] = set()
        self.journal: Any = None
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
            self.tell(self.journal.fileno(), pickle.dumps(event))

    def tell(self, descriptor: int, data: bytes) -> None:
        """Write *data* unwatched."""
        self._real["write"](descriptor, data)

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
        self._real["flock"] = fcntl.flock
        fcntl.flock = self._flock
        self._real["io.open"] = io.open
        builtins.open = self._open_file
        io.open = self._open_file
        watch = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                word = sql.split(maxsplit=1)[0].lower()
                if word in ("begin", "commit"):
                    watch.step(word, str(self))
                result = super().execute(sql, *arguments)
                if word == "begin":
                    watch.locks.add(self)
                elif word in ("commit", "rollback"):
                    watch.locks.discard(self)
                return result

        connect: Any = sqlite3.connect
        setattr(sqlite3, "connect", lambda *arguments, **options: connect(*arguments, factory=Connection, **options))  # noqa: B010 (mypy knows too many forms of it)

    def _absolute(self, path: Any, folder: int | None) -> str:
        name = Path(os.fsdecode(path))
        if not name.is_absolute() and folder is not None:
            name = Path(self._names.get(folder) or Path(f"/proc/self/fd/{folder}").readlink(), name)
        return os.path.abspath(name)  # noqa: PTH100 (symlinks stay)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = self._absolute(path, dir_fd)
        changes = flags & (os.O_CREAT | os.O_TRUNC)
        is_new = changes and not os.path.lexists(name)
        if changes or self.reads:
            self.step("open" if changes else "read", name)
        descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self._names[descriptor] = name
        if is_new:
            self.note(Event("create", name, offset=mode & 0o777))
        elif flags & os.O_TRUNC:
            self.note(Event("ftruncate", name))
        return descriptor

    def _close(self, fd: int) -> None:
        self._names.pop(fd, None)
        self._real["close"](fd)
        self.locks.discard(fd)

    def _flock(self, file: Any, operation: int) -> None:
        self._real["flock"](file, operation)
        descriptor = file if isinstance(file, int) else file.fileno()
        if operation & fcntl.LOCK_UN:
            self.locks.discard(descriptor)
        else:
            self.locks.add(descriptor)

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


def torn_in_write(number: int) -> Callable[[Watch, str, int], None]:
    """Kill the process in the middle of its write number *number*."""
    left = number

    def act(watch: Watch, call: str, _number: int) -> None:
        nonlocal left
        if call in _WRITES:
            watch.is_torn = left == 0
            left -= 1

    return act


def failing_at(step: int, code: int = errno.ENOSPC, *, lasting: bool = True) -> Callable[[Watch, str, int], None]:
    """Let change number *step* fail with *code* if it needs room, and if *lasting* all after it that do."""
    needing = {"open", "write", "writev", "pwrite", "mkdir", "link", "symlink", "fsync", "fdatasync", "begin", "commit"}

    def act(_watch: Watch, call: str, number: int) -> None:
        if call in needing and (number == step or (lasting and number > step)):
            if call in ("begin", "commit"):
                full = sqlite3.OperationalError("database or disk is full")
                full.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise full
            raise OSError(code, os.strerror(code))

    return act


def warm_up() -> None:
    """Import what commands need: a forked child starts in a millisecond then."""
    for name in COMMANDS:
        load(name)
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
    return Running(words, cwd=cwd, watch=watch, record=record, user=user, environment=environment, before=before).wait()


class Running:
    """A command on its way; the arguments are those of `run_forked`."""

    def __init__(
        self,
        words: Sequence[str | bytes | Path],
        *,
        cwd: Path,
        watch: Watch | None = None,
        record: bool = False,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        watch = watch or Watch()
        self._stdout, self._stderr, self._journal, self._count = [
            tempfile.TemporaryFile(dir=FASTEST)  # noqa: SIM115 (closed by `wait`)
            for _ in range(4)
        ]
        self._child = os.fork()
        if self._child == 0:
            code = 99
            try:
                os.dup2(self._stdout.fileno(), 1)
                os.dup2(self._stderr.fileno(), 2)
                os.chdir(cwd)
                _become(user, environment or {})
                if before is not None:
                    before()
                watch.journal = self._journal if record else None
                code = _run_child(words, watch, self._count)
            except BaseException:  # noqa: BLE001 (a child must not go on as a second test process)
                traceback.print_exc()
            finally:
                os._exit(code)

    def end(self) -> int:
        """Return a descriptor that can be read once the command has ended."""
        return os.pidfd_open(self._child)

    def wait(self) -> Ended:
        """Wait for the end, and tell how it was."""
        _, status = os.waitpid(self._child, 0)
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        assert code is not None or os.WTERMSIG(status) == signal.SIGKILL
        steps = int(_read(self._count) or b"0")
        ended = Ended(code, _text(self._stdout), _text(self._stderr), steps, list(_events(self._journal)))
        for file in (self._stdout, self._stderr, self._journal, self._count):
            file.close()
        return ended


class Pause:
    """A place in the middle of a command, where it waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._reach = os.pipe()
        self._going, self._go = os.pipe()

    def at(self, step: int) -> Callable[[Watch, str, int], None]:
        """Pause before change of the disk number *step*."""

        def act(watch: Watch, _call: str, number: int) -> None:
            # Not while the stat cache is locked: nobody else would come through, as it should be.
            if number == step and not watch.locks:
                self.hold()

        return act

    def hold(self) -> None:
        """Wait here; in the child."""
        # Else the end of the parent would not be seen.
        os.write(self._reach, b".")
        os.read(self._going, 1)

    def expect(self, running: "Running") -> bool:
        """Tell whether the command came here; it may have ended before."""
        end = running.end()
        try:
            is_here = self._reached in select.select([self._reached, end], [], [])[0]
        finally:
            os.close(end)
        if is_here:
            os.read(self._reached, 1)
        return is_here

    def go_on(self, count: int = 1) -> None:
        """Let *count* commands go on."""
        os.write(self._go, b"." * count)

    def close(self) -> None:
        for descriptor in (self._reached, self._reach, self._going, self._go):
            os.close(descriptor)


def _become(user: int | None, environment: Mapping[str, str]) -> None:
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.environ.clear()
    os.environ.update({**ENVIRONMENT, **environment})


def _run_child(words: Sequence[str | bytes | Path], watch: Watch, count: Any) -> int:
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 (it lives as long as the process)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    from dsvc.cli.main import run

    # A process of its own has opened no network, whatever the tests did before; after that, workers would be no forks.
    for module in ("dsvc.storage.object_store", "fsspec.asyn"):
        sys.modules.pop(module, None)
    watch.install()
    try:
        return run([os.fsdecode(word) for word in words])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        watch.tell(count.fileno(), str(watch.steps).encode())


def _text(file: Any) -> str:
    return _read(file).decode("utf-8", "surrogateescape")


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
