"""Processes that are killed in the middle: real ones, with SIGKILL, at a chosen call that changes something on disk."""

import os
import signal
from collections.abc import Callable
from typing import Any

__all__ = ["arm", "killed_at_step"]

_CHANGING = ("mkdir", "rmdir", "rename", "replace", "link", "unlink", "symlink", "chmod", "fchmod", "utime")


def killed_at_step(step: int, action: Callable[[], object]) -> bool:
    """Do *action* in a process that dies just before its change of the disk number *step*; tell whether it did die.

    Of a write, the first half is written.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            arm(step)
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the process failed before it could be killed"
    return False


def arm(step: int) -> None:
    """Let this process die just before its change of the disk number *step*."""
    left = step

    def is_last() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: object, **keywords: object) -> object:
            if is_last():
                _die()
            return call(*arguments, **keywords)

        return changed

    def open_(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC) and is_last():
            _die()
        return real_open(path, flags, *arguments, **keywords)

    def write(descriptor: int, data: Any) -> int:
        if is_last():
            real_write(descriptor, memoryview(data)[: len(data) // 2])
            _die()
        return real_write(descriptor, data)

    def writev(descriptor: int, parts: Any) -> int:
        if is_last():
            whole = b"".join(parts)
            real_write(descriptor, whole[: len(whole) // 2])
            _die()
        return real_writev(descriptor, parts)

    real_open, real_write, real_writev = os.open, os.write, os.writev
    for name in _CHANGING:
        setattr(os, name, deadly(getattr(os, name)))
    os.open = open_
    os.write = write
    os.writev = writev


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
