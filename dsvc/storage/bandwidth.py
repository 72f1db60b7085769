"""A limit on how many bytes travel in a second, on average."""

from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Final

__all__ = ["PIECE_LENGTH", "Bandwidth"]

# What travels at once where there is a limit: small enough to leave room for others, large enough to be efficient.
PIECE_LENGTH: Final = 256 * 1024


class Bandwidth:
    """A bucket that *rate* bytes drip into each second, up to a second's worth, for all who share it.

    Who takes more than there is leaves a debt, and waits until it is paid; so everybody waits in turn.
    """

    def __init__(self, rate: int, now: Callable[[], float], wait: Callable[[float], Awaitable[None]]) -> None:
        self._rate = rate
        self._now = now
        self._wait = wait
        self._level = float(rate)
        self._last = now()
        self._lock = Lock()

    def debt(self, length: int) -> float:
        """Take *length* bytes; return how many seconds to wait before they may travel."""
        with self._lock:
            now = self._now()
            self._level = min(self._rate, self._level + (now - self._last) * self._rate) - length
            self._last = now
            return max(0.0, -self._level / self._rate)

    async def take(self, length: int) -> None:
        """Wait until *length* bytes may travel."""
        if (pause := self.debt(length)) > 0:
            await self._wait(pause)
