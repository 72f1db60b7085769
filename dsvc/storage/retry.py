"""Trying again: the only layer that does, so that one deadline and one count hold for all of it.

What the libraries below would do by themselves is switched off. Waiting grows, and is another
part of that for each of those who wait, so that they do not come back all at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from dsvc.storage.faults import Fault, FaultKind

__all__ = ["Clock", "RetryPolicy", "retrying"]

Result = TypeVar("Result")

_SILENCE: Final = {FaultKind.UNREACHED, FaultKind.LOST}
_TRANSIENT: Final = {FaultKind.BUSY, FaultKind.UNREACHED, FaultKind.LOST}


class Clock(msgspec.Struct, frozen=True):
    """Where time comes from and goes: *now* in seconds, *wait* for seconds, and *part*, a random one of 1."""

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    part: Callable[[], float] = random.random


class RetryPolicy(msgspec.Struct, frozen=True):
    """How long to try: *deadline* in all, *patience* where nobody ever answered; waits from *first* to *longest*.

    All in seconds.
    """

    deadline: float = 120
    patience: float = 5
    first: float = 0.2
    longest: float = 20

    def pause(self, attempt: int, part: float) -> float:
        """Return how long to wait after the failure number *attempt*, from 0, given a random *part* of 1."""
        whole = min(self.longest, self.first * (1 << min(attempt, 30)))
        # Not less than half: who comes back at once meets the same crowd.
        return whole * (1 + part) / 2


async def retrying(
    call: Callable[[], Awaitable[Result]],
    sort: Callable[[Exception], Fault | None],
    policy: RetryPolicy,
    clock: Clock,
    *,
    is_known: Callable[[], bool],
    transient: frozenset[FaultKind] = frozenset(_TRANSIENT),
) -> Result:
    """Return what *call* returns, called again after faults that are *transient*, as *policy* says.

    *sort* turns an exception into a fault, or into None for a bug, which is raised as it is. *is_known*
    tells whether the other side ever answered: an address that never did is probably wrong.

    Raises:
        FaultError: It failed for good.
    """
    start = clock.now()
    attempt = 0
    busy = False
    while True:
        try:
            return await call()
        except Exception as error:
            fault = sort(error)
            if fault is None:
                raise
            limit = policy.patience if fault.kind in _SILENCE and not is_known() else policy.deadline
            pause = policy.pause(attempt, clock.part())
            if fault.kind not in transient or clock.now() + pause - start > limit:
                raise FaultError(fault, doubtful=busy) from error
            busy = busy or fault.kind is not FaultKind.UNREACHED
        await clock.wait(pause)
        attempt += 1


class FaultError(Exception):
    """A request failed for good. It is *doubtful* if an earlier attempt reached the other side."""

    def __init__(self, fault: Fault, *, doubtful: bool) -> None:
        super().__init__(str(fault.error))
        self.fault = fault
        self.doubtful = doubtful
