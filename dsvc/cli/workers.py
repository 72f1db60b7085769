"""Worker processes for the commands that read or write many files."""

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from dsvc.cli.errors import UsageError
from dsvc.config import Config
from dsvc.worktree.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["begun", "workers"]

# More than this many processes wait for the disk and for the one that puts results together.
_MOST: Final = 16


def workers(config: Config, jobs: int | None = None) -> Workers:
    """Return *jobs* workers: by default what the configuration says, else one for each processor."""
    if jobs is not None and jobs < 0:
        message = f"`--jobs` cannot be {jobs}; 0 is one for each processor"
        raise UsageError(message)
    return Workers(jobs or config.number("add.jobs") or min(_processors(), _MOST), _pool)


def begun(workers: Workers) -> Workers:
    """Return *workers* whose first pool is at work already.

    Its processes are forked before this one comes to hold much, which they would hold too, or opens a network.
    """
    make = workers.pool
    if make is None or workers.jobs < 2:
        return workers
    waiting = [make(workers.jobs)]
    # They are started by the first thing that there is to do.
    waiting[0].submit(int)
    return Workers(workers.jobs, lambda jobs: waiting.pop() if waiting else make(jobs))


def _processors() -> int:
    # A container's share, where the system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool(jobs: int) -> "Executor":
    import multiprocessing

    from dsvc.cli.process_pool import ProcessPool

    # Forking takes 5 ms where a new interpreter takes 150; it is safe before there are threads (macOS has some, and
    # so has a remote behind a network: once one was opened, its loop and its connections would not survive).
    has_threads = sys.platform != "linux" or "fsspec.asyn" in sys.modules
    method = "spawn" if has_threads else "fork"
    return ProcessPool(jobs, mp_context=multiprocessing.get_context(method), initializer=_begin)


def _begin() -> None:
    """Let the process that was asked decide what Ctrl-C means; the terminal sends it to all of them."""
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that it works for is killed: nobody else would, and it waits for work for ever."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
