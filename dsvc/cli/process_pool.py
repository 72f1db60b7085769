"""A pool of processes that ends when one of them is killed, whatever it was doing."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final, ParamSpec, TypeVar

__all__ = ["ProcessPool"]

# Seconds, after which it is looked for processes that were started meanwhile.
_LOOK: Final = 1

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ProcessPool(ProcessPoolExecutor):
    """Processes for one command.

    The standard library notices that one was killed, but not while it waits for the rest of a result: that would be
    for ever, for all others could still write to the same pipe. What takes much memory is killed just then.
    """

    _watcher: Thread | None = None

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Let a process call *fn*."""
        future = super().submit(fn, *args, **kwargs)
        if self._watcher is None:
            # Those of a pool are all started by its first work, or one by one.
            writer = self._result_queue._writer  # type: ignore[attr-defined]  # noqa: SLF001
            self._watcher = Thread(target=_watch, args=(self._processes, writer), daemon=True)
            self._watcher.start()
        return future


def _watch(processes: Mapping[int, BaseProcess], results: Connection) -> None:
    """Wait for *processes*; should one be killed, let all end, and what they may have begun to write to *results*."""
    killed = False
    while not killed:
        alive = [process for process in list(processes.values()) if process.exitcode is None]
        if not alive:
            return
        wait([process.sentinel for process in alive], _LOOK)
        killed = any(process.exitcode for process in list(processes.values()))
    for process in list(processes.values()):
        process.kill()
    # Nobody else closes it while somebody reads.
    results.close()
