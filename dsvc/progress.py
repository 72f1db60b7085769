"""Progress: what a long operation tells whoever watches.

The library reports counts to this protocol and knows nothing of terminals.
"""

from typing import Protocol

__all__ = ["NO_PROGRESS", "Progress"]


class Progress(Protocol):
    """A watcher of one operation at a time. Methods may be called from several threads."""

    def start(self, task: str, *, files: int | None = None, size: int | None = None) -> None:
        """Begin *task*, of *files* files and *size* bytes where they are known."""

    def expect(self, *, files: int, size: int) -> None:
        """Say how much the task begun last is, once that is known."""

    def advance(self, files: int = 0, size: int = 0) -> None:
        """Count *files* more files and *size* more bytes as done."""

    def finish(self) -> None:
        """End the task begun last."""


class _NoProgress:
    def start(self, task: str, *, files: int | None = None, size: int | None = None) -> None:
        pass

    def expect(self, *, files: int, size: int) -> None:
        pass

    def advance(self, files: int = 0, size: int = 0) -> None:
        pass

    def finish(self) -> None:
        pass


NO_PROGRESS: Progress = _NoProgress()
