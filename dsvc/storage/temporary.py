"""Temporary files: what they are called, and which of them nobody needs any more.

A name, `<host>-<process>-<32 hexadecimal digits>`, says which process is writing the file. One that was
killed removes nothing, so the next one does.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["is_alive", "is_temporary", "remove", "remove_stale", "stale_files", "temporary_name", "this_host"]

_NAME: Final = re.compile(r"(?P<host>.+)-(?P<process>[0-9]{1,18})-[0-9a-f]{32}")
# Nobody can ask another machine whether its process is alive. None writes for so long without touching the file.
_LONGEST: Final = 7 * 24 * 3600 * 1_000_000_000
# Linux's own number for the processes that are in no container.
_OUTERMOST: Final = 0xEFFFFFFC


@cache
def this_host() -> str:
    """Return what tells this machine from others, and a container from the next one of the same name."""
    name = os.uname().nodename
    try:
        processes = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return name if processes == _OUTERMOST else f"{name}.{processes}"


def temporary_name() -> str:
    """Return a new name for a file of this process."""
    return f"{this_host()}-{os.getpid()}-{os.urandom(16).hex()}"


def is_temporary(name: str) -> bool:
    """Tell whether *name* is one that `temporary_name` returns, here or elsewhere."""
    return _NAME.fullmatch(name) is not None


def stale_files(folders: Iterable[Path], now: int | None = None, *, prefix: str = "") -> Iterator[tuple[Path, int]]:
    """Yield (file, length in bytes) of what processes that have ended have left in *folders*, with *prefix* in front.

    With *now*, the present time in nanoseconds, also what other machines have left alone for a week.
    """
    for folder in folders:
        for path in _listed(folder):
            found = _NAME.fullmatch(path.name.removeprefix(prefix)) if path.name.startswith(prefix) else None
            is_ours = found is not None and found["host"] == this_host()
            if found is not None and is_ours and is_alive(int(found["process"])):
                continue
            with suppress(FileNotFoundError):
                status = path.lstat()
                if is_ours or (now is not None and status.st_mtime_ns < now - _LONGEST):
                    yield path, status.st_size


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def is_alive(process: int) -> bool:
    """Tell whether this machine runs *process*."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove_stale(folder: Path) -> None:
    """Remove from *folder* what processes have left that ended in the middle, as far as the system lets us."""
    with suppress(OSError):
        if _listed(folder):
            for path, _ in stale_files([folder], _now(folder)):
                with suppress(OSError):
                    remove(path)


def remove(path: Path) -> None:
    """Remove a temporary file, or a folder with what is in it; what is not there is removed already."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _now(folder: Path) -> int:
    # The clock of a network filesystem is not ours.
    probe = folder / temporary_name()
    try:
        probe.touch()
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)
