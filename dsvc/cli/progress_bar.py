"""A progress bar on stderr, for whatever takes more than a second.

It is drawn for a person at a terminal and for nobody else, and its library is loaded only when
there is something to draw.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from dsvc.cli import console
from dsvc.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Drawing

__all__ = ["ProgressBar", "progress_bar"]

_PATIENCE: Final = 1.0  # seconds
_REDRAW: Final = 0.1


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Give a watcher to pass to the library; it shows nothing where nobody would see it."""
    if console.is_quiet() or not console.stderr_is_terminal():
        yield NO_PROGRESS
        return
    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.close()


class _Task(msgspec.Struct):
    """What is being done, and how much of it is done."""

    name: str
    total_files: int | None
    total_size: int | None
    since: float
    files: int = 0
    size: int = 0

    def shares(self) -> tuple[float, float | None]:
        """Return how much is done of how much: bytes where their total is known, else files."""
        if self.total_size:
            return self.size, self.total_size
        return self.files, self.total_files

    def describe(self, now: float) -> str:
        """Return files, bytes, rate and time left, as far as they are known."""
        parts = []
        if self.files or self.total_files:
            of_all = f" of {self.total_files:,}" if self.total_files is not None else ""
            parts.append(f"{self.files:,}{of_all} files")
        elapsed = max(now - self.since, 1e-3)
        if self.size:
            of_all = f" of {console.format_size(self.total_size)}" if self.total_size else ""
            rate = console.format_size(round(self.size / elapsed))
            parts.append(f"{console.format_size(self.size)}{of_all}, {rate}/s")
        done, total = self.shares()
        if total and done:
            left = round(elapsed * max(total - done, 0) / done)
            parts.append(f"{left // 60}:{left % 60:02} left")
        return ", ".join(parts)


class ProgressBar:
    """One line on the terminal: the task, a bar, files, bytes, rate and time left."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        """Appear after *patience* seconds."""
        self._patience = patience
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: _Task | None = None

    def start(self, task: str, *, files: int | None = None, size: int | None = None) -> None:
        """Begin *task*, of *files* files and *size* bytes where they are known."""
        with self._lock:
            self._task = _Task(task, files, size, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._draw_when_late, name="progress", daemon=True)
                self._thread.start()

    def expect(self, *, files: int, size: int) -> None:
        """Say how much the task begun last is, once that is known."""
        with self._lock:
            if self._task is not None:
                self._task.total_files, self._task.total_size = files, size

    def advance(self, files: int = 0, size: int = 0) -> None:
        """Count *files* more files and *size* more bytes as done."""
        # Only counted here: drawing costs 10 µs, and this may be called for each of a million files.
        with self._lock:
            if self._task is not None:
                self._task.files += files
                self._task.size += size

    def finish(self) -> None:
        """End the task begun last."""
        with self._lock:
            self._task = None

    def close(self) -> None:
        """Take the line off the terminal, for good."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _draw_when_late(self) -> None:
        if self._closed.wait(self._patience):
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Drawing

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"))
        with Drawing(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as drawing:
            line = drawing.add_task("", total=None, counts="", visible=False)
            while not self._closed.wait(_REDRAW):
                with self._lock:
                    self._redraw(drawing, line)
                drawing.refresh()

    def _redraw(self, drawing: "Drawing", line: int) -> None:
        task = self._task
        if task is None:
            drawing.update(line, visible=False)  # type: ignore[arg-type]  # rich has a NewType of int
            return
        done, total = task.shares()
        drawing.update(
            line,  # type: ignore[arg-type]
            description=task.name,
            completed=done,
            total=total,
            counts=task.describe(time.monotonic()),
            visible=True,
        )
