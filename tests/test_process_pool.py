"""A pool of processes does its work, and ends in an error when one of them is killed, whatever it was doing."""

import multiprocessing
import os
import signal
import struct
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import pytest

from dsvc.cli.process_pool import ProcessPool

# In a process that was forked: the pool that it works for.
_pool: list[ProcessPool] = []


@pytest.fixture(params=[1, 2])
def pool(request: pytest.FixtureRequest) -> ProcessPool:
    """A pool of forks, one or two."""
    made = ProcessPool(request.param, mp_context=multiprocessing.get_context("fork"))
    _pool[:] = [made]
    return made


def test_it_does_its_work(pool: ProcessPool) -> None:
    with pool:
        assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))


def _die_in_the_middle() -> None:
    # As a result that is longer than the pipe is when the system kills who sends it.
    os.write(
        _pool[0]._result_queue._writer.fileno(),  # type: ignore[attr-defined]
        struct.pack("!i", 1000) + b"the beginning",
    )
    os.kill(os.getpid(), signal.SIGKILL)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_nobody_is_left_to_read_is_not_sent_for_ever(pool: ProcessPool) -> None:
    with pool:
        pool.submit(int).result(timeout=60)
        killed, others = pool.submit(_die), list[Any]()
        with suppress(BrokenProcessPool):
            others.extend(pool.submit(len, bytes(1 << 20)) for _ in range(20))
        with pytest.raises(BrokenProcessPool):
            killed.result(timeout=60)
        for other in others:
            with suppress(BrokenProcessPool):
                assert other.result(timeout=60) == 1 << 20


@pytest.mark.parametrize("end", [_die, _die_in_the_middle])
def test_one_that_is_killed_ends_all_of_it(pool: ProcessPool, end: Callable[[], None]) -> None:
    with pool:
        pool.submit(int).result(timeout=60)
        with pytest.raises(BrokenProcessPool):
            pool.submit(end).result(timeout=60)
        with pytest.raises(BrokenProcessPool):
            pool.submit(int)
