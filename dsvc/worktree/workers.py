"""How many work at once, and in what."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["ALONE", "Workers"]


class Workers(msgspec.Struct, frozen=True):
    """*jobs* at once; *pool* makes an executor of that many, None keeps it all in this process."""

    jobs: int = 1
    pool: "Callable[[int], Executor] | None" = None


ALONE = Workers()
