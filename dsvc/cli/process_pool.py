"""A pool of processes that ends when one of them is killed, whatever it was doing."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final, ParamSpec, TypeVar

__all__ = ["ProcessPool"]

# Seconds, after which it is looked for processes that were started meanwhile.
_LOOK: Final = 1
_PIECE: Final = 1 << 16

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ProcessPool(ProcessPoolExecutor):
    """Processes for one command.

    The standard library notices that one was killed, but not while it waits for the rest of a result: that would be
    for ever, for all others could still write to the same pipe. What takes much memory is killed just then. Nor, before
    Python 3.12, while it sends work that nobody is left to read (https://github.com/python/cpython/issues/94777).
    """

    _watcher: Thread | None = None

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> "Future[Result]":
        """Let a process call *fn*."""
        future = super().submit(fn, *args, **kwargs)
        if self._watcher is None:
            # Those of a pool are all started by its first work, or one by one.
            results = self._result_queue._writer  # type: ignore[attr-defined]  # noqa: SLF001
            # One of our own: theirs is closed by whoever sends.
            work = os.dup(self._call_queue._reader.fileno())  # type: ignore[attr-defined]  # noqa: SLF001
            self._watcher = Thread(
                target=_watch, args=(self._processes, self._executor_manager_thread, results, work), daemon=True
            )
            self._watcher.start()
        return future


def _watch(processes: Mapping[int, BaseProcess], manager: Thread, results: Connection, work: int) -> None:
    """Wait for *processes*; should one be killed, end all, and let *manager* wait for no *results* or *work*."""
    try:
        while True:
            codes = [(process, process.exitcode) for process in list(processes.values())]
            if any(code for _, code in codes):
                break
            alive = [process.sentinel for process, code in codes if code is None]
            if not alive:
                return
            wait(alive, _LOOK)
        for process in list(processes.values()):
            process.kill()
        manager.join(_LOOK)
        if manager.is_alive():
            # Until it ends, nobody closes this. What is begun ends now, and what is sent is read.
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nothing, results.fileno(), inheritable=False)
            os.close(nothing)
            while os.read(work, _PIECE):
                pass
    finally:
        os.close(work)
