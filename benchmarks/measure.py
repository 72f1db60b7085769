"""Running a command and saying what it took: seconds, processor seconds, peak memory.

It knows nothing of what is measured, nor of the tools. Children are started from a
process that stays small, because the kernel counts the parent's peak before exec as
the child's.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CommandFailedError",
    "Footprint",
    "Measurement",
    "default_work",
    "footprint",
    "middle",
    "note",
    "run",
    "table",
    "workspace",
]

SAMPLE_MS = 50
PAGE = os.sysconf("SC_PAGE_SIZE")


class CommandFailedError(Exception):
    """A measured command ended with an error."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a command, or several one after another, took.

    *seconds* is wall-clock time, *processor* user and system time of the whole process
    tree, *memory* the largest resident size in bytes, summed over the processes alive at once; *own* is that without
    what is mapped from files, which the system takes back when it needs it.
    """

    seconds: float
    processor: float
    memory: int
    own: int = 0

    def __add__(self, other: Measurement) -> Measurement:
        """Return what both took, one after the other."""
        return Measurement(
            self.seconds + other.seconds,
            self.processor + other.processor,
            max(self.memory, other.memory),
            max(self.own, other.own),
        )


@dataclass(frozen=True, slots=True)
class Footprint:
    """How many files a folder holds and how many bytes they have in all."""

    files: int
    size: int

    def __add__(self, other: Footprint) -> Footprint:
        """Return both together."""
        return Footprint(self.files + other.files, self.size + other.size)


def run(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Measurement:
    """Run *command* to its end and measure it; what it prints is dropped.

    Raises:
        CommandFailedError: It ended with an error; the message ends with what it said last.
    """
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        child = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        sampled, own = sample_until_exit(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:] or ["(it said nothing)"]
            message = f"{' '.join(command)}: exit code {child.returncode}: {last[0]}"
            raise CommandFailedError(message)
    # Linux gives KiB. It is the peak of the largest process, exact; the samples see the whole tree, coarsely.
    return Measurement(seconds, usage.ru_utime + usage.ru_stime, max(sampled, usage.ru_maxrss * 1024), own)


def sample_until_exit(pid: int) -> tuple[int, int]:
    """Return what process *pid* and its descendants were seen to hold at most, resident and own, once it has ended."""
    peak = (0, 0)
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(SAMPLE_MS):
            resident, own = tree_memory(pid)
            peak = (max(peak[0], resident), max(peak[1], own))
    finally:
        os.close(descriptor)
    return peak


def tree_memory(pid: int) -> tuple[int, int]:
    """Return the bytes that process *pid* and its descendants hold, and that without what is mapped from files."""
    try:
        resident, mapped = map(int, Path(f"/proc/{pid}/statm").read_bytes().split()[1:3])
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_bytes().split()
        ]
    except OSError:
        return 0, 0
    all_of = [(resident * PAGE, (resident - mapped) * PAGE), *map(tree_memory, children)]
    return sum(one[0] for one in all_of), sum(one[1] for one in all_of)


def footprint(folder: Path) -> Footprint:
    """Return the files below *folder* and their bytes; nothing if it is not there. A file counts as itself."""
    if folder.is_file():
        return Footprint(1, folder.stat().st_size)
    files = size = 0
    pending = [str(folder)] if folder.is_dir() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return Footprint(files, size)


def middle(values: Sequence[float]) -> float | None:
    """Return the median of *values*, or nothing if there are none."""
    return median(values) if values else None


def default_work() -> Path:
    """Return a folder on a RAM disk if the machine has one, else the one for temporary files."""
    shared = Path("/dev/shm")  # noqa: S108  a mount point, in which mkdtemp makes a private folder
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """Give a fresh folder below *parent* and remove it afterwards, with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="dsvc-benchmark-", dir=parent))
    try:
        yield folder
    finally:
        # By rm: it is faster for a million files, and does not swell this process.
        subprocess.run([shutil.which("rm") or "rm", "-rf", "--", str(folder)], check=False)


def table(rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Lay out *rows*, the first of them the heading, as plain or Markdown text."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip())
    rule = "|" + "|".join("---" if at == 0 else "---:" for at in range(len(widths))) + "|"
    return "\n".join([lines[0], rule if markdown else "-" * max(map(len, lines)), *lines[1:]])


def note(text: str) -> None:
    """Say *text* to whoever waits; results go to stdout, this does not."""
    print(text, file=sys.stderr, flush=True)
